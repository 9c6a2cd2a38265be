"""The chat over Socket.IO: `emit(name, payload, ack)`, with the names and payloads of the native protocol.

An event's `type` is its name and the rest is its payload. An ack is `{ok: true, ...}` or `{ok: false, error}`. Recorded
commands need a `ref`; this module generates one for a command without. Only clients that send their own can retry.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from service.errors import Malformed, OnRecordError
from service.protocol.acks import Ack, ack_fields
from service.protocol.commands import COMMANDS, PROTOCOL, Connect, Frame
from service.protocol.contract.schemas import event_name
from service.protocol.events import Outgoing
from service.protocol.native import decode, decode_connect, error_fields
from service.protocol.socketio import packets, recovery
from service.protocol.socketio.engineio import message
from service.protocol.socketio.packets import Kind, Packet
from service.protocol.strict_json import Duplicate

_encoder = msgspec.json.Encoder()


def event_packet(outgoing: Outgoing) -> bytes:
    """Return an event as a whole Engine.IO packet."""
    name = event_name(type(outgoing)).encode()
    # The tag is encoded first: without it the rest of the object is the payload.
    rest = _encoder.encode(outgoing)[len(b'{"type":"",') + len(name) :]
    return b'42["' + name + b'",{' + rest + b"]"


def ack_packet(ack_id: str, ack: Ack) -> bytes:
    """Return the ack of a command that was carried out."""
    return _ack(ack_id, {"ok": True, **ack_fields(ack)})


def refusal_packet(ack_id: str | None, error: OnRecordError) -> bytes:
    """Return the ack of a refused command; without an ack id, an event named `error`."""
    if ack_id is None:
        return message(packets.encode(Kind.EVENT, data=["error", error_fields(error)])[0])
    return _ack(ack_id, {"ok": False, "error": error_fields(error)})


def decode_command(packet: Packet, new_ref: Callable[[], str]) -> Frame:
    """Return the command in an event.

    Raises:
        UnknownType: the event's name is no command.
        Malformed: the payload is invalid.
    """
    name, *arguments = packet.data
    payload = arguments[0] if arguments else {}
    if len(arguments) > 1 or not isinstance(payload, dict):
        raise Malformed(problem="A command takes one object and an acknowledgement - at '$'")
    if "type" in payload:
        raise Malformed(problem="The event's name is the type - at '$.type'")
    value = _typed(payload, name)
    schema = COMMANDS.get(name) if isinstance(name, str) else None
    if schema is not None and schema.RECORDED and "ref" not in value:
        value["ref"] = new_ref()
    return decode(packet.text, value)


def decode_auth(packet: Packet) -> Connect:
    """Return the content of `auth` as the native protocol's `connect`.

    Raises:
        Malformed: `auth` is invalid.
    """
    value = _typed(packet.data or {}, Connect.TYPE)
    value.setdefault("protocol", PROTOCOL)
    for extra in recovery.FIELDS:
        value.pop(extra, None)
    return decode_connect(packet.text, value)


def _typed(payload: dict[str, Any], kind: object) -> dict[str, Any]:
    """Return a payload as a frame of the native protocol; a `Duplicate` stays one."""
    value: dict[str, Any] = {"type": kind, **payload}
    if isinstance(payload, Duplicate):
        duplicate = Duplicate(value)
        duplicate.key = payload.key
        return duplicate
    return value


def _ack(ack_id: str, fields: dict[str, Any]) -> bytes:
    return message(packets.encode(Kind.ACK, data=[fields], ack_id=int(ack_id))[0])
