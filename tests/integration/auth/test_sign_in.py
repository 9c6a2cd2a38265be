"""People sign in on the page at an identity provider: a real one, a real browser, a node that trusts it."""

import asyncio
import json
from pathlib import Path

import httpx
import pytest

from tests.support.clients.browser import chromium
from tests.support.clients.connecting import connect_outcome
from tests.support.clients.page import SAID, message, newcomer, say
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
from tests.support.processes.processes import run, running
from tests.support.servers.databases import Database
from tests.support.servers.oidc_provider import CLIENT, EVERYTHING, OidcProvider, oidc_provider

STATE = "s" * 32


async def test_a_sign_in_by_hand_ends_with_a_token_and_leaves_nothing_behind(database: Database) -> None:
    async with signing_in(database) as (node, _), httpx.AsyncClient(base_url=node.address) as http:
        assert (await http.get("/signin")).json() == {"demo": False, "provider": True}
        address = await begin(http)
        (cookie,) = http.cookies.jar
        assert cookie.name.startswith("onrecord-signin-")
        assert cookie.has_nonstandard_attr("HttpOnly")
        assert cookie._rest["SameSite"] == "strict"  # type: ignore[attr-defined] # of the standard library's
        assert (await http.get("/signin/callback")).headers["content-type"].startswith("text/html")
        back = await visit(address, user="alice")
        answer = await http.post("/signin/finish", json=back)
        signed_in = answer.json()
        assert (signed_in["userId"], signed_in["name"]) == ("alice", "Alice")
        assert await connect_outcome(node.url, signed_in["token"]) == "connected"
        assert not list(http.cookies.jar), "the attempt is over"
        again = await http.post("/signin/finish", json=back)
        assert (again.status_code, again.json()["code"]) == (400, "malformed")


async def test_each_way_not_to_come_in_has_its_code_and_its_sentence(database: Database) -> None:
    async with signing_in(database) as (node, provider), httpx.AsyncClient(base_url=node.address) as http:

        async def refused(back: dict[str, str]) -> tuple[int, str, str]:
            answer = await http.post("/signin/finish", json=back)
            told = answer.json()
            return answer.status_code, told["code"], told["detail"]

        back = await visit(await begin(http), user="alice")
        for state in (STATE, "", "../../etc", "x; Path=/"):
            assert (await refused(back | {"state": state}))[:2] == (400, "malformed")
        assert (await refused({"state": back["state"], "error": "access_denied"}))[:2] == (403, "not_allowed")
        refusing = await visit(await begin(http), refuse="")
        assert refusing.pop("error_description") == "<b>no</b>"
        assert await refused(refusing) == (403, "not_allowed", "The identity provider did not let you in.")
        back = await visit(await begin(http), user="alice")
        assert (await refused(back | {"iss": "https://id.example.com"}))[:2] == (400, "malformed")
        back = await visit(await begin(http), user="alice")
        assert (await refused(back | {"code": "guessed"}))[:2] == (401, "token_invalid")
        back = await visit(await begin(http), user="alice")
        assert (await refused({"state": back["state"], "error": "server_error"}))[:2] == (503, "unavailable")
        back = await visit(await begin(http), user="alice")
        provider.broken = EVERYTHING
        assert await refused(back) == (
            503,
            "unavailable",
            "The identity provider cannot be reached. Please try again in a moment.",
        )
        page = {"Origin": "https://evil.example.com"}
        for path in ("/signin/begin", "/signin/finish"):
            assert (await http.post(path, json={}, headers=page)).status_code == 403
        assert (await http.post("/signin/finish", content=b"{")).status_code == 400


async def test_sign_ins_in_parallel_windows_cannot_finish_in_another_browser(
    database: Database,
) -> None:
    async with (
        signing_in(database) as (node, _),
        httpx.AsyncClient(base_url=node.address) as http,
        httpx.AsyncClient(base_url=node.address) as thief,
    ):
        addresses = [await begin(http) for _ in range(3)]
        brought = [
            await visit(address, user=user) for address, user in zip(addresses, ("a", "b", "c"), strict=True)
        ]
        stolen = await thief.post("/signin/finish", json=brought[0])
        assert (stolen.status_code, stolen.json()["code"]) == (400, "malformed")
        for back, user in zip(reversed(brought), ("c", "b", "a"), strict=True):
            assert (await http.post("/signin/finish", json=back)).json()["userId"] == user
        for _ in range(30):
            await begin(http)
        assert len(list(http.cookies.jar)) <= 9


async def test_repeated_sign_ins_are_limited_before_the_provider_is_called(
    database: Database,
) -> None:
    few = {"ONRECORD_HANDSHAKE_BURST": "3", "ONRECORD_HANDSHAKE_RATE": "1"}
    async with (
        signing_in(database, few) as (node, provider),
        httpx.AsyncClient(base_url=node.address) as http,
    ):
        answers = await asyncio.gather(
            *(http.post("/signin/finish", json={"state": STATE}) for _ in range(40))
        )
        held_back = [answer for answer in answers if answer.status_code == 429]
        assert held_back
        assert held_back[0].json()["code"] == "too_many_requests"
        assert int(held_back[0].headers["retry-after"]) >= 1
        assert provider.asked == ["/keys"]


async def test_a_page_that_lives_behind_https_has_cookies_that_go_nowhere_else(
    database: Database,
) -> None:
    async with oidc_provider(redirect_uri="https://chat.example.com/signin/callback") as provider:
        async with (
            running(settings(database, provider), "serve") as node,
            httpx.AsyncClient(base_url=node.address) as http,
        ):
            kept = (await http.post("/signin/begin", json={})).headers["set-cookie"]
    assert kept.startswith("__Host-onrecord-signin-")
    assert {part.strip() for part in kept.split(";")[1:]} == {
        "HttpOnly",
        "Max-Age=600",
        "Path=/",
        "SameSite=strict",
        "Secure",
    }


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"ONRECORD_OIDC_CLIENT_ID": ""}, "ONRECORD_OIDC_CLIENT_ID is not set"),
        ({"ONRECORD_OIDC_REDIRECT_URI": ""}, "ONRECORD_OIDC_REDIRECT_URI is needed"),
        (
            {"ONRECORD_OIDC_REDIRECT_URI": "http://chat.example.com/signin/callback"},
            "has to be the https:// address",
        ),
        ({"ONRECORD_OIDC_REDIRECT_URI": "https://chat.example.com/"}, "followed by /signin/callback"),
        ({"ONRECORD_OIDC_SCOPES": "profile"}, "including openid"),
        ({"ONRECORD_JWT_ISSUER": "chat"}, "ONRECORD_JWT_ISSUER has to be an https:// address"),
        ({"ONRECORD_JWT_JWKS": "", "ONRECORD_JWT_SECRET": "s" * 32}, "ONRECORD_JWT_JWKS is needed"),
    ],
)
async def test_a_sign_in_that_is_half_set_is_refused_in_a_sentence(
    database: Database, changed: dict[str, str], words: str, tmp_path: Path
) -> None:
    provider = OidcProvider(issuer="https://id.example.com")
    env = settings(database, provider, ONRECORD_DATA_DIR=str(tmp_path)) | changed
    code, out, said = await run(env, "serve")
    assert (code, out) == (2, ""), said
    assert words in said
    assert "Traceback" not in said


async def test_development_has_its_own_sign_in_and_no_other(tmp_path: Path) -> None:
    code, out, said = await run(newcomer(tmp_path) | {"ONRECORD_OIDC_CLIENT_ID": CLIENT}, "dev")
    assert (code, out) == (2, "")
    assert "is for `onrecord serve`" in said


WHY = "document.querySelector('#signin-error').textContent"
CODE = "document.querySelector('#signin-error')?.dataset.code"


@pytest.mark.needs("chromium")
@pytest.mark.timeout(600)  # it waits for a token to run out
async def test_a_person_signs_in_on_the_page_and_again_when_that_is_over(
    database: Database, tmp_path: Path
) -> None:
    async with (
        signing_in(database, {"ONRECORD_JWT_LEEWAY": "0"}, lifetime=30) as (node, provider),
        chromium(tmp_path / "profile") as browser,
    ):
        tab = await browser.open(node.address)
        await to_the_provider(tab)
        await tab.fill("#user", "alice", "#sign-in")
        await tab.until(CONNECTED)
        assert await tab.value("document.querySelector('#who').textContent") == "Alice"
        assert await tab.value("location.pathname + location.search") == "/"
        await tab.fill("#join-room", "general", "#join-submit")
        await tab.until("document.querySelector('#room-list li[data-room-id=general]')")
        await say(tab, "Hello from the provider")
        token = json.loads(await tab.value("sessionStorage.getItem('onrecord.session')"))["token"]
        await tab.until(STOPPED)
        assert await connect_outcome(node.url, token) == 4001
        state = await tab.value("document.querySelector('#connection-state').textContent")
        assert state == "Not connected. Your sign-in has expired."
        provider.lifetime = 3600
        await tab.value("document.querySelector('#message-text').value = 'Written before'")
        await click(tab, "#signin-again")
        await tab.until("document.title === 'Provider'")
        await tab.fill("#user", "alice", "#sign-in")
        await tab.until(CONNECTED)
        await tab.until(f"{SAID}.includes('Hello from the provider')")
        assert await tab.value("location.hash") == "#general"
        await tab.until("document.querySelector('#message-text').value === 'Written before'")
        await click(tab, "#message-send")
        await tab.until(message("Written before"))
        assert await tab.value(SAID) == ["Hello from the provider", "Written before"]


@pytest.mark.needs("chromium")
async def test_whoever_does_not_come_in_is_told_why_on_the_page(database: Database, tmp_path: Path) -> None:
    async with signing_in(database) as (node, provider), chromium(tmp_path / "profile") as browser:
        stranger = await browser.open(f"{node.address}/signin/callback?code=x&state={STATE}")
        await stranger.until(f"{CODE} === 'malformed'")
        assert (await stranger.value(WHY)).startswith("This sign-in was not begun in this browser")
        assert await stranger.value("location.search") == ""

        provider.broken = EVERYTHING
        tab = await browser.open(node.address)
        await click(tab, "#signin-provider")
        await tab.until(f"{CODE} === 'unavailable'")
        assert (
            await tab.value(WHY) == "The identity provider cannot be reached. Please try again in a moment."
        )

        provider.broken = ()
        await to_the_provider(tab)
        await click(tab, "#refuse")
        await tab.until(f"location.pathname === '/' && {CODE} === 'not_allowed'")
        assert await tab.value(WHY) == "The identity provider did not let you in."

        provider.broken = ("/token",)
        await to_the_provider(tab)
        await tab.fill("#user", "alice", "#sign-in")
        await tab.until(f"location.pathname === '/' && {CODE} === 'unavailable'")

        provider.broken = ()
        await to_the_provider(tab)
        await tab.fill("#user", "alice", "#sign-in")
        await tab.until(CONNECTED)
