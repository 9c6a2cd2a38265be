"""Builds the WebSocket frames that the server sends; `parser` reads those of clients. Pure.

A server never masks (RFC 6455, section 5.1) and this one never compresses, so one frame serves all subscribers.
"""

import struct

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
"""Opcodes (section 5.2)."""

CLOSE_CODES = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})
"""Codes that may be sent: section 7.4 and the IANA registry; 1004, 1005, 1006 and 1015 must not be sent."""

_FIN = 0x80  # every frame is a whole message: the server never fragments

# Section 5.2: the length in seven bits, or one of two markers and then 16 or 64 bits.
_SHORT, _MARK_16, _MARK_64 = 125, 126, 127


def text_frame(payload: bytes) -> bytes:
    """Return the frame of a text message; `payload` is UTF-8 (RFC 6455, section 5.6)."""
    return _SHORT_TEXT[len(payload)] + payload if len(payload) <= _SHORT else _frame(TEXT, payload)


def binary_frame(payload: bytes) -> bytes:
    """Return the frame of a binary message (RFC 6455, section 5.6)."""
    return _frame(BINARY, payload)


def close_frame(code: int, reason: str = "") -> bytes:
    """Return a close frame (RFC 6455, sections 5.5.1 and 7.4).

    Raises:
        ValueError: `code` must not be sent, or `reason` has more than 123 bytes of UTF-8.
    """
    if code not in CLOSE_CODES:
        raise ValueError(f"the close code {code} must not be sent")
    payload = struct.pack("!H", code) + reason.encode()
    if len(payload) > _SHORT:
        raise ValueError(f"a close reason has at most 123 bytes, not {len(payload) - 2}")
    return _frame(CLOSE, payload)


def pong_frame(payload: bytes) -> bytes:
    """Return the answer to a ping, with its payload (section 5.5.3)."""
    return _frame(PONG, payload)


def close_answer(payload: bytes) -> bytes:
    """Return the answer to a close frame, with the same code (section 5.5.1)."""
    return _frame(CLOSE, payload)


def _frame(opcode: int, payload: bytes) -> bytes:
    length = len(payload)
    if length <= _SHORT:
        return struct.pack("!BB", _FIN | opcode, length) + payload
    if length < 1 << 16:
        return struct.pack("!BBH", _FIN | opcode, _MARK_16, length) + payload
    return struct.pack("!BBQ", _FIN | opcode, _MARK_64, length) + payload


_SHORT_TEXT = [_frame(TEXT, bytes(length))[:2] for length in range(_SHORT + 1)]
"""The headers of text frames with a short length, by length: acks and most events."""

HEARTBEAT = _frame(PING, b"")
"""A ping without a payload. At most one is unanswered at a time, so any pong answers it (section 5.5.3)."""
