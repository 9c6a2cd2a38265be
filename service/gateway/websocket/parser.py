"""Parses the frames of clients into messages (RFC 6455, section 5). Pure: bytes in, messages or a `ProtocolError` out.

Invariant: a header is checked against the limits before its payload is kept, so the limits and not the peer decide how
many bytes are buffered, and in how many fragments. Control frames between the fragments of a message do not count
against that message's limits (sections 5.4 and 5.5).

Invariant: `next` parses no more frames than `allow` granted. One read of the socket may hold tens of thousands, since a
frame may be six bytes.

No extension is offered, so reserved bits are an error and nothing is compressed. A length in more bytes than it needs
is accepted, as in other servers.
"""

import sys
from codecs import IncrementalDecoder, getincrementaldecoder
from typing import Any

import msgspec

from service.gateway.websocket.frames import BINARY, CLOSE, CLOSE_CODES, CONTINUATION, PING, PONG, TEXT

_FIN, _RESERVED, _OPCODE, _MASK, _LENGTH = 0x80, 0x70, 0x0F, 0x80, 0x7F
_DATA, _CONTROL = frozenset({CONTINUATION, TEXT, BINARY}), frozenset({CLOSE, PING, PONG})
_SHORT, _MARK_16, _MARK_64 = 125, 126, 127

TINY = 64
"""Payload bytes below which a fragment is tiny; a tiny fragment costs the server much more than its sender."""

PROTOCOL_ERROR, NO_STATUS, INVALID_DATA, TOO_BIG = 1002, 1005, 1007, 1009
"""Close codes of section 7.4.1. 1005 stands for a close frame without a code, and is never sent."""

_Decoder = getincrementaldecoder("utf-8")


class ProtocolError(Exception):
    """A peer violated the protocol; `code` and `reason` are for the close frame."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Received(msgspec.Struct, frozen=True, gc=False):
    """A whole message or a control frame: `data` is text for `TEXT`, and the payload's bytes for all others."""

    opcode: int
    data: str | bytes


class Parser:
    """The input of one peer. A message has at most `max_size` bytes, in at most `max_fragments` frames."""

    __slots__ = (
        "_allowed", "_bytes", "_count", "_decoder", "_held_parts", "_max_fragments", "_max_size", "_opcode",
        "_parts", "_size", "_tiny",
    )  # fmt: skip

    def __init__(self, max_size: int, max_fragments: int) -> None:
        self._max_size = max_size
        self._max_fragments = max_fragments
        self._bytes = bytearray()
        self._allowed = sys.maxsize
        self._tiny = 0
        # The state of a message in fragments.
        self._opcode: int | None = None
        self._parts: list[str | bytes] = []
        self._decoder: IncrementalDecoder | None = None
        self._count = 0
        self._size = 0
        self._held_parts = 0

    @property
    def held(self) -> int:
        """Bytes of memory that the input takes: incomplete frames, and the fragments of an incomplete message."""
        # A bytearray that is consumed from its beginning takes up to twice its length.
        return (sys.getsizeof(self._bytes) if self._bytes else 0) + self._held_parts

    def __bool__(self) -> bool:
        """Whether bytes are held: an incomplete frame, or frames that `next` has not parsed yet."""
        return bool(self._bytes)

    def feed(self, data: bytes) -> None:
        """Add the bytes of one read of the socket."""
        self._bytes += data

    def allow(self, frames: int) -> None:
        """Allow `next` to parse so many frames from now on; before the first call there is no limit."""
        self._allowed = frames

    @property
    def used_up(self) -> bool:
        """Whether the allowance is used up and bytes are held."""
        return self._allowed <= 0 and bool(self._bytes)

    def take_tiny_fragments(self) -> int:
        """Return how many tiny fragments arrived since the last call."""
        count, self._tiny = self._tiny, 0
        return count

    def clear(self) -> None:
        """Drop the held bytes."""
        self._bytes.clear()
        self._forget_fragments()

    def next(self) -> Received | None:
        """Return the next message or control frame; None if none is complete or the allowance is used up.

        Raises:
            ProtocolError: the peer violated the protocol; all further input is meaningless.
        """
        while self._allowed > 0 and (frame := self._frame()) is not None:
            self._allowed -= 1
            head, payload = frame
            opcode = head & _OPCODE
            if opcode in _CONTROL:
                return Received(opcode, payload)
            if opcode != CONTINUATION and head & _FIN:
                return Received(opcode, _text(payload) if opcode == TEXT else payload)
            if (message := self._collect(opcode, payload, last=bool(head & _FIN))) is not None:
                return message
        return None

    def _frame(self) -> tuple[int, bytes] | None:
        """Return the first byte and the payload of the next frame once it is complete."""
        held = self._bytes
        if len(held) < 2:  # noqa: PLR2004 - the fixed part of a header
            return None
        head, length, start = held[0], held[1] & _LENGTH, 2
        self._check(head, held[1])
        if length == _MARK_16:
            start = 4
        elif length == _MARK_64:
            start = 10
        if len(held) < start:
            return None
        if length > _SHORT:
            length = int.from_bytes(held[2:start])
        if head & _OPCODE not in _CONTROL and self._size + length > self._max_size:
            raise ProtocolError(TOO_BIG, f"a message has at most {self._max_size} bytes")
        end = start + 4 + length
        if len(held) < end:
            return None
        payload = _unmask(held[start + 4 : end], held[start : start + 4])
        del held[:end]
        return head, payload

    def _check(self, head: int, second: int) -> None:
        """Check a frame by its first two bytes."""
        opcode = head & _OPCODE
        if head & _RESERVED:
            raise ProtocolError(PROTOCOL_ERROR, "reserved bits must be 0")
        if not second & _MASK:
            raise ProtocolError(PROTOCOL_ERROR, "client frames must be masked")
        if opcode in _CONTROL:
            if not head & _FIN or second & _LENGTH > _SHORT:
                raise ProtocolError(PROTOCOL_ERROR, "a control frame has at most 125 bytes and one fragment")
        elif opcode not in _DATA:
            raise ProtocolError(PROTOCOL_ERROR, "unknown opcode")
        elif (opcode == CONTINUATION) is (self._opcode is None):
            raise ProtocolError(PROTOCOL_ERROR, "a continuation frame must continue a fragmented message")

    def _collect(self, opcode: int, payload: bytes, *, last: bool) -> Received | None:
        """Add a fragment, and return the message once it is complete."""
        if opcode != CONTINUATION:
            self._opcode = opcode
            self._decoder = _Decoder() if opcode == TEXT else None
        self._count += 1
        if self._count > self._max_fragments:
            # Fragments may be empty, so the size limit does not bound their number.
            raise ProtocolError(TOO_BIG, "too many fragments")
        self._tiny += len(payload) < TINY
        self._size += len(payload)
        part = _decoded(self._decoder, payload, last=last) if self._decoder else payload
        self._held_parts += sys.getsizeof(part)
        self._parts.append(part)
        if not last:
            return None
        joiner: Any = "" if self._decoder else b""  # all parts are of one kind
        message = Received(self._opcode or TEXT, joiner.join(self._parts))
        self._forget_fragments()
        return message

    def _forget_fragments(self) -> None:
        self._opcode, self._decoder = None, None
        self._parts = []
        self._count = self._size = self._held_parts = 0


def close_of(payload: bytes) -> tuple[int, str]:
    """Return the code and the reason of a close frame (sections 5.5.1 and 7.1.5).

    Raises:
        ProtocolError: the code or the reason must not be sent.
    """
    if not payload:
        return NO_STATUS, ""
    code, reason = int.from_bytes(payload[:2]), _text(payload[2:])
    if code not in CLOSE_CODES:  # a payload of a single byte never matches
        raise ProtocolError(PROTOCOL_ERROR, "this close code must not be sent")
    return code, reason


def _unmask(payload: bytearray, key: bytearray) -> bytes:
    """Return a payload without its mask (section 5.3), by one XOR of two long integers instead of one per byte."""
    size = len(payload)
    mask = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload) ^ int.from_bytes(mask)).to_bytes(size)


def _text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise ProtocolError(INVALID_DATA, "text is UTF-8") from error


def _decoded(decoder: IncrementalDecoder, payload: bytes, *, last: bool) -> str:
    """Decode a fragment, which may end in the middle of a character; the last one may not (section 8.1)."""
    try:
        return decoder.decode(payload, last)
    except UnicodeDecodeError as error:
        raise ProtocolError(INVALID_DATA, "text is UTF-8") from error
