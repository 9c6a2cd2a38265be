"""Builds proofs for offline verification: that an event is in the record, and that the record is append-only.

Invariant: a proof that `onrecord-verify` would reject is not returned. The stored event, the seals and the signed root
are compared first. Only the events of a proof are compared with their seals: `verify` compares all.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from service.audit.proof import proof_record, tree_store
from service.audit.proof.leaf import hash_of_row
from service.audit.proof.merkle import consistency, inclusion, root_over, roots_over
from service.audit.proof.signing_keys import SealKey
from service.audit.proof.verify import Tampered
from service.domain.streams import room_stream, stream_id
from service.errors import EventMissing, EventNotFound, RoomNotFound
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
        EventMissing: the event was removed from the log.
        NotSealed: the event is not sealed yet.
        NoteInvalid: the newest checkpoint was changed.
        Tampered: the event is not the one that was sealed, or the seals were changed.
    """
    stream = stream_id(room_stream(room))
    row = await connection.fetchrow(_EVENT, stream, seq)
    if row is None:
        head = await connection.fetchval(
            "SELECT max(originator_version) FROM stored_events WHERE originator_id = $1", stream
        )
        if head is None:
            raise RoomNotFound(room=room)
        raise (EventMissing if seq < head else EventNotFound)(room=room, event=seq)
    sealed = await tree_store.SealedLeaves(connection).of(row["position"])
    if hash_of_row(row, row["stored"]) != sealed.hash:
        raise Tampered(row["position"], "the event here, or its seal, was changed")
    index = sealed.number
    newest = await tree_store.newest(connection, keys)
    if newest is None or newest.checkpoint.size <= index:
        raise tree_store.NotSealed(f"The event at position {row['position']} is not sealed yet.")
    path = await tree_store.path(connection, inclusion(index, newest.checkpoint.size))
    if root_over(sealed.hash, index, newest.checkpoint.size, path) != newest.checkpoint.root:
        raise Tampered(row["position"], "the tree of these events is not the one that was signed")
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
        Tampered: the signed trees or the seals between them do not belong together.
    """
    old, newest = tree_store.read(older, keys).checkpoint, await tree_store.newest(connection, keys)
    if newest is None or newest.checkpoint.size < old.size:
        size = newest.checkpoint.size if newest else 0
        raise tree_store.NotSealed(f"The record ends after {size} events; the checkpoint is of {old.size}.")
    new = newest.checkpoint
    path = await tree_store.path(connection, consistency(old.size, new.size))
    if roots_over(old.root, old.size, new.size, path) != (old.root, new.root):
        raise Tampered(
            old.position, "the record up to here differs from that of the checkpoint kept elsewhere"
        )
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
