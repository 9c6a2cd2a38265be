"""A real PostgreSQL and a real Valkey from wheels, for `onrecord dev` and for tests.

    with servers(data_dir) as running:
        running.database_url, running.migrate_database_url, running.redis_url

The rule: whoever holds the directory's lock owns its servers. A server found there without an owner was left behind
by a process that was killed; it is stopped before a new one starts. Servers run in sessions of their own, so Ctrl-C
in a terminal reaches the owner only, which stops them in order.

Both listen on 127.0.0.1 alone, on ports outside the range from which the system takes ports for outgoing
connections (a client that retries a stopped server there can end up connected to itself), and ask for a password,
since on a shared machine 127.0.0.1 is everybody's.
"""

from service.config.development import AlreadyRunning, EmbeddedFailed, ServerDidNotStart
from service.embedded.servers import Servers, servers, throwaway

__all__ = ["AlreadyRunning", "EmbeddedFailed", "ServerDidNotStart", "Servers", "servers", "throwaway"]
