"""An HTTP connection until its first request.

Most connections begin with an upgrade. Its head is read without uvicorn's request cycle and without an ASGI scope, and
the connection is handed to a WebSocket; a connection that begins with anything else is handed to `TimedHttpProtocol`.

Invariant: the same limits hold as in `TimedHttpProtocol`, which shares the deadlines and the budget.
"""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, cast

from uvicorn.config import Config
from uvicorn.protocols.utils import get_remote_addr
from uvicorn.server import ServerState

from service.gateway.http.head import REFUSAL, read_upgrade
from service.gateway.http.protocol import CHUNK, OVERDUE, PART_SECONDS, TimedHttpProtocol
from service.gateway.transport.client_address import ClientAddresses, address_key
from service.gateway.transport.receive_budget import Account, ReceiveBudget
from service.gateway.transport.transport import Upgrade
from service.runtime.timeouts import Timeouts
from service.runtime.turns import Turns

if TYPE_CHECKING:
    from service.gateway.websocket.connection import WebSocketConnection


class FirstRequest(asyncio.Protocol):
    """One connection, before it has had a request; `http_class` derives a class with settings."""

    __slots__ = ("_account", "_data", "_given", "_paused", "_peer", "transport")

    later: ClassVar[type[TimedHttpProtocol]]
    transport: asyncio.Transport

    def __init__(self, **given: Any) -> None:
        self._given = given  # as uvicorn gives it to its own class
        self._peer: str | None = None
        self._account: Account | None = None  # from the first byte on
        self._data = b""  # waits for its turn
        self._paused = False

    @property
    def _server(self) -> ServerState:
        return cast("ServerState", self._given["server_state"])

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the time limit."""
        self.transport = cast("asyncio.Transport", transport)
        self._server.connections.add(self)  # type: ignore[arg-type] # uvicorn names its own classes
        self.later.waits.begin(self.transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's interface
        """Stop the time limit."""
        self.later.waits.end(self.transport)
        self._data = b""
        if self._account is not None:
            self._account.end()
        self._server.connections.discard(self)

    def shutdown(self) -> None:
        """Close the connection; called by uvicorn when the server stops."""
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Read the request in the turn of the address; until then, read no more and count what is held."""
        self._data += data
        if self._account is not None:
            return
        self._peer = _peer_of(self.transport)
        self._account = self.later.budget.account(self._peer, self._no_room)
        self.later.turns.run(address_key(self._peer), self._turn)
        if self._data:
            self._paused = True
            self.transport.pause_reading()
            if not self._account.hold(len(self._data) * 3 // 2):  # as `ReadAhead.held`
                self._no_room()

    def time_out(self) -> None:
        """Close the connection, since its time limit has expired, unless it waits for its turn."""
        if self._data:
            self.later.waits.begin(self.transport)
        else:
            self.later.cut[OVERDUE] += 1
            self.transport.close()

    def _turn(self) -> None:
        data, self._data = self._data, b""
        if self.transport.is_closing() or self._account is None:
            return
        if self._paused:
            self.transport.resume_reading()
        self._server.connections.discard(self)
        config: Config = self._given["config"]
        request = None
        if config.ws_protocol_class is not None and len(data) <= CHUNK:
            trusted = self.later.budget.addresses.trusts(self._peer)
            request = read_upgrade(data, self._peer, asyncio.get_running_loop().time(), trusted=trusted)
        if request is None:
            self._account.end()
            http = self.later(**self._given)
            http.connection_made(self.transport)
            self.transport.set_protocol(http)
            http.received_in_turn(data)
        else:
            self.later.waits.end(self.transport)
            self._hand_over(request, len(data), self._account, config)

    def _hand_over(self, request: Upgrade, size: int, account: Account, config: Config) -> None:
        """Hand the connection over to a WebSocket."""
        account.is_from(request.headers.raw)
        account.head = size
        kind = cast("type[WebSocketConnection]", config.ws_protocol_class)
        websocket = kind(config.ws_max_size, self._server, account)
        websocket.connection_made(self.transport)
        self.transport.set_protocol(websocket)
        websocket.respond(request)

    def _no_room(self) -> None:
        self._data = b""
        self.transport.write(REFUSAL % (b"503 Service Unavailable", b"retry-after: 1\r\n"))
        self.transport.close()


def http_class(
    part_seconds: float = PART_SECONDS,
    cut: Counter[str] | None = None,
    budget: ReceiveBudget | None = None,
    is_identified: Callable[[bytes], bool] = lambda _url: False,
    max_body: int = sys.maxsize,
    turns: Turns | None = None,
) -> type[FirstRequest]:
    """Return the class for uvicorn's `http`; its connections share one timer and one budget (default: no limit)."""
    waits: Timeouts[asyncio.Transport] = Timeouts(part_seconds, _time_out)
    fields: dict[str, Any] = {
        "waits": waits,
        "idle": {},
        "cut": Counter() if cut is None else cut,
        "budget": ReceiveBudget(sys.maxsize, ClientAddresses(()), time.monotonic)
        if budget is None
        else budget,
        "max_body": max_body,
        "turns": Turns() if turns is None else turns,
        "is_identified": lambda _, url: is_identified(url),
    }
    later = type("TimedHttpProtocol", (TimedHttpProtocol,), fields)
    return type("FirstRequest", (FirstRequest,), {"__slots__": (), "later": later})


def _peer_of(transport: asyncio.Transport) -> str | None:
    """Return the address of the peer as uvicorn does, which asks the kernel by way of a socket object."""
    known = transport.get_extra_info("peername")
    if isinstance(known, tuple) and len(known) == 2:  # noqa: PLR2004 - IPv4: host and port
        return cast("str", known[0])
    found = get_remote_addr(transport)
    return found[0] if found else None


def _time_out(transport: asyncio.Transport) -> None:
    cast("FirstRequest | TimedHttpProtocol", transport.get_protocol()).time_out()
