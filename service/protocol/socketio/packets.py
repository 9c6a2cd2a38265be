"""Socket.IO 5, the upper half: packets with namespaces, acks and attachments, inside Engine.IO messages.

    <kind>[<attachments>-][<namespace>,][<ack id>][<JSON>]      then the attachments, one binary message each

A packet is received whole before it is parsed, so that a layer between the two can refuse what is costly to parse.

Invariant: a packet that no stock client sends is `NotAPacket`, and ends the sender's connection. So NaN, reserved event
names, acks without arguments and packets that only a server sends never reach another client.
"""

import re
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import msgspec

from service.protocol.close_codes import Violation
from service.protocol.strict_json import NotJson, parse_json

MAIN = "/"
MAX_ATTACHMENTS = 10
"""Binary messages that one packet may have, as in the reference implementation."""

MAX_ACK_ID = 2**53 - 1

RESERVED = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)
"""Event names that the libraries reserve for themselves."""

_HEAD = re.compile(
    r"(?P<kind>[0-6])(?:(?P<attachments>[0-9]{1,4})-)?(?:(?P<namespace>/[^,]*)(?:,|\Z))?(?P<id>[0-9]{1,16})?"
)


class Kind(IntEnum):
    """The kinds of packets."""

    CONNECT = 0
    DISCONNECT = 1
    EVENT = 2
    ACK = 3
    CONNECT_ERROR = 4
    BINARY_EVENT = 5
    BINARY_ACK = 6


class Packet(NamedTuple):
    """A whole packet of a client: `data` includes the attachments in their places, `text` is its unparsed JSON."""

    kind: Kind
    namespace: str
    data: Any
    id: int | None
    text: str


class NotAPacket(Violation):
    """The message is no packet that a client may send."""


class Received(NamedTuple):
    """A whole packet whose JSON is not parsed; `kind` is plain, also that of a binary packet."""

    kind: Kind
    namespace: str
    id: int | None
    text: str
    attachments: Sequence[bytes]
    binary: bool

    def packet(self) -> Packet:
        """Return the parsed packet.

        Raises:
            NotAPacket: the JSON is invalid, or a client may not send it.
        """
        try:
            data = parse_json(self.text) if self.text else None
        except NotJson as error:
            raise NotAPacket(str(error)) from error
        if self.text and data is None:
            raise NotAPacket("null")
        if self.binary:
            data = _put_back(data, self.attachments)
        packet = Packet(self.kind, self.namespace, data, self.id, self.text)
        if not _is_allowed(packet):
            raise NotAPacket("a client may not send this")
        return packet


class Decoder:
    """Receives the packets of one connection; `max_attached` bounds the bytes of the attachments of one packet."""

    def __init__(self, max_attached: int) -> None:
        self._max_attached = max_attached
        self._waiting: Received | None = None
        self._wanted = 0
        self._attachments: list[bytes] = []

    def feed(self, data: str | bytes) -> Received | None:
        """Take one message; return the packet that it completes, None if attachments are missing.

        Raises:
            NotAPacket: the message is no valid part of a packet.
        """
        return self._attach(data) if isinstance(data, bytes) else self._begin(data)

    def _begin(self, text: str) -> Received | None:
        if self._waiting is not None:
            raise NotAPacket("text instead of an attachment")
        packet, self._wanted = _received(text)
        if self._wanted:
            self._waiting = packet
            return None
        return packet

    def _attach(self, data: bytes) -> Received | None:
        packet = self._waiting
        if packet is None:
            raise NotAPacket("an unexpected attachment")
        self._attachments.append(data)
        if sum(map(len, self._attachments)) > self._max_attached:
            raise NotAPacket("attachments too large")
        if len(self._attachments) < self._wanted:
            return None
        attachments, self._attachments, self._waiting = self._attachments, [], None
        return packet._replace(attachments=attachments)


def encode(
    kind: Kind, namespace: str = MAIN, data: Any = None, ack_id: int | None = None
) -> tuple[bytes, list[bytes]]:
    """Return a packet's text and its attachments; an event or ack with bytes in it becomes a binary one."""
    attachments: list[bytes] = []
    if kind in (Kind.EVENT, Kind.ACK):
        data = _take_out(data, attachments)
    if attachments:
        kind = Kind.BINARY_EVENT if kind is Kind.EVENT else Kind.BINARY_ACK
    head = f"{kind.value}{f'{len(attachments)}-' if attachments else ''}"
    head += "" if namespace == MAIN else f"{namespace},"
    head += "" if ack_id is None else str(ack_id)
    return head.encode() + (b"" if data is None else msgspec.json.encode(data)), attachments


_PLAIN = {Kind.BINARY_EVENT: Kind.EVENT, Kind.BINARY_ACK: Kind.ACK}


def _received(text: str) -> tuple[Received, int]:
    """Return the packet in a text, without its attachments, and their number."""
    head = _HEAD.match(text)
    if head is None:
        raise NotAPacket("no such packet")
    kind = Kind(int(head["kind"]))
    if (head["attachments"] is not None) is not (kind in _PLAIN):
        raise NotAPacket("attachments out of place")
    attachments = int(head["attachments"] or 0)
    if attachments > MAX_ATTACHMENTS:
        raise NotAPacket("too many attachments")
    ack_id = None if head["id"] is None else int(head["id"])
    if ack_id is not None and ack_id > MAX_ACK_ID:
        raise NotAPacket("an ack id that JavaScript cannot count to")
    plain, namespace = _PLAIN.get(kind, kind), head["namespace"] or MAIN
    return Received(plain, namespace, ack_id, text[head.end() :], (), kind in _PLAIN), attachments


def _is_allowed(packet: Packet) -> bool:
    data = packet.data
    if packet.kind is Kind.CONNECT:
        return packet.id is None and (data is None or isinstance(data, dict))
    if packet.kind is Kind.DISCONNECT:
        return packet.id is None and data is None
    if packet.kind is Kind.EVENT:
        return isinstance(data, list) and bool(data) and _is_name(data[0])
    return packet.kind is Kind.ACK and packet.id is not None and isinstance(data, list)


def _is_name(name: object) -> bool:
    if isinstance(name, str):
        return name not in RESERVED
    return isinstance(name, int | float) and not isinstance(name, bool)


def _put_back(value: Any, attachments: Sequence[bytes]) -> Any:
    if isinstance(value, list):
        return [_put_back(item, attachments) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("_placeholder") is True:
        number = value.get("num")
        if not isinstance(number, int) or not 0 <= number < len(attachments):
            raise NotAPacket("a placeholder without an attachment")
        return attachments[number]
    for key, item in value.items():
        value[key] = _put_back(item, attachments)
    return value


def _take_out(value: Any, attachments: list[bytes]) -> Any:
    if isinstance(value, bytes):
        attachments.append(value)
        return {"_placeholder": True, "num": len(attachments) - 1}
    if isinstance(value, list):
        return [_take_out(item, attachments) for item in value]
    if isinstance(value, dict):
        return {key: _take_out(item, attachments) for key, item in value.items()}
    return value
