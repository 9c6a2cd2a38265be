"""The web client's sign-in at an identity provider."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

from tests.support.clients.browser import Tab
from tests.support.environment import environment
from tests.support.processes.processes import Process, running
from tests.support.servers.databases import Database
from tests.support.servers.oidc_provider import AUDIENCE, CLIENT, OidcProvider, oidc_provider
from tests.support.servers.ports import free_ports


def settings(database: Database, provider: OidcProvider, **more: str) -> dict[str, str]:
    env = environment(
        database,
        ONRECORD_JWT_ISSUER=provider.issuer,
        ONRECORD_JWT_JWKS=f"{provider.issuer}/keys",
        ONRECORD_JWT_AUDIENCE=AUDIENCE,
        ONRECORD_OIDC_CLIENT_ID=CLIENT,
        ONRECORD_OIDC_REDIRECT_URI=provider.redirect_uri,
        **more,
    )
    del env["ONRECORD_JWT_SECRET"]
    return env


@asynccontextmanager
async def signing_in(
    database: Database, env: dict[str, str] | None = None, **given: Any
) -> AsyncIterator[tuple[Process, OidcProvider]]:
    """Give a node with an extended environment, and the provider that it trusts."""
    port = free_ports()
    async with oidc_provider(redirect_uri=f"http://localhost:{port}/signin/callback", **given) as provider:
        given_env = settings(database, provider, ONRECORD_PORT=str(port), **(env or {}))
        async with running(given_env, "serve") as node:
            node.address = f"http://localhost:{port}"
            yield node, provider


async def begin(http: httpx.AsyncClient) -> str:
    """Return the address of the provider to which the page would go."""
    answer = await http.post("/signin/begin", json={})
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return str(answer.json()["address"])


async def visit(address: str, **form: str) -> dict[str, str]:
    """Fill in the provider's form; return the redirect's parameters."""
    async with httpx.AsyncClient() as browser:
        back = await browser.post(address, data=form)
    return dict(parse_qsl(urlsplit(back.headers["location"]).query))


CONNECTED = "document.querySelector('#connection-state')?.dataset.status === 'connected'"


STOPPED = "document.querySelector('#connection-state')?.dataset.status === 'stopped'"


async def click(tab: Tab, selector: str) -> None:
    await tab.until(f"document.querySelector({selector!r})?.offsetParent")
    await tab.value(f"document.querySelector({selector!r}).click()")


async def to_the_provider(tab: Tab) -> None:
    await click(tab, "#signin-provider")
    await tab.until("document.title === 'Provider'")
