"""Socket.IO's connection state recovery from the log, for clients that request it by `auth: {recovery: true}`.

A stock client keeps the last argument of the last event as its `offset` if it is a text, and sends it with its `pid`
when it reconnects. An OnRecord offset contains all cursors of the connection, so any node can continue from it, even
after a restart, and the server keeps no state of disconnected clients. An offset grants no access: its rooms are
checked like `auth.rooms`.

    <epoch> <room>:<seq> <room>:<seq> ...
"""

import re
from typing import Any, NamedTuple

import msgspec

from service.protocol.commands import MAX_SEQ, ROOM_ID

FIELDS = ("recovery", "pid", "offset")
"""The fields of recovery in `auth`."""

MAX_OFFSET = 16 * 1024
_PID = re.compile(r"\A[A-Za-z0-9-]{1,64}\Z")
_CURSOR = re.compile(rf"{ROOM_ID[:-2]}:[0-9]{{1,16}}\Z")


class Recovery(NamedTuple):
    """The state that a client asks to recover: its `pid`, and the epoch and the cursors of its `offset`."""

    pid: str
    epoch: str
    cursors: dict[str, int]


class _Placed(msgspec.Struct, rename="camel"):
    room_id: str | None = None
    seq: int | None = None


_event = msgspec.json.Decoder(tuple[str, _Placed])


def is_enabled(auth: dict[str, Any]) -> bool:
    """Return whether a client requests recovery, which needs an offset in every event."""
    return auth.get("recovery") is True


def requested(auth: dict[str, Any]) -> Recovery | None:
    """Return the state to recover; None without a valid `pid` and `offset`."""
    pid, offset = auth.get("pid"), auth.get("offset")
    if (
        not isinstance(pid, str)
        or not _PID.match(pid)
        or not isinstance(offset, str)
        or len(offset) > MAX_OFFSET
    ):
        return None
    epoch, *cursors = offset.split(" ")
    if not epoch or not all(map(_CURSOR.match, cursors)):
        return None
    pairs = [cursor.rsplit(":", 1) for cursor in cursors]
    return Recovery(pid, epoch, {room: min(int(seq), MAX_SEQ) for room, seq in pairs})


def with_offset(packet: bytes, epoch: str, cursors: dict[str, int]) -> bytes:
    """Return an event's packet with an offset as its last argument."""
    offset = " ".join([epoch, *(f"{room}:{seq}" for room, seq in cursors.items())])
    return packet[:-1] + b"," + msgspec.json.encode(offset) + b"]"


def room_and_seq(packet: bytes) -> tuple[str, int] | None:
    """Return the room and the seq of an event's packet; None if the event is not part of a room's order."""
    _, placed = _event.decode(packet[2:])
    return None if placed.room_id is None or placed.seq is None else (placed.room_id, placed.seq)
