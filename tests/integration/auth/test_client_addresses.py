"""Where a connection came from, on the record: what a proxy says counts where it is trusted, and nowhere else."""

import pytest

from tests.support.clients.connecting import connect_frame
from tests.support.clients.native import raw
from tests.support.environment import environment, token
from tests.support.processes.cluster import sessions
from tests.support.processes.processes import running
from tests.support.servers.databases import Database
from tests.support.waiting import until

CLAIMED = "203.0.113.9"


@pytest.mark.parametrize(
    ("trusted", "said", "recorded"),
    [
        ("", CLAIMED, "127.0.0.1"),
        ("192.0.2.1", CLAIMED, "127.0.0.1"),
        ("127.0.0.1", CLAIMED, CLAIMED),
        ("127.0.0.0/8", f"198.51.100.7, {CLAIMED}", CLAIMED),
        ("127.0.0.1, 192.0.2.0/24", f"198.51.100.7, {CLAIMED}, 192.0.2.8", CLAIMED),
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "[2001:DB8::7]:4711", "2001:db8::7"),
        ("127.0.0.1", "somebody", None),
        ("127.0.0.1", f"{CLAIMED} and more", None),
    ],
)
async def test_only_a_trusted_proxy_is_believed_whom_it_speaks_for(
    database: Database, trusted: str, said: str, recorded: str | None
) -> None:
    env = environment(database, ONRECORD_TRUSTED_PROXIES=trusted, FORWARDED_ALLOW_IPS="*")
    async with running(env, "serve") as node:
        async with raw(node.url, additional_headers={"X-Forwarded-For": said}) as socket:
            await socket.send(connect_frame(token=token("alice")))
            await socket.recv()
            await until(lambda: sessions(database, "alice"))
    assert sessions(database, "alice")[0]["address"] == recorded
