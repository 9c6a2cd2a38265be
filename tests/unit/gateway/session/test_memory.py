"""A session is freed once nothing refers to it: in a cycle it would keep its memory until a full collection."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from service.errors import Unavailable
from service.gateway.auth.tokens import Identity
from service.gateway.native.endpoint import NativeSession
from service.gateway.session.rooms import RoomLimits
from service.gateway.session.session import Session
from service.gateway.socketio.session import SocketSession
from service.gateway.socketio.socket import Socket
from service.gateway.transport.transport import Ending
from service.protocol.acks import Ack

if TYPE_CHECKING:
    from service.chat import CommandResult

IDENTITY = Identity("ann", None, datetime(2030, 1, 1, tzinfo=UTC))
LIMITS = RoomLimits(1, 1)


@pytest.fixture(autouse=True)
def _without_collections() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def hub() -> Any:
    """A hub in which every catch-up ends at once."""

    async def subscribe(*_: object) -> None: ...

    subscriptions = SimpleNamespace(
        subscribe=subscribe,
        subscribe_at_head=lambda *_: False,
        pre_subscribe=lambda *_: None,
        unsubscribe=lambda *_: None,
        cancel=lambda *_: None,
    )
    return SimpleNamespace(subscriptions=subscriptions)


def native() -> tuple[Session, Any]:
    sent: list[bytes] = []
    transport = SimpleNamespace(closing=False, idle=True, catchup=0, outbox=0, write=sent.append)
    return NativeSession(cast("Any", transport), hub(), IDENTITY, LIMITS), sent


def socketio() -> tuple[Session, Any]:
    sent: list[bytes] = []
    socket = Socket(cast("Any", SimpleNamespace(catchup=0, idle=True, outbox=0, send=sent.append)), "/")
    return SocketSession(socket, hub(), IDENTITY, LIMITS), sent


@pytest.mark.parametrize("make", [native, socketio])
async def test_a_session_that_has_ended_is_freed_at_once(make: Any) -> None:
    session, sent = make()
    answer: asyncio.Future[CommandResult] = asyncio.get_running_loop().create_future()
    session.pending.add(session, "1", answer, lambda _: Ack())
    session.listen("r1", None)
    answer.set_exception(Unavailable())
    await session.end()
    await asyncio.sleep(0)
    assert len(sent) == 1
    if isinstance(session.transport, Socket):
        session.transport.end(Ending(1000, by_client=True))
    else:
        session.transport.on_ending = lambda: None  # as the connection does
    freed = weakref.ref(session)
    del session, answer
    await asyncio.sleep(0)
    assert freed() is None
