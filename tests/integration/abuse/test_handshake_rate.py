"""Frequent connects from one address are limited at both endpoints; other addresses are not."""

import asyncio

import httpx
from websockets.exceptions import InvalidStatus

from tests.support.clients.native import raw
from tests.support.environment import environment
from tests.support.http.metrics import number, scraped
from tests.support.processes.processes import Process, running
from tests.support.servers.databases import Database

MANY = 40
FEW = {
    "ONRECORD_HANDSHAKE_BURST": "5",
    "ONRECORD_HANDSHAKE_RATE": "1",
    "ONRECORD_TRUSTED_PROXIES": "127.0.0.1",
}


async def native(node: Process, address: str) -> httpx.Headers | None:
    """Knock at the native door; return the headers of a refusal."""
    try:
        async with raw(node.url, additional_headers={"X-Forwarded-For": address}):
            return None
    except InvalidStatus as refused:
        assert refused.response.status_code == 429
        return httpx.Headers(dict(refused.response.headers.raw_items()))


async def polling(node: Process, address: str) -> httpx.Headers | None:
    """The same at the Socket.IO door."""
    async with httpx.AsyncClient(base_url=node.address, headers={"X-Forwarded-For": address}) as http:
        answer = await http.get("/socket.io/?EIO=4&transport=polling")
    if answer.status_code == 200:
        return None
    assert answer.status_code == 429
    assert answer.json()["message"].startswith("Too many requests; wait ")
    return answer.headers


async def test_handshake_rate_counts_one_address_over_both_endpoints(database: Database) -> None:
    async with running(environment(database, **FEW), "serve") as node:
        mine = [
            *(native(node, f"2001:db8::{host:x}") for host in range(MANY)),
            *(polling(node, f"2001:db8::ffff:{host:x}") for host in range(MANY)),
        ]
        came = await asyncio.gather(*mine)
        refused = [headers for headers in came if headers is not None]
        assert len(refused) > MANY, "more than one door lets in together"
        assert all(int(headers["retry-after"]) >= 1 for headers in refused)
        assert len(came) - len(refused) >= 5
        assert await native(node, "2001:db8:0:1::1") is None
        assert await polling(node, "203.0.113.9") is None
        async with asyncio.timeout(60):
            while await native(node, "2001:db8::1") is not None:
                await asyncio.sleep(0.1)
        numbers = await scraped(node.address)
        told = {"outcome": "too_many_requests"}
        counted = sum(
            number(numbers, "onrecord_handshakes_total", door=door, **told) for door in ("native", "socketio")
        )
        assert counted >= len(refused)


async def test_who_claims_to_be_many_counts_as_one_where_no_proxy_is_trusted(database: Database) -> None:
    async with running(environment(database, **FEW | {"ONRECORD_TRUSTED_PROXIES": ""}), "serve") as node:
        came = await asyncio.gather(*(native(node, f"203.0.113.{host}") for host in range(MANY)))
        assert any(headers is not None for headers in came)
    async with running(environment(database, **FEW), "serve") as node:
        came = await asyncio.gather(*(native(node, f"somebody {host}") for host in range(MANY)))
        assert any(headers is not None for headers in came), "what is no address counts as one"
