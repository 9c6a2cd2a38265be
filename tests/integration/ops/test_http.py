"""The HTTP side of a node: the page, health, and the demo sign-in of development."""

import asyncio
from pathlib import Path

import httpx
import pytest

from service.embedded import Servers
from tests.support.clients.native import Client, raw
from tests.support.clients.page import newcomer
from tests.support.environment import environment
from tests.support.processes.processes import Process, run, running
from tests.support.servers.databases import Database
from tests.support.servers.key_provider import AUDIENCE, ISSUER, provider, rsa


async def test_a_node_says_that_it_lives_and_is_ready(node: Process) -> None:
    async with httpx.AsyncClient(base_url=node.address) as http:
        health = await http.get("/healthz")
        async with asyncio.timeout(60):
            while (ready := await http.get("/readyz")).json()["bus"] != "ok":
                await asyncio.sleep(0.05)
    assert (health.status_code, health.text) == (200, "ok")
    assert ready.status_code == 200
    assert ready.json() == {"ready": True, "log": "ok", "bus": "ok", "connections": 0}


async def test_node_is_not_ready_while_postgres_is_down_and_recovers(
    database: Database, servers: Servers
) -> None:
    async with (
        running(environment(database), "serve") as node,
        httpx.AsyncClient(base_url=node.address) as http,
    ):
        await asyncio.to_thread(servers.postgres.kill)
        try:
            assert (await http.get("/readyz")).status_code == 503
            assert (await http.get("/healthz")).status_code == 200
        finally:
            await asyncio.to_thread(servers.postgres.start)
        async with asyncio.timeout(60):
            while (await http.get("/readyz")).status_code != 200:
                await asyncio.sleep(0.05)


async def test_the_page_may_load_nothing_from_elsewhere(node: Process) -> None:
    async with httpx.AsyncClient(base_url=node.address) as http:
        page = await http.get("/")
        assert page.status_code == 200
        policy = page.headers["content-security-policy"]
        assert policy.startswith("default-src 'self'")
        assert "frame-ancestors 'none'" in policy
        assert (await http.get("/static/app.js")).headers["content-type"].startswith("text/javascript")
        missing = await http.get("/nothing-here")
    assert missing.status_code == 404
    assert missing.headers["content-type"] == "application/problem+json"
    assert missing.json()["title"] == "Not Found"


async def test_the_demo_sign_in_is_there_in_development_only(node: Process, place: Path) -> None:
    async with httpx.AsyncClient() as http:
        body = {"userId": "alice", "name": "Alice"}
        assert (await http.post(f"{node.address}/dev/token", json=body)).status_code == 404
        async with running(newcomer(place), "dev") as dev:
            token = (await http.post(f"{dev.address}/dev/token", json=body)).json()["token"]
            async with raw(dev.url) as socket:
                alice = Client(socket, "alice")
                await alice.socket.send(f'{{"type":"connect","protocol":1,"token":"{token}"}}')
                await alice.until(lambda: alice.events("connected", userId="alice"))
                await alice.close()
            for wrong in (b"", b"{}", b'{"userId":"no spaces"}', b'{"userId":"a","more":1}', b"[" * 9_000):
                answer = await http.post(f"{dev.address}/dev/token", content=wrong)
                assert answer.status_code == 400
                assert answer.json()["code"] == "malformed"
            assert (await http.post(f"{dev.address}/dev/token", content=b"x" * 20_000)).status_code == 413


async def test_identity_provider_disables_demo_names(place: Path) -> None:
    async with provider(rsa()) as published:
        trusting = {
            "ONRECORD_JWT_JWKS": published.url,
            "ONRECORD_JWT_ISSUER": ISSUER,
            "ONRECORD_JWT_AUDIENCE": AUDIENCE,
        }
        half = newcomer(place) | {"ONRECORD_JWT_JWKS": published.url}
        code, _, words = await run(half, "dev")
        assert (code, words[:46]) == (2, "ONRECORD_JWT_ISSUER and ONRECORD_JWT_AUDIENCE ")
        async with running(newcomer(place) | trusting, "dev") as dev, httpx.AsyncClient() as http:
            refused = await http.post(f"{dev.address}/dev/token", json={"userId": "alice"})
            assert (refused.status_code, refused.json()["code"]) == (403, "not_allowed")
            assert refused.json()["detail"].startswith("Demo names are off: ONRECORD_JWT_JWKS is set")
            assert (await http.get(f"{dev.address}/signin")).json() == {"demo": False, "provider": False}


@pytest.mark.parametrize("path", ["/static/../settings.py", "/static/%2e%2e/settings.py", "//etc/passwd"])
async def test_nothing_but_the_page_is_served(node: Process, path: str) -> None:
    async with httpx.AsyncClient(base_url=node.address) as http:
        assert (await http.get(path)).status_code == 404
