"""A sign-in is renewed without interaction: a real provider, a node that trusts it, and a real browser."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.clients.browser import Tab, chromium
from tests.support.clients.connecting import connect_outcome
from tests.support.clients.native import raw
from tests.support.clients.page import SAID, message, say
from tests.support.clients.sign_in import (
    CONNECTED,
    STOPPED,
    begin,
    click,
    settings,
    signing_in,
    to_the_provider,
    visit,
)
from tests.support.environment import environment, token
from tests.support.processes.processes import running
from tests.support.servers.databases import Database
from tests.support.servers.oidc_provider import EVERYTHING, OidcProvider, oidc_provider

RENEWAL = "onrecord-renewal-"
SESSION = "JSON.parse(sessionStorage.getItem('onrecord.session'))"
STATE = "document.querySelector('#connection-state').textContent"


async def signed_in(http: httpx.AsyncClient, user: str = "alice") -> dict[str, Any]:
    answer = await http.post("/signin/finish", json=await visit(await begin(http), user=user))
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def kept(http: httpx.AsyncClient) -> dict[str, str]:
    return {cookie.name: str(cookie.value) for cookie in http.cookies.jar if RENEWAL in cookie.name}


async def test_a_tab_gets_a_new_token_by_a_cookie_that_no_script_reads(database: Database) -> None:
    async with (
        signing_in(database, renewing=True, lifetime=300) as (node, provider),
        httpx.AsyncClient(base_url=node.address) as http,
        raw(node.url) as socket,
    ):
        first = await signed_in(http)
        (cookie,) = http.cookies.jar
        assert (cookie.name, cookie.path) == (RENEWAL + first["renewal"], "/signin")
        assert cookie.has_nonstandard_attr("HttpOnly")
        assert cookie._rest["SameSite"] == "strict"  # type: ignore[attr-defined] # of the standard library's
        assert cookie.discard, "it ends with the browser's session, as the tab does"
        assert not any(token in str(cookie.value) for token in provider.refreshing)
        hello = {"type": "connect", "protocol": 1, "token": first["token"]}
        await socket.send(json.dumps(hello))
        expires = json.loads(await socket.recv())["expiresAt"]

        provider.lifetime = 3600
        answer = await http.post("/signin/renew", json={"renewal": first["renewal"]})
        assert answer.headers["cache-control"] == "no-store"
        renewed = answer.json()
        assert {name: renewed[name] for name in ("userId", "name", "renewal")} == {
            "userId": "alice",
            "name": "Alice",
            "renewal": first["renewal"],
        }
        await socket.send(json.dumps({"type": "auth:refresh", "ref": "1", "token": renewed["token"]}))
        async with asyncio.timeout(60):
            while (frame := json.loads(await socket.recv())).get("ref") != "1":
                pass
        assert (frame["type"], frame["expiresAt"] > expires) == ("ack", True)


async def test_provider_outage_keeps_sign_ins_and_a_refusal_ends_them(
    database: Database,
) -> None:
    async with (
        signing_in(database, renewing=True) as (node, provider),
        httpx.AsyncClient(base_url=node.address) as http,
    ):
        asked = {"renewal": (await signed_in(http))["renewal"]}
        provider.broken = EVERYTHING
        away = await http.post("/signin/renew", json=asked)
        assert (away.status_code, away.json()["code"]) == (503, "unavailable")
        assert kept(http)
        provider.broken = ()
        assert (await http.post("/signin/renew", json=asked)).status_code == 200
        for grant in provider.refreshing.values():
            grant.good.clear()
        over = await http.post("/signin/renew", json=asked)
        assert (over.status_code, over.json()["code"]) == (401, "token_expired")
        assert over.json()["detail"] == "Your sign-in is over. Please sign in again."
        assert not kept(http)


async def test_what_was_copied_or_made_up_renews_nothing(database: Database) -> None:
    async with (
        signing_in(database, renewing=True) as (node, provider),
        httpx.AsyncClient(base_url=node.address) as http,
        httpx.AsyncClient(base_url=node.address) as thief,
    ):
        asked = {"renewal": (await signed_in(http))["renewal"]}
        assert (await thief.post("/signin/renew", json=asked)).status_code == 401
        token_requests = provider.asked.count("/token")
        thief.cookies.set(RENEWAL + asked["renewal"], next(iter(provider.refreshing)), path="/signin")
        assert (await thief.post("/signin/renew", json=asked)).status_code == 401
        assert provider.asked.count("/token") == token_requests, "the provider hears of ours alone"
        page = {"Origin": "https://evil.example.com"}
        for path in ("/signin/renew", "/signin/end"):
            assert (await http.post(path, json=asked, headers=page)).status_code == 403
            for wrong in (
                {},
                {"renewal": ""},
                {"renewal": "x" * 33},
                {"renewal": "../../../../../../../../../../etc"},
            ):
                assert (await http.post(path, json=wrong)).status_code == 400

        stolen = kept(http)
        assert (await http.post("/signin/renew", json=asked)).status_code == 200
        assert (await http.post("/signin/end", json=asked)).status_code == 204
        assert not kept(http)
        for name, value in stolen.items():
            thief.cookies.set(name, value, path="/signin")
        assert (await thief.post("/signin/renew", json=asked)).status_code == 401
        assert (await http.post("/signin/end", json=asked)).status_code == 204, (
            "signing out twice is no mistake"
        )


async def test_two_tabs_are_two_sign_ins_and_a_browser_keeps_a_bounded_number(database: Database) -> None:
    async with (
        signing_in(database, renewing=True) as (node, _),
        httpx.AsyncClient(base_url=node.address) as http,
    ):
        tabs = {user: (await signed_in(http, user))["renewal"] for user in ("alice", "bob")}
        for user, renewal in tabs.items():
            assert (await http.post("/signin/renew", json={"renewal": renewal})).json()["userId"] == user
        newest = [await signed_in(http) for _ in range(10)][-1]
        assert len(kept(http)) <= 8
        assert (await http.post("/signin/renew", json={"renewal": newest["renewal"]})).status_code == 200


async def test_missing_or_oversized_refresh_token_still_signs_in(
    database: Database,
) -> None:
    async with (
        signing_in(database) as (node, provider),
        httpx.AsyncClient(base_url=node.address) as http,
    ):
        assert (await signed_in(http))["renewal"] is None
        provider.spoil_answer = lambda answer: answer | {"refresh_token": "x" * 10_000}
        told = await signed_in(http)
        assert told["renewal"] is None
        assert await connect_outcome(node.url, told["token"]) == "connected"
        assert not kept(http)


@asynccontextmanager
async def running_with(database: Database, provider: OidcProvider) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        running(settings(database, provider), "serve") as node,
        httpx.AsyncClient(base_url=node.address) as http,
    ):
        yield http


async def test_behind_https_what_renews_a_sign_in_is_sent_over_it_alone(database: Database) -> None:
    async with (
        oidc_provider(redirect_uri="https://chat.example.com/signin/callback", renewing=True) as provider,
        running_with(database, provider) as http,
    ):
        begun = await http.post("/signin/begin", json={})
        back = await visit(begun.json()["address"], user="alice")
        name, _, rest = begun.headers["set-cookie"].partition("=")
        cookie = {"Cookie": f"{name}={rest.partition(';')[0]}"}
        answer = await http.post("/signin/finish", json=back, headers=cookie)
        (renewal,) = (one for one in answer.headers.get_list("set-cookie") if RENEWAL in one)
    assert renewal.startswith("__Secure-onrecord-renewal-")
    assert {part.strip() for part in renewal.split(";")[1:]} == {
        "HttpOnly",
        "Path=/signin",
        "SameSite=strict",
        "Secure",
    }


async def enter(tab: Tab) -> None:
    await to_the_provider(tab)
    await tab.fill("#user", "alice", "#sign-in")
    await tab.until(CONNECTED)
    await tab.fill("#join-room", "general", "#join-submit")
    await tab.until("document.querySelector('#room-list li[data-room-id=general]')")


@pytest.mark.needs("chromium")
@pytest.mark.timeout(600)  # it waits for tokens to run out
async def test_page_outlives_its_token_and_a_provider_outage(database: Database, tmp_path: Path) -> None:
    async with (
        signing_in(database, {"ONRECORD_JWT_LEEWAY": "0"}, renewing=True, lifetime=8) as (node, provider),
        chromium(tmp_path / "profile") as browser,
    ):
        tab = await browser.open(node.address)
        await enter(tab)
        await tab.value(
            "window.faults = [], new MutationObserver(() => faults.push("
            "document.querySelector('#connection-state').dataset.status))"
            ".observe(document.querySelector('#connection-state'), {attributes: true})"
        )
        first = await tab.value(f"{SESSION}.token")
        async with asyncio.timeout(300):
            while await connect_outcome(node.url, first) != 4001:
                await asyncio.sleep(1)
        await say(tab, "Still here")
        await tab.until(message("Still here"))
        assert await tab.value(f"{SESSION}.token") != first
        assert "stopped" not in await tab.value("faults")
        assert first not in json.dumps(await tab.value("document.cookie"))

        provider.broken = EVERYTHING
        await tab.until("document.querySelector('#connection-state').dataset.status === 'waiting'")
        provider.broken = ()
        await tab.until(CONNECTED)
        await say(tab, "And again")
        await tab.until(message("And again"))
        assert await tab.value(SAID) == ["Still here", "And again"]

        for grant in provider.refreshing.values():
            grant.good.clear()
        await tab.until(STOPPED)
        assert await tab.value(STATE) == "Not connected. Your sign-in has expired."
        assert await tab.value(f"{SESSION}.renewal") is None
        provider.lifetime = 3600
        await click(tab, "#signin-again")
        await tab.until("document.title === 'Provider'")
        await tab.fill("#user", "alice", "#sign-in")
        await tab.until(CONNECTED)
        await click(tab, "#signout")
        await tab.until("document.querySelector('#signin-provider')?.offsetParent")
        async with asyncio.timeout(60):
            while any(grant.good for grant in provider.refreshing.values()):
                await asyncio.sleep(0.1)


async def test_devices_with_other_names_do_not_write_them_in_turn(database: Database) -> None:
    """Two devices at two nodes connect again and again; the name of the newer token stays."""
    env = environment(database, ONRECORD_SESSION_BURST="0")
    old, new = token("alice", iat=1_764_400_000, name="Alice"), token("alice", iat=1_764_400_000.5, name="Al")
    undated = token("alice", name="Nobody")
    async with running(env, "serve") as node, running(env, "serve") as other:
        for device in (old, new, old, new, undated, old):
            for door in (node, other):
                assert await connect_outcome(door.url, device) == "connected"
        async with httpx.AsyncClient(base_url=node.address) as http:
            auditor = {"Authorization": f"Bearer {token('ann', scope='auditor')}"}
            answer = await http.get("/audit/events?type=PersonNamed", headers=auditor)
    named = [json.loads(line) for line in answer.text.splitlines()]
    assert [(event["name"], event["issued_at"]) for event in named] == [
        ("Alice", "2025-11-29T07:06:40.000000Z"),
        ("Al", "2025-11-29T07:06:40.500000Z"),
    ]
