"""The two applications, served."""

from collections.abc import AsyncIterator

import pytest

from tests.support.conformance import apps
from tests.support.conformance.peers import Served, serving


@pytest.fixture
async def engineio() -> AsyncIterator[Served]:
    async with serving(*apps.engineio(), "/engine.io/") as server:
        yield server


@pytest.fixture
async def socketio() -> AsyncIterator[Served]:
    async with serving(*apps.socketio(), "/socket.io/") as server:
        yield server
