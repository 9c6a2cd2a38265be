"""uvicorn's HTTP class with a limit on how long, and how large, a request may be while it comes in.

The rule: whoever opens a connection says soon, and briefly, what they want. The time runs from the connection, or from
the first byte of a later request, and no byte that trickles in renews it; only a complete head does, once, for the
body. What is answered slowly is not the client's fault and has no limit here: neither has a WebSocket, from its upgrade
on (see `service.gateway.websocket.connection`), nor a connection between two requests, which uvicorn itself closes.

Invariant: one connection parses at most `PIECE` bytes in one call of the event loop, and none while a request that was
parsed waits for the one before. One read of a socket may hold thousands of requests, or tens of thousands of chunks.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, cast
from urllib.parse import unquote

from httptools import parse_url
from starlette.datastructures import Headers
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.gateway.transport.transport import Upgrade
from service.gateway.websocket.asgi import AsgiEndpoint
from service.runtime.timeouts import Timeouts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.gateway.websocket.connection import WebSocketConnection

PART_SECONDS = 8.0
"""For a request's head, and again for its body."""

MAX_HEAD = 64 * 1024
"""Bytes of a head: far more than any browser sends, with all its cookies."""

PIECE = 4096
"""Bytes of one connection that are parsed before other connections have their turn: some two hundred requests."""

OVERDUE, OVERSIZED = "overdue", "oversized"

_REFUSAL = b"HTTP/1.1 %s\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Flow(FlowControl):
    """uvicorn's control of what is read, for a protocol that may have read more than it has parsed."""

    def __init__(self, transport: asyncio.Transport, go_on: Callable[[], None]) -> None:
        super().__init__(transport)
        self._go_on = go_on
        self._held = False

    def hold(self, held: bool) -> None:  # noqa: FBT001 - its only argument
        """Read nothing while bytes are held that are not parsed."""
        if held is not self._held:
            self._held = held
            if not self.read_paused:
                (self._transport.pause_reading if held else self._transport.resume_reading)()

    def pause_reading(self) -> None:
        """See `FlowControl`."""
        if self._held:
            self.read_paused = True
        else:
            super().pause_reading()

    def resume_reading(self) -> None:
        """See `FlowControl`; what is held comes before what is still to be read."""
        if self._held and self.read_paused:
            self.read_paused = False
            self._go_on()
        elif not self._held:
            super().resume_reading()


class TimedHttpProtocol(HttpToolsProtocol):
    """One connection that speaks HTTP; `http_class` gives it its time.

    `cut` counts the connections that were closed since a request was `OVERDUE`, or its head `OVERSIZED`.
    """

    waits: ClassVar[Timeouts["TimedHttpProtocol"]]
    cut: ClassVar[Counter[str]]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        """The time for the first request begins."""
        super().connection_made(transport)
        self.flow: Flow = Flow(transport, self._later)
        self._unparsed = bytearray()
        self._is_later = False
        self._in_head = True
        self._head_size = 0
        self.waits.begin(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody waits for anything any more."""
        self.waits.end(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what one read brought, at once or piece by piece."""
        if len(data) <= PIECE and not self._unparsed and not self.pipeline:
            self._parse(data)
            return
        self._unparsed += data
        self._parse_some()

    def _later(self) -> None:
        if not self._is_later:
            self._is_later = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._is_later = False
        self._parse_some()

    def _parse_some(self) -> None:
        """Parse a piece, unless it is not time yet."""
        if self.transport.is_closing():
            self._unparsed.clear()
            return
        self.flow.hold(bool(self._unparsed))
        if self._is_later or self.flow.read_paused or self.pipeline:
            return
        piece = bytes(self._unparsed[:PIECE])
        del self._unparsed[:PIECE]
        self.flow.hold(bool(self._unparsed))
        if piece:
            self._parse(piece)
        if self._unparsed and not self.flow.read_paused:
            self._later()

    def on_response_complete(self) -> None:
        """Parse on, where no request that was parsed waits any more."""
        super().on_response_complete()
        if self._unparsed and not self.pipeline:
            self._later()

    def _parse(self, data: bytes) -> None:
        """Let uvicorn parse it, unless that makes the head too large."""
        self._wait()  # empty lines may come before a request, and are none
        if self._in_head:
            self._head_size += len(data)
        super().data_received(data)
        if self._in_head and self._head_size > MAX_HEAD and not self.transport.is_closing():
            self._too_large()

    def handle_websocket_upgrade(self) -> None:
        """The connection is the WebSocket's, which is given what was read, where uvicorn's would read it again."""
        self._in_head = False
        self.waits.end(self)
        self._unparsed.clear()  # a client may not send before it has our response (RFC 6455, section 4.1)
        self.flow.hold(False)
        if self._whole_size > MAX_HEAD:
            self._too_large()
            return
        self.connections.discard(self)
        url = parse_url(self.url)
        request = Upgrade(
            Headers(raw=self.headers),
            self.client[0] if self.client else None,
            unquote((url.path or b"/").decode("ascii")),
            self.scope["method"],
            self.scope["http_version"],
        )
        kind = cast("type[WebSocketConnection]", self.ws_protocol_class)
        websocket = kind(self.config.ws_max_size, self.server_state)
        websocket.connection_made(self.transport)
        self.transport.set_protocol(websocket)
        websocket.respond(request, AsgiEndpoint(self.app, cast("Mapping[str, Any]", self.scope), url))

    def on_message_begin(self) -> None:
        """A request begins, perhaps in the piece that ended another."""
        super().on_message_begin()
        if self not in self.waits:
            self.waits.begin(self)

    def on_headers_complete(self) -> None:
        """The head is there; now the body has its time."""
        self._in_head = False
        self._whole_size = self._head_size  # and whatever came with its end, which for an upgrade is nothing
        self.waits.begin(self)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """All is there; from here on the client waits for us."""
        self._in_head = True
        self._head_size = 0
        self.waits.end(self)
        super().on_message_complete()

    def late(self) -> None:
        """The time of the head, or that of the body, is over."""
        if (
            self.flow.read_paused or self._unparsed
        ):  # it may lie where we have not read: the application is slow
            self.waits.begin(self)
            return
        self.cut[OVERDUE] += 1
        if self._head_size and not self._answering():
            self._refuse(b"408 Request Timeout")
        else:
            self.transport.close()

    def _too_large(self) -> None:
        self.cut[OVERSIZED] += 1
        self._refuse(b"431 Request Header Fields Too Large")

    def _wait(self) -> None:
        if not self._answering() and self not in self.waits:
            self.waits.begin(self)

    def _answering(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)  # None before the first request
        return cycle is not None and not cycle.response_complete

    def _refuse(self, status: bytes) -> None:
        """Answer and close; where an answer to an earlier request is under way, it would stand in its midst."""
        if not self._answering():
            self.transport.write(_REFUSAL % status)
        self.transport.close()


def http_class(
    part_seconds: float = PART_SECONDS, cut: Counter[str] | None = None
) -> type[TimedHttpProtocol]:
    """The class to give to uvicorn as `http`; its connections share one timer, and are counted in `cut`."""
    waits: Timeouts[TimedHttpProtocol] = Timeouts(part_seconds, TimedHttpProtocol.late)
    fields: dict[str, Any] = {"waits": waits, "cut": Counter() if cut is None else cut}
    return type("TimedHttpProtocol", (TimedHttpProtocol,), fields)
