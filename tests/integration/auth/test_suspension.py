"""A person is suspended: out on every node, with the bus and without, until an administrator lets them come back."""

import asyncio
import json

import httpx
import pytest

from service.embedded import Servers
from tests.support.clients.native import client, raw
from tests.support.environment import environment, token
from tests.support.processes.cluster import two_nodes
from tests.support.processes.processes import Process, run
from tests.support.servers.databases import Database


def admin(node: Process, scope: str = "admin") -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {token('root', scope=scope)}"}
    return httpx.AsyncClient(base_url=node.address, headers=headers)


async def enters(node: Process, user: str) -> bool:
    """Return whether a user can connect; a suspended user gets the error `suspended`."""
    async with raw(node.url) as socket:
        await socket.send(json.dumps({"type": "connect", "protocol": 1, "token": token(user)}))
        try:
            return bool(json.loads(await socket.recv())["type"] == "connected")
        except Exception:  # noqa: BLE001 - any end will do, the code is what counts
            assert socket.close_code == 4503
            return False


@pytest.mark.parametrize("bus", [True, False], ids=["with the bus", "without"])
async def test_a_suspended_person_is_out_on_every_node_until_they_are_restored(
    database: Database, servers: Servers, *, bus: bool
) -> None:
    elsewhere = {} if bus else {"ONRECORD_REDIS_URL": "redis://127.0.0.1:1"}
    async with (
        two_nodes(database, servers, **elsewhere) as (one, other),
        client(one.url, "mallory") as here,
        client(other.url, "mallory") as there,
        client(other.url, "bob") as bob,
        admin(one) as root,
    ):
        await here.join("general")
        await bob.join("general")
        answer = await root.post("/admin/people/mallory/suspend", json={"reason": "spam"})
        assert (answer.status_code, answer.json()) == (200, {"userId": "mallory", "suspended": True})
        async with asyncio.timeout(30):
            assert await here.closed() == 4503
            assert await there.closed() == 4503
        assert not await enters(one, "mallory")
        assert not await enters(other, "mallory")
        bearer = {"Authorization": f"Bearer {token('mallory')}"}
        async with httpx.AsyncClient(base_url=other.address, headers=bearer) as http:
            refused = await http.get("/api/rooms")
            assert (refused.status_code, refused.json()["code"]) == (403, "not_allowed")
        await bob.post("general", "and the others go on")
        assert (await root.post("/admin/people/mallory/suspend", json={})).status_code == 200, "done is done"
        assert (await root.post("/admin/people/mallory/suspend")).status_code == 200, "no reason, no body"
        assert (await root.post("/admin/people/mallory/erase")).status_code == 400, "a ground is required"
        answer = await root.post("/admin/people/mallory/restore", json={})
        assert answer.json() == {"userId": "mallory", "suspended": False}
        async with asyncio.timeout(30):
            while not await enters(other, "mallory"):
                await asyncio.sleep(0.05)
        assert await enters(one, "mallory")
    _, lines, _ = await run(environment(database), "audit", "replay", "--room", "general")
    assert "spam" not in lines


async def test_only_an_administrator_suspends(database: Database, servers: Servers) -> None:
    async with two_nodes(database, servers) as (one, _):
        for scope in ("chat", "auditor", "", "administrator"):
            async with admin(one, scope=scope) as nobody:
                answer = await nobody.post("/admin/people/alice/suspend", json={})
                assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed"), scope
        async with admin(one) as root:
            assert (await root.post("/admin/people/a b/suspend", json={})).status_code == 400
            assert (await root.post("/admin/people/alice/suspend", json={"why": "x"})).status_code == 400
            assert (await root.post("/admin/people/alice/suspend", json={"reason": ""})).status_code == 400
            assert (await root.get("/admin/people/alice/suspend")).status_code == 405
            page = {"Origin": "https://evil.example.com"}
            answer = await root.post("/admin/people/alice/suspend", json={}, headers=page)
            assert answer.status_code == 403
            mistyped = await root.post("/admin/people/alicce/suspend", json={})
            assert mistyped.json() == {"userId": "alicce", "suspended": True, "unknown": ["alicce"]}
        assert await enters(one, "alice")
        async with admin(one) as root:
            answer = await root.post("/admin/people/alice/suspend", json={})
            assert answer.json() == {"userId": "alice", "suspended": True}
