"""Builds proofs for offline verification: that an event is in the record, and that the record is append-only."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from service.audit.proof import proof_record, tree_store
from service.audit.proof.merkle import consistency, inclusion
from service.audit.proof.signing_keys import SealKey
from service.domain.streams import room_stream, stream_id
from service.errors import EventNotFound, RoomNotFound
from service.eventstore.serializer import EventSerializer

if TYPE_CHECKING:
    import asyncpg

FORMAT = "onrecord-proof/1"
EXTENSION = "onrecord-extension/1"


async def prove(
    connection: "asyncpg.Connection[Any]",
    keys: Sequence[SealKey],
    serializer: EventSerializer,
    room: str,
    seq: int,
    *,
    reveal: bool,
) -> dict[str, Any]:
    """Return the proof of a room's event `seq`, as JSON; `reveal` adds its content.

    Raises:
        RoomNotFound, EventNotFound: there is no such room, or no such event in it.
        NotSealed: the event is not sealed yet.
        NoteInvalid: the newest checkpoint was changed.
    """
    stream = stream_id(room_stream(room))
    row = await connection.fetchrow(_EVENT, stream, seq)
    if row is None:
        exists = await connection.fetchval(
            "SELECT EXISTS (SELECT FROM stored_events WHERE originator_id = $1)", stream
        )
        raise EventNotFound(room=room, event=seq) if exists else RoomNotFound(room=room)
    index = (await tree_store.SealedLeaves(connection).of(row["position"])).number
    newest = await tree_store.newest(connection, keys)
    if newest is None or newest.checkpoint.size <= index:
        raise tree_store.NotSealed(f"The event at position {row['position']} is not sealed yet.")
    path = await tree_store.path(connection, inclusion(index, newest.checkpoint.size))
    return {
        "format": FORMAT,
        "event": proof_record.of_stored(row, index, path, serializer, reveal=reveal),
        "checkpoint": newest.note,
        "keys": public_keys(keys),
    }


async def extension(
    connection: "asyncpg.Connection[Any]", keys: Sequence[SealKey], older: str
) -> dict[str, Any]:
    """Return the proof that the newest checkpoint's record begins with that of an older checkpoint, as JSON.

    Raises:
        NotSealed: the record ends before the older checkpoint, or nothing is sealed.
        NoteInvalid: one of the checkpoints is of another log, or was changed.
    """
    old, newest = tree_store.read(older, keys).checkpoint, await tree_store.newest(connection, keys)
    if newest is None or newest.checkpoint.size < old.size:
        size = newest.checkpoint.size if newest else 0
        raise tree_store.NotSealed(f"The record ends after {size} events; the checkpoint is of {old.size}.")
    path = await tree_store.path(connection, consistency(old.size, newest.checkpoint.size))
    return {
        "format": EXTENSION,
        "older": older,
        "checkpoint": newest.note,
        "path": [step.hex() for step in path],
        "keys": public_keys(keys),
    }


def public_keys(keys: Sequence[SealKey]) -> list[dict[str, str | None]]:
    """Return the public keys, each with its endorsement by the previous key."""
    return [{"vkey": str(key.verifier), "endorsement": key.endorsement} for key in keys]


_EVENT = f"{proof_record.SELECT} WHERE originator_id = $1 AND originator_version = $2"
