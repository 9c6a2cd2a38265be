"""A real PostgreSQL and a real Valkey from wheels, for `onrecord dev` and for tests.

    with servers(data_dir) as running:
        running.database_url, running.migrate_database_url, running.redis_url

Invariant: the process that holds the directory's lock owns its servers. A server without an owner was left behind by a
killed process, and is stopped before a new one starts. Each server runs in its own session, so that Ctrl-C in a
terminal reaches only the owner, which stops both.

Both listen on 127.0.0.1 only and require a password, since all users of a machine share that address. Their ports are
outside the range of outgoing connections, where a client that retries a stopped server can connect to itself.
"""

from service.config.development import AlreadyRunning, EmbeddedFailed, ServerDidNotStart
from service.embedded.servers import Servers, servers, throwaway

__all__ = ["AlreadyRunning", "EmbeddedFailed", "ServerDidNotStart", "Servers", "servers", "throwaway"]
