"""uvicorn's HTTP class with a time limit and size limits for incoming requests.

`service.gateway.http.first_request` creates its instances, for connections that do not begin with an upgrade.

The time limit starts with the connection, or with the first byte of a later request. A complete head renews it once,
for the body; other received bytes do not. There is no limit for slow responses, or for a WebSocket after its upgrade
(see `service.gateway.websocket.connection`). Between two requests uvicorn closes the connection after
`ONRECORD_KEEP_ALIVE`, and at most `MAX_IDLE` connections are between two requests.

What a client has sent and the server has not answered counts against `ReceiveBudget`, unless the request is one of an
identified session. A connection for which there is no room is answered with 503 where possible, and closed.

Invariant: one connection parses at most `CHUNK` bytes in one call of the event loop, and none while a parsed request
waits for the previous one. One read of a socket may hold thousands of requests, or tens of thousands of chunks. Until a
connection has had a request of an identified session, it parses in its address's turn.
"""

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.gateway.http.flow import Flow, ReadAhead
from service.gateway.http.head import REFUSAL, declared_length, drop_forwarded, upgrade_of
from service.gateway.transport.client_address import address_key
from service.gateway.transport.receive_budget import Account, ReceiveBudget
from service.gateway.transport.transport import BEGAN
from service.runtime.timeouts import Timeouts
from service.runtime.turns import Turns

if TYPE_CHECKING:
    from service.gateway.websocket.connection import WebSocketConnection

PART_SECONDS = 8.0
"""Time limit for a request's head, and again for its body."""

MAX_HEAD = 64 * 1024
"""Size limit of a head in bytes: far more than browsers send, cookies included."""

CHUNK = 4096
"""Bytes of one connection that are parsed before other connections have their turn: about 200 requests."""

MAX_DROPPED = 64 * 1024
"""Bytes of a body that are dropped after the request is answered; then the connection is closed (RFC 9110, 15.5.14)."""

MAX_IDLE = 10_000
"""HTTP connections without a request that a node keeps; above that, the one that was used least recently is closed."""

OVERDUE, OVERSIZED = "overdue", "oversized"


class TimedHttpProtocol(HttpToolsProtocol):
    """One HTTP connection; `http_class` sets its time limit, whose deadlines are by transport.

    `cut` counts the connections that were closed because a request was `OVERDUE`, or its head `OVERSIZED`.
    """

    waits: ClassVar[Timeouts[asyncio.Transport]]
    cut: ClassVar[Counter[str]]
    budget: ClassVar[ReceiveBudget]
    turns: ClassVar[Turns]
    idle: ClassVar[dict["TimedHttpProtocol", None]]
    """The connections whose requests are all answered, the least recently used first."""
    max_body: ClassVar[int]
    """Size limit of a body in bytes, unless the request is one of an identified session."""

    def is_identified(self, _url: bytes) -> bool:
        """Return whether a URL names a session of an identified client; set by `http_class`."""
        return False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        """Take over a connection from `FirstRequest`, which has started the time limit."""
        super().connection_made(transport)
        self.flow: Flow = Flow(transport, self._schedule)
        self._unparsed = ReadAhead()
        self._scheduled = False
        self._in_head = True
        self._head_size = 0
        self._unanswered = 0  # bytes of the requests that are being received or answered
        self._dropped = 0
        self._refused = False  # the request that is being received
        self._identified = False
        self._known = False  # whether a request was one of an identified session
        self._peer = self.client[0] if self.client else None
        self._key = address_key(self._peer)
        self._by_proxy = self.budget.addresses.trusts(self._peer)
        self._account: Account = self.budget.account(self._peer, self._no_room)
        self._handed_over = False  # to a WebSocket

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the time limit."""
        self.waits.end(self.transport)
        self.idle.pop(self, None)
        self._account.end()
        super().connection_lost(exc)
        self._end()

    def _end(self) -> None:
        """Drop what refers back to this object: a cycle would keep its memory until a full collection."""
        self.flow.end()
        self.cycle = self.parser = cast("Any", None)

    def received_in_turn(self, data: bytes) -> None:
        """Parse the first bytes, in the turn of the address."""
        self._unparsed.add(data)
        self._parse_chunk()
        self.flow.hold(bool(self._unparsed))
        self._count()

    def data_received(self, data: bytes) -> None:
        """Parse received bytes, in chunks, and of an unknown client in turn."""
        self._unparsed.add(data)
        if self._known or self._scheduled:
            self._parse_chunk()
        else:
            self._scheduled = True
            self.turns.run(self._key, self._turn)
        self.flow.hold(bool(self._unparsed))
        self._count()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            if self._known:
                asyncio.get_running_loop().call_soon(self._turn)
            else:
                self.turns.wait(self._key, self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        self._parse_chunk()
        self._count()

    def _parse_chunk(self) -> None:
        """Parse a chunk, unless another request has to be answered first."""
        if self.transport.is_closing():
            self._unparsed.clear()
            return
        if self._scheduled or self.flow.read_paused or self.pipeline:
            return
        chunk = self._unparsed.take(CHUNK)
        self.flow.hold(bool(self._unparsed))
        if chunk:
            self._parse(chunk)
        if self._unparsed and not self.flow.read_paused:
            self._schedule()

    def on_response_complete(self) -> None:
        """Continue parsing once no parsed request waits any more."""
        super().on_response_complete()
        if not self.pipeline:
            self._unanswered = self._head_size if self._in_head else 0
            self._count()
            if not self.transport.is_closing():
                self.idle[self] = None
            if len(self.idle) > MAX_IDLE:
                next(iter(self.idle)).transport.close()
        if self._unparsed and not self.pipeline:
            self._schedule()

    def _parse(self, data: bytes) -> None:
        """Let uvicorn parse bytes, and enforce the size limit of the head."""
        self.idle.pop(self, None)
        self._wait()  # empty lines may precede a request
        if self._in_head:
            self._head_size += len(data)
        if self._in_head or self._answering():
            self._unanswered += len(data)
            self._dropped = 0
        else:  # of an answered request, uvicorn drops the rest of the body
            self._dropped += len(data)
            if self._dropped > MAX_DROPPED:
                self._unparsed.clear()
                self.transport.close()
                return
        super().data_received(data)
        if self._in_head and self._head_size > MAX_HEAD and not self.transport.is_closing():
            self._too_large()

    def _count(self) -> None:
        """Count the bytes that are held; close the connection if there is no room for them."""
        if self._handed_over or self.transport.is_closing():
            return
        held = 0 if self._identified else self._unanswered + self._unparsed.held
        if held != self._account.held and not self._account.hold(held):
            self._no_room()

    def _no_room(self) -> None:
        self._unparsed.clear()
        self._refuse(b"503 Service Unavailable", b"retry-after: 1\r\n")

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over to a WebSocket with the parsed request, which uvicorn would parse again."""
        self._in_head = False
        self.waits.end(self.transport)
        self._unparsed.clear()  # a client may not send before it has our response (RFC 6455, section 4.1)
        self.flow.hold(False)
        if self._whole_size > MAX_HEAD:
            self._too_large()
            return
        self.connections.discard(self)
        method, version = self.scope["method"], self.scope["http_version"]
        request = upgrade_of(self.headers, self.url, method, version, self._peer, self._began)
        self._handed_over = True
        self._account.head = self._whole_size
        kind = cast("type[WebSocketConnection]", self.ws_protocol_class)
        websocket = kind(self.config.ws_max_size, self.server_state, self._account)
        websocket.connection_made(self.transport)
        self.transport.set_protocol(websocket)
        websocket.respond(request)
        self._end()

    def on_message_begin(self) -> None:
        """Start the time limit of a request that begins in the chunk that ended another."""
        super().on_message_begin()
        self._began = asyncio.get_running_loop().time()
        self.scope["extensions"] = {BEGAN: {"time": self._began}}
        self._identified = False
        if self.transport not in self.waits:
            self.waits.begin(self.transport)

    def on_headers_complete(self) -> None:
        """Start the time limit of the body."""
        self._in_head = False
        self._whole_size = self._head_size  # may include bytes after the head; an upgrade has none
        self.waits.begin(self.transport)
        self._account.is_from(self.headers)
        drop_forwarded(self.headers, trusted=self._by_proxy)
        self._identified = self.is_identified(self.url)
        self._known |= self._identified
        self._refused = not self._identified and declared_length(self.headers) > self.max_body
        if self._refused:
            self._refuse(b"413 Content Too Large")
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass a part of the body on, unless the request was refused."""
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop the time limit: the request is complete."""
        self._in_head = True
        self._head_size = 0
        self.waits.end(self.transport)
        if not self._refused:
            super().on_message_complete()

    def time_out(self) -> None:
        """Close the connection, since the time limit of the head or body has expired."""
        if self.flow.read_paused or self._unparsed:  # the rest may be unread because the application is slow
            self.waits.begin(self.transport)
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
        if not self._answering() and self.transport not in self.waits:
            self.waits.begin(self.transport)

    def _answering(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)  # None before the first request
        return cycle is not None and not cycle.response_complete

    def _refuse(self, status: bytes, headers: bytes = b"") -> None:
        """Answer and close; without an answer while a response is being sent, or an earlier one is due."""
        unanswered = (
            not self._in_head and not self._refused and not self.pipeline and not self.cycle.response_started
        )
        if unanswered or not self._answering():
            self.transport.write(REFUSAL % (status, headers))
        self.transport.close()
