"""Engine.IO 4, the lower half of Socket.IO: packets, payloads, and the refusals of requests.

A packet is one digit and its data. Over WebSocket each packet is a message, and bytes are a binary message. Over HTTP a
payload holds several packets, separated by a record separator, and bytes are base64 after a `b`. Outgoing packets are
encoded as in a payload.

Invariant: a client may send `close`, `pong`, `message`, and for an upgrade `ping` and `upgrade`; anything else raises
`NotAPacket`.
"""

import base64
import binascii
from enum import IntEnum, StrEnum
from typing import NamedTuple

import msgspec

VERSION = "4"
SEPARATOR = "\x1e"
MAX_PACKETS = 4096
"""Packets in one payload; each may be one character, so that its size alone does not bound the work."""

CLOSE, PING, NOOP, PROBED = b"1", b"2", b"6", b"3probe"
"""The packets that the server sends besides `open` and messages."""


class Kind(StrEnum):
    """The kinds of packets."""

    OPEN = "0"
    CLOSE = "1"
    PING = "2"
    PONG = "3"
    MESSAGE = "4"
    UPGRADE = "5"
    NOOP = "6"


class Packet(NamedTuple):
    """A packet of a client; `data` is bytes in a message only."""

    kind: Kind
    data: str | bytes


class NotAPacket(Exception):
    """The data is no packet that a client may send; close the session."""


class Problem(IntEnum):
    """Why a request is refused, by the numbers that stock clients know."""

    UNKNOWN_TRANSPORT = 0
    UNKNOWN_SID = 1
    BAD_HANDSHAKE_METHOD = 2
    BAD_REQUEST = 3
    FORBIDDEN = 4
    UNSUPPORTED_VERSION = 5

    @property
    def status(self) -> int:
        """The HTTP status."""
        return 403 if self is Problem.FORBIDDEN else 400

    @property
    def sentence(self) -> str:
        """The reason as a sentence."""
        return _SENTENCES[self]


_SENTENCES = {
    Problem.UNKNOWN_TRANSPORT: "Transport unknown",
    Problem.UNKNOWN_SID: "Session ID unknown",
    Problem.BAD_HANDSHAKE_METHOD: "Bad handshake method",
    Problem.BAD_REQUEST: "Bad request",
    Problem.FORBIDDEN: "Forbidden",
    Problem.UNSUPPORTED_VERSION: "Unsupported protocol version",
}


class Opening(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The handshake of a new session; times are milliseconds, `max_payload` is the bytes of one request's body."""

    sid: str
    upgrades: tuple[str, ...]
    ping_interval: int
    ping_timeout: int
    max_payload: int


def problem_body(problem: Problem) -> bytes:
    """Return the body of a refusal."""
    return msgspec.json.encode({"code": problem.value, "message": problem.sentence})


def opening(handshake: Opening) -> bytes:
    """Return the packet that opens a session."""
    return b"0" + msgspec.json.encode(handshake)


def message(data: bytes) -> bytes:
    """Return the packet of a text message; `data` is UTF-8 already."""
    return b"4" + data


def binary_message(data: bytes) -> bytes:
    """Return the packet of a binary message, as a payload has it."""
    return b"b" + base64.b64encode(data)


def binary_of(packet: bytes) -> bytes | None:
    """Return the bytes of an outgoing binary message, None for any other packet."""
    return base64.b64decode(packet[1:]) if packet.startswith(b"b") else None


def payload(packets: list[bytes]) -> bytes:
    """Return packets as the body of one response."""
    return SEPARATOR.encode().join(packets)


def decode(packet: str | bytes) -> Packet:
    """Return the packet in a WebSocket message.

    Raises:
        NotAPacket: the message is no packet of a client.
    """
    if isinstance(packet, bytes):
        return Packet(Kind.MESSAGE, packet)
    try:
        return _checked(Packet(Kind(packet[:1]), packet[1:]))
    except ValueError as error:
        raise NotAPacket("no such packet") from error


def split_payload(body: bytes) -> list[str]:
    """Return the pieces of a request's body, each of which `decode_piece` reads.

    Raises:
        NotAPacket: the body is not UTF-8, or there are too many pieces.
    """
    if body.count(SEPARATOR.encode()) >= MAX_PACKETS:
        raise NotAPacket("too many packets")
    try:
        return body.decode().split(SEPARATOR)
    except UnicodeDecodeError as error:
        raise NotAPacket("not UTF-8") from error


def decode_piece(piece: str) -> Packet:
    """Return the packet in one piece of a payload.

    Raises:
        NotAPacket: the piece is no packet of a client.
    """
    return _decode_base64(piece) if piece.startswith("b") else decode(piece)


def _decode_base64(packet: str) -> Packet:
    try:
        return Packet(Kind.MESSAGE, base64.b64decode(packet[1:], validate=True))
    except (binascii.Error, ValueError) as error:
        raise NotAPacket("not base64") from error


_CLIENT_DATA = {Kind.CLOSE: ("",), Kind.PONG: ("",), Kind.UPGRADE: ("",), Kind.PING: ("probe",)}


def _checked(packet: Packet) -> Packet:
    if packet.kind is not Kind.MESSAGE and packet.data not in _CLIENT_DATA.get(packet.kind, ()):
        raise NotAPacket("a client may not send this")
    return packet
