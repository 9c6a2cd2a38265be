"""Exports: a self-contained directory with events, a proof of each, and HTML pages.

    events.ndjson     one event per line (`service.audit.proof.proof_record`), by position
    leaves.bin        the leaf hash of each event as sealed, which locates a line that is changed later
    checkpoint.txt    the signed checkpoint of all proofs
    keys.json         the signing keys, each endorsed by the previous one
    index.html, page-*.html
    manifest.json     the scope, and the SHA-256 of every file
    manifest.sig      a signed note with the SHA-256 of the manifest

The checkpoint is fixed when an export begins. An interrupted export, when requested again, continues after its last
complete line and ends with the same bytes. Memory use does not depend on its length.

Invariant: `manifest.json` is written last, so a directory that has one is complete. If a key is destroyed before the
manifest is signed, everything is written again, so an export never holds content that was erased while it was written.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from os import SEEK_END
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from service.audit.export import html_pages
from service.audit.export.scope import Everything, Scope
from service.audit.proof import proof_record, tree_store
from service.audit.proof.prove import public_keys
from service.audit.proof.signing_keys import SealKey
from service.audit.proof.tree_store import HASH
from service.eventstore.serializer import EventSerializer

if TYPE_CHECKING:
    import asyncpg

FORMAT = "onrecord-export/1"
TRIES = 8
"""Attempts at an export, each ended by the destruction of a key, before it is abandoned."""

PAGE = 200
"""Events per read."""

EVENTS, LEAVES, CHECKPOINT, KEYS = "events.ndjson", "leaves.bin", "checkpoint.txt", "keys.json"
MANIFEST, SIGNATURE, UNFINISHED = "manifest.json", "manifest.sig", "unfinished.json"
_DRAFT = ".new"

Progress = Callable[[int, int, int], None]
"""Called after each page with the number of events written, the position reached, and the last position."""


class CannotExport(Exception):
    """The directory cannot hold this export, or there is nothing to export; the message is a sentence."""


class Unfinished(msgspec.Struct, frozen=True):
    """What an unfinished export contains, decided at the database's time `at`.

    `note` is its checkpoint. `destroyed` is the number of destroyed keys before the first read of content; None if an
    earlier version began the export. Keys are never restored, so a different number means that content was erased.
    """

    scope: Scope
    note: str
    at: datetime
    destroyed: int | None = None


async def export(
    connection: "asyncpg.Connection[Any]",
    keys: Sequence[SealKey],
    serializer: EventSerializer,
    scope: Scope,
    place: Path,
    progress: Progress,
) -> int:
    """Write an export into a directory, or continue it; return the number of its events.

    Raises:
        CannotExport: the directory cannot hold this export, or there is nothing to export.
        NotSealed: nothing is sealed yet, or the seals are damaged.
        NoteInvalid: the newest checkpoint was changed.
    """
    unfinished = await _begin(connection, keys, scope, place)
    if (place / MANIFEST).exists():  # interrupted between the last two steps of `_finish`
        (place / UNFINISHED).unlink()
        return int(msgspec.json.decode((place / MANIFEST).read_bytes())["events"])
    sealed = tree_store.read(unfinished.note, keys)
    for _ in range(TRIES):
        unfinished = await _restart_after_erasure(connection, unfinished, place)
        count = await _write_events(connection, serializer, scope, sealed, place, progress)
        if not count:
            raise CannotExport(f"There is nothing on the record to export: {scope.title}.")
        (place / CHECKPOINT).write_text(unfinished.note, encoding="utf-8")
        (place / KEYS).write_bytes(_json(public_keys(keys)))
        pages = html_pages.write(place, place / EVENTS, scope.title, sealed.checkpoint, count)
        manifest = _manifest(place, scope, count, [EVENTS, LEAVES, CHECKPOINT, KEYS, *pages])
        if await connection.fetchval(_DESTROYED) == unfinished.destroyed:
            _finish(place, keys[-1], manifest)
            return count
    raise CannotExport(
        f"Keys were destroyed while {place} was written, {TRIES} times; run the command again."
    )


async def _restart_after_erasure(
    connection: "asyncpg.Connection[Any]", unfinished: Unfinished, place: Path
) -> Unfinished:
    """Delete the written files if a key was destroyed since; return the state to continue with."""
    destroyed = await connection.fetchval(_DESTROYED)
    if unfinished.destroyed == destroyed:
        return unfinished
    _delete_files(place)
    unfinished = msgspec.structs.replace(unfinished, destroyed=destroyed)
    _write(place / UNFINISHED, _json(unfinished))
    return unfinished


def _delete_files(place: Path) -> None:
    for file in [place / EVENTS, place / LEAVES, place / html_pages.INDEX, *place.glob("page-*.html")]:
        file.unlink(missing_ok=True)


async def _write_events(
    connection: "asyncpg.Connection[Any]",
    serializer: EventSerializer,
    scope: Scope,
    sealed: tree_store.Sealed,
    place: Path,
    progress: Progress,
) -> int:
    """Write the events that are not written yet; return the total."""
    with (place / EVENTS).open("ab+") as file, (place / LEAVES).open("ab+") as leaves:
        count, after = _resume(file, leaves, scope.CURSOR)
        async for lines, hashes, position in _events(connection, serializer, scope, sealed, after):
            leaves.write(b"".join(hashes))
            leaves.flush()  # so that an interruption never leaves fewer leaves than lines
            file.write(b"".join(lines))
            count += len(lines)
            progress(count, position, sealed.checkpoint.position)
    return count


async def _begin(
    connection: "asyncpg.Connection[Any]", keys: Sequence[SealKey], scope: Scope, place: Path
) -> Unfinished:
    if (unfinished := _read_unfinished(scope, place)) is None:
        newest = await tree_store.newest(connection, keys)
        if newest is None:
            raise tree_store.NotSealed("Nothing is sealed yet; is `onrecord project run` running?")
        destroyed = await connection.fetchval(_DESTROYED)
        at = await connection.fetchval("SELECT clock_timestamp()")
        unfinished = Unfinished(scope, newest.note, at, destroyed)
        _write(place / UNFINISHED, _json(unfinished))
    return unfinished


def _read_unfinished(scope: Scope, place: Path) -> Unfinished | None:
    """Return the unfinished export in a directory, which is created if it is missing; None if it is empty."""
    place.mkdir(parents=True, exist_ok=True)
    if not (place / UNFINISHED).exists():
        if (place / MANIFEST).exists():
            raise CannotExport(f"{place} is a complete export already; name another directory.")
        if any(file.suffix != _DRAFT for file in place.iterdir()):
            raise CannotExport(f"{place} is not empty; name another directory.")
        return None
    unfinished = msgspec.json.decode((place / UNFINISHED).read_bytes(), type=Unfinished)
    if unfinished.scope != scope:
        raise CannotExport(f"{place} is an unfinished export of another scope: {unfinished.scope.title}.")
    return unfinished


def _resume(file: BinaryIO, leaves: BinaryIO, cursor: str) -> tuple[int, int]:
    """Truncate incomplete lines; return the number of complete lines, and the cursor of the last one."""
    count, size, last = 0, 0, b""
    file.seek(0)
    for line in file:
        if line.endswith(b"\n"):
            count, size, last = count + 1, size + len(line), line
    if leaves.seek(0, SEEK_END) < HASH * count:  # some leaves did not reach the disk: start again
        count, size, last = 0, 0, b""
    file.truncate(size)
    leaves.truncate(HASH * count)
    return count, msgspec.json.decode(last)[cursor] if last else 0


async def _events(
    connection: "asyncpg.Connection[Any]",
    serializer: EventSerializer,
    scope: Scope,
    sealed: tree_store.Sealed,
    after: int,
) -> AsyncIterator[tuple[list[bytes], list[bytes], int]]:
    """Yield the events after a cursor, a page at a time: lines, leaf hashes, and the position of the last."""
    condition, arguments = scope.condition()
    # An export of everything needs no paths: the root follows from its leaves.
    is_whole = isinstance(scope, Everything)
    paths = None if is_whole else tree_store.InclusionPaths(connection, sealed.checkpoint.size)
    leaves = tree_store.SealedLeaves(connection)
    query = _EVENTS.format(condition=condition, cursor=_COLUMN[scope.CURSOR])
    while rows := await connection.fetch(query, after, sealed.checkpoint.position, PAGE, *arguments):
        after = rows[-1][scope.CURSOR]
        sealed_leaves = [await leaves.of(row["position"]) for row in rows]
        lines = []
        for row, leaf in zip(rows, sealed_leaves, strict=True):
            path = await paths.of(leaf.number) if paths else None
            lines.append(_json(proof_record.of_stored(row, leaf.number, path, serializer)))
        yield lines, [leaf.hash for leaf in sealed_leaves], rows[-1]["position"]


def _manifest(place: Path, scope: Scope, count: int, names: Sequence[str]) -> bytes:
    files = {
        name: {"bytes": (place / name).stat().st_size, "sha256": _digest(place / name)} for name in names
    }
    return _json({"format": FORMAT, "scope": scope, "events": count, "files": files})


def _finish(place: Path, key: SealKey, manifest: bytes) -> None:
    signed = f"{key.verifier.name}/export\nsha256 {hashlib.sha256(manifest).hexdigest()}\n"
    (place / SIGNATURE).write_text(key.signer.sign(signed), encoding="utf-8")
    _write(place / MANIFEST, manifest)
    (place / UNFINISHED).unlink()


def _write(path: Path, content: bytes) -> None:
    """Replace a file atomically."""
    draft = path.with_suffix(_DRAFT)
    draft.write_bytes(content)
    draft.rename(path)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _json(value: object) -> bytes:
    return msgspec.json.encode(value) + b"\n"


_DESTROYED = "SELECT count(*) FROM person_keys WHERE destroyed_at IS NOT NULL"
_COLUMN = {"seq": "originator_version", "position": "notification_id"}
_EVENTS = f"""
    {proof_record.SELECT}
    WHERE {{cursor}} > $1 AND notification_id <= $2 AND {{condition}}
    ORDER BY {{cursor}} LIMIT $3
"""
