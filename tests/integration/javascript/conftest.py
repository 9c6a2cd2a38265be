"""The package of the JavaScript client, made once, and a proxy before the node."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.support.javascript.package import Package, package
from tests.support.processes.processes import Process
from tests.support.servers.proxies import Proxy, proxied


@pytest.fixture
async def made() -> Package:
    """The package as it is published."""
    return await package()


@pytest.fixture(params=["index.js", "socketio.js"])
async def either(request: pytest.FixtureRequest) -> Package:
    """The package with the client over WebSocket, and with that over Socket.IO."""
    return replace(await package(), entry=request.param)


@pytest.fixture
async def network(node: Process) -> AsyncIterator[tuple[Proxy, str]]:
    """A proxy, and the address of the native endpoint behind it."""
    async with proxied(node.url, Proxy) as (proxy, url):
        yield proxy, url
