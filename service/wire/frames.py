"""WebSocket frames: as the server sends them, built once for all connections, and as it reads them.

A server never masks (RFC 6455, section 5.1) and this one never compresses, so the frame of a broadcast is the
same bytes for all who hear it. Everything here is pure: bytes in, bytes or messages out.
"""

import logging
import struct

from uvicorn._types import ASGIReceiveEvent
from websockets.exceptions import PayloadTooBig
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol
from websockets.server import ServerProtocol

_FIN = 0x80  # every frame is a whole message: the server never fragments
_TEXT, _BINARY, _CLOSE, _PING = 0x1, 0x2, 0x8, 0x9

# Section 5.2: the length in seven bits, or one of two marks and then 16 or 64 bits.
_SHORT, _MARK_16, _MARK_64 = 125, 126, 127

# Section 7.4 and the IANA registry; 1004, 1005, 1006 and 1015 never travel.
_CLOSE_CODES = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})


def text_frame(payload: bytes) -> bytes:
    """One text message as one frame; `payload` is UTF-8 already (RFC 6455, section 5.6)."""
    return _frame(_TEXT, payload)


def binary_frame(payload: bytes) -> bytes:
    """One binary message as one frame (RFC 6455, section 5.6)."""
    return _frame(_BINARY, payload)


def close_frame(code: int, reason: str = "") -> bytes:
    """The frame that opens or answers a closing handshake (RFC 6455, sections 5.5.1 and 7.4).

    Raises:
        ValueError: `code` must not be sent, or `reason` has more than 123 bytes of UTF-8.
    """
    if code not in _CLOSE_CODES:
        raise ValueError(f"{code} is no close code that may be sent")
    payload = struct.pack("!H", code) + reason.encode()
    if len(payload) > _SHORT:
        raise ValueError(f"a close reason has at most 123 bytes, not {len(payload) - 2}")
    return _frame(_CLOSE, payload)


def _frame(opcode: int, payload: bytes) -> bytes:
    length = len(payload)
    if length <= _SHORT:
        return struct.pack("!BB", _FIN | opcode, length) + payload
    if length < 1 << 16:
        return struct.pack("!BBH", _FIN | opcode, _MARK_16, length) + payload
    return struct.pack("!BBQ", _FIN | opcode, _MARK_64, length) + payload


PING = _frame(_PING, b"")
"""The heartbeat. It carries nothing: only one is ever under way, so any pong answers it (section 5.5.3)."""


class _TooManyFragments(PayloadTooBig):
    def __str__(self) -> str:
        return "too many fragments"


class Inbound(ServerProtocol):
    """The parser of `websockets`, which here also joins fragments, counts them, and checks the text.

    Checking inside the parser lets its own rules pick the close code, and stops it at the very frame that is
    one too many. No extension is offered, so nothing is compressed.
    """

    def __init__(self, max_size: int, max_fragments: int, logger: logging.Logger) -> None:
        super().__init__(max_size=max_size, logger=logger)
        self._max_fragments = max_fragments
        self._fragments: list[bytes | bytearray | memoryview] = []
        self._text = False
        self.messages: list[ASGIReceiveEvent] = []

    def recv_frame(self, frame: Frame) -> None:
        """Called by the parser for each frame; what it raises becomes a close code there."""
        if frame.opcode is Opcode.CLOSE:
            # Section 5.4: control frames may come between fragments, and a close is one. The library takes it
            # for an error (Autobahn 7.1.5).
            self.current_size = None
        super().recv_frame(frame)
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            self._collect(frame)

    def _collect(self, frame: Frame) -> None:
        if frame.opcode is not Opcode.CONT:
            self._text = frame.opcode is Opcode.TEXT
        self._fragments.append(frame.data)
        if len(self._fragments) > self._max_fragments:
            # A fragment may be empty, so the size of a message does not bound their number.
            raise _TooManyFragments(None, self.max_message_size)
        if frame.fin:
            data = b"".join(self._fragments)
            self._fragments.clear()
            self.messages.append(
                {"type": "websocket.receive", "text": data.decode()}
                if self._text
                else {"type": "websocket.receive", "bytes": data},
            )

    def forget_request(self) -> None:
        """Begin a parser that does not hold the request, as the one that read it does; nothing may be half read."""
        self.parser.close()
        self.parser = Protocol.parse(self)
        next(self.parser)

    def take_messages(self) -> list[ASGIReceiveEvent]:
        """The messages completed since the last call."""
        messages, self.messages = self.messages, []
        return messages
