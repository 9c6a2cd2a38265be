"""A node that trusts an identity provider: its keys let people in at every door, and nothing else does."""

import asyncio
import json
import time
from pathlib import Path

import httpx
import pytest

from tests.support.clients.connecting import connect_outcome
from tests.support.clients.native import raw
from tests.support.environment import environment
from tests.support.processes.processes import run, running
from tests.support.servers.databases import Database
from tests.support.servers.key_provider import AUDIENCE, ISSUER, ec, provider, public, rsa, signed
from tests.support.waiting import until

RSA, EC = rsa(), ec()


def trusting(database: Database, source: str, **settings: str) -> dict[str, str]:
    env = environment(
        database,
        ONRECORD_JWT_JWKS=source,
        ONRECORD_JWT_ISSUER=ISSUER,
        ONRECORD_JWT_AUDIENCE=AUDIENCE,
        **settings,
    )
    del env["ONRECORD_JWT_SECRET"]
    return env


async def test_a_provider_lets_people_in_and_rotates_its_keys(database: Database) -> None:
    async with (
        provider(RSA) as published,
        running(trusting(database, published.url), "serve") as node,
        httpx.AsyncClient(base_url=node.address) as http,
    ):
        assert await connect_outcome(node.url, signed(RSA, "RS256")) == "connected"
        assert await connect_outcome(node.url, signed(RSA, "RS256", aud="another")) == 4500
        assert await connect_outcome(node.url, signed(RSA, "RS256", exp=int(time.time()) - 60)) == 4001
        assert await connect_outcome(node.url, signed(EC, "ES256")) == 4500
        published.content = public(EC)
        assert await connect_outcome(node.url, signed(EC, "ES256", scope="chat")) == "connected"
        bearer = {"Authorization": f"Bearer {signed(EC, 'ES256')}"}
        assert (await http.get("/api/rooms", headers=bearer)).status_code == 200
        stranger = {"Authorization": f"Bearer {signed(rsa(), 'RS256')}"}
        assert (await http.get("/api/rooms", headers=stranger)).status_code in (401, 503)


async def test_published_keys_are_read_before_a_client_connects(database: Database) -> None:
    async with provider(RSA) as published, running(trusting(database, published.url), "serve") as node:
        await until(lambda: any('"jwks_read"' in line for line in node.words))


async def test_what_a_token_needs_to_chat_is_the_operators_rule(database: Database, tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_bytes(public(RSA))
    keycloak = signed(RSA, "RS256", scope="openid profile email", realm_access={"roles": ["staff", "admin"]})
    auditor = signed(RSA, "RS256", scope="openid auditor")
    staff = {"ONRECORD_JWT_SCOPE_CLAIM": "realm_access.roles", "ONRECORD_JWT_SCOPES": "staff:chat"}
    for settings, good, bad in (
        ({}, [keycloak], [auditor]),
        (staff, [keycloak], []),
        ({**staff, "ONRECORD_JWT_CHAT": "director"}, [], [signed(RSA, "RS256"), auditor]),
        (
            {"ONRECORD_JWT_CHAT": "email"},
            [keycloak],
            [signed(RSA, "RS256"), signed(RSA, "RS256", scope="chat")],
        ),
    ):
        env = trusting(database, str(tmp_path / "keys.json"), **settings)
        async with running(env, "serve") as node, httpx.AsyncClient(base_url=node.address) as http:
            for token in good:
                assert await connect_outcome(node.url, token) == "connected"
            for token in bad:
                assert await connect_outcome(node.url, token) == 4500
            known = {"Authorization": f"Bearer {keycloak}"}
            assert (await http.post("/admin/people/bob/suspend", headers=known, json={})).status_code == 403


async def test_published_keys_stay_valid_while_the_provider_is_away(
    database: Database,
) -> None:
    async with provider(RSA) as published:
        port = int(published.url.split(":")[2].split("/")[0])
        async with running(trusting(database, published.url), "serve") as node:
            assert await connect_outcome(node.url, signed(RSA, "RS256")) == "connected"
            published.status = 503
            assert await connect_outcome(node.url, signed(RSA, "RS256")) == "connected"
            assert await connect_outcome(node.url, signed(EC, "ES256")) == 4000, "come back"
        async with running(trusting(database, f"http://127.0.0.1:{port}/keys"), "serve") as node:
            assert await connect_outcome(node.url, signed(RSA, "RS256")) == 4000
            published.status = 200
            async with asyncio.timeout(60):
                while await connect_outcome(node.url, signed(RSA, "RS256")) != "connected":
                    await asyncio.sleep(0.5)


async def test_a_connection_lives_on_with_a_token_by_the_next_key(database: Database, tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_bytes(public(RSA, EC))
    env = trusting(database, str(tmp_path / "keys.json"), ONRECORD_JWT_LEEWAY="0")
    async with running(env, "serve") as node, raw(node.url) as socket:
        soon = int(time.time()) + 4
        await socket.send(
            json.dumps({"type": "connect", "protocol": 1, "token": signed(RSA, "RS256", exp=soon)})
        )
        assert json.loads(await socket.recv())["type"] == "connected"
        later = soon + 4
        await socket.send(
            json.dumps({"type": "auth:refresh", "ref": "1", "token": signed(EC, "ES256", exp=later)})
        )
        assert json.loads(await socket.recv())["type"] == "ack"
        await socket.wait_closed()
        assert socket.close_code == 4001
        assert time.time() >= later - 0.1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"ONRECORD_JWT_SECRET": "s" * 32}, "cannot both be set"),
        ({"ONRECORD_JWT_ISSUER": ""}, "ONRECORD_JWT_ISSUER is needed"),
        ({"ONRECORD_JWT_AUDIENCE": ""}, "ONRECORD_JWT_AUDIENCE is needed"),
        ({"ONRECORD_JWT_ALGORITHMS": "RS256,HS256"}, "HS256 cannot be used with ONRECORD_JWT_JWKS"),
        ({"ONRECORD_JWT_ALGORITHMS": "none"}, "has to be a comma-separated selection of"),
        ({"ONRECORD_JWT_JWKS": "http://id.example.com/keys"}, "has to be an https:// address"),
        ({"ONRECORD_JWT_JWKS": ""}, "Neither ONRECORD_JWT_JWKS nor ONRECORD_JWT_SECRET is set"),
        (
            {
                "ONRECORD_JWT_JWKS": "",
                "ONRECORD_JWT_SECRET": "s" * 32,
                "ONRECORD_JWT_ISSUER": "",
                "ONRECORD_JWT_CHAT": "any-valid-token",
            },
            "needs ONRECORD_JWT_ISSUER and ONRECORD_JWT_AUDIENCE",
        ),
        ({"ONRECORD_JWT_CHAT": "chat mail"}, "has to be any-valid-token or one scope"),
        ({"ONRECORD_JWT_SCOPES": "staff:owner"}, "has to be comma-separated pairs such as"),
        ({"ONRECORD_JWT_USER_CLAIM": "a..b"}, "has to be the name of a claim"),
        (
            {"ONRECORD_JWT_JWKS": "", "ONRECORD_JWT_SECRET": "s" * 32, "ONRECORD_JWT_ALGORITHMS": "RS256"},
            "only HS256 can be used",
        ),
    ],
)
async def test_settings_that_contradict_each_other_are_refused_in_a_sentence(
    database: Database, settings: dict[str, str], words: str, tmp_path: Path
) -> None:
    env = trusting(database, "/keys.json", ONRECORD_DATA_DIR=str(tmp_path)) | settings
    code, out, said = await run(env, "serve")
    assert (code, out) == (2, ""), said
    assert words in said
    assert "Traceback" not in said
