"""Runs every test against every transport class, on every loop.

To add a class, list its factory, which takes the keywords of `service.gateway.websocket.connection.transport_class`.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from typing import Any

import pytest
import uvloop

from service.gateway.websocket.connection import transport_class
from service.runtime.direct_sockets import DirectSockets
from tests.support.realtime.senders import sender
from tests.support.servers.asgi_endpoint import Everywhere
from tests.support.servers.websocket_server import App, LiveServer, Serve


@cache
def by_ring() -> DirectSockets:
    return sender("uring")


def transport_class_by_uring(**options: Any) -> type[asyncio.Protocol]:
    return transport_class(direct_sockets=by_ring(), **options)


TRANSPORTS = [transport_class, pytest.param(transport_class_by_uring, marks=pytest.mark.needs("io_uring"))]
LOOPS: list[Callable[[], Any]] = [asyncio.SelectorEventLoop, uvloop.new_event_loop]


@pytest.fixture(
    scope="module", params=TRANSPORTS, ids=lambda factory: f"{factory.__module__}.{factory.__name__}"
)
def factory(request: pytest.FixtureRequest) -> Callable[..., type[asyncio.Protocol]]:
    chosen: Callable[..., type[asyncio.Protocol]] = request.param
    return chosen


@pytest.fixture(scope="module", params=LOOPS, ids=["asyncio", "uvloop"])
def loop_factory(request: pytest.FixtureRequest) -> Callable[[], Any]:
    chosen: Callable[[], Any] = request.param
    return chosen


@pytest.fixture
def serve(factory: Callable[..., type[asyncio.Protocol]], loop_factory: Callable[[], Any]) -> Iterator[Serve]:
    """Start a server for an application; the test fails if an error was logged."""
    servers = []
    with ExitStack() as stack:

        def start(app: App, *, max_size: int = 128 * 1024, **limits: Any) -> LiveServer:
            settings = {"close_timeout": 20.0, **limits}
            server = LiveServer(app, factory(endpoints=Everywhere(app), **settings), loop_factory, max_size)
            servers.append(stack.enter_context(server))
            return server

        yield start
    assert [error for server in servers for error in server.errors] == []
