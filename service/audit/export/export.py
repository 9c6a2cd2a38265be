"""An export: a directory that stands for itself, with the events, the proof of each, and pages to be read by people.

    events.ndjson     an event a line (`service.audit.proof.proof_record`), by position
    leaves.bin        the leaf hash of each as it was sealed, so that a line that is changed later is named by its place
    checkpoint.txt    the signed checkpoint that all of it is proved against
    keys.json         the keys that sign, each endorsed by the one before
    index.html, page-*.html
    manifest.json     what it is of, and the SHA-256 of every file
    manifest.sig      a signed note with the SHA-256 of the manifest

The checkpoint is fixed when an export begins. An export that was broken off goes on after its last whole line when it
is asked for again, with the same bytes in the end. It takes the same memory whatever its length.

Invariant: `manifest.json` is written last, so a directory that has one is whole; and no key was destroyed between the
first word that was read and the last look before the signature. Where one was, everything is written again, so content
that is erased while an export is written is not in it.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from os import SEEK_END
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import msgspec

from service.audit.export import html_pages
from service.audit.export.scope import Everything, Scope
from service.audit.proof import leaf, proof_record, tree_store
from service.audit.proof.prove import public
from service.audit.proof.signing_keys import SealKey
from service.audit.proof.tree_store import HASH
from service.eventstore.serializer import EventSerializer

if TYPE_CHECKING:
    import asyncpg

FORMAT = "onrecord-export/1"
TRIES = 8
"""How often everything is written again because keys were destroyed while it was written."""

PAGE = 200
"""Events read at a time."""

EVENTS, LEAVES, CHECKPOINT, KEYS = "events.ndjson", "leaves.bin", "checkpoint.txt", "keys.json"
MANIFEST, SIGNATURE, UNFINISHED = "manifest.json", "manifest.sig", "unfinished.json"
_DRAFT = ".new"

Tell = Callable[[int, int, int], None]
"""Is told now and then how many events were written, the position reached, and the last position to come."""


class CannotExport(Exception):
    """The directory cannot take this export, or there is nothing to export; the message is a sentence."""


class Begun(msgspec.Struct, frozen=True):
    """What was fixed when an export began, at the database's time `at`.

    `destroyed` is how many keys were destroyed when the first of its words was read; None in one that an earlier
    version began. A key is destroyed once, and for good, so another number means that words are gone since.
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
    tell: Tell,
) -> int:
    """Write an export into a directory, or go on with it; return how many events are in it.

    Raises:
        CannotExport: see there.
        NotSealed: nothing is sealed yet, or the seals are damaged.
        NoteInvalid: the newest checkpoint was changed.
    """
    begun = await _begin(connection, keys, scope, place)
    if (place / MANIFEST).exists():  # broken off when all was done but to say so
        (place / UNFINISHED).unlink()
        return int(msgspec.json.decode((place / MANIFEST).read_bytes())["events"])
    sealed = tree_store.read(begun.note, keys)
    for _ in range(TRIES):
        begun = await _without_what_is_gone(connection, begun, place)
        count = await _write_events(connection, serializer, begun, sealed, place, tell)
        if not count:
            raise CannotExport(f"There is nothing on the record to export: {scope.title}.")
        (place / CHECKPOINT).write_text(begun.note, encoding="utf-8")
        (place / KEYS).write_bytes(_json(public(keys)))
        shown = html_pages.write(place, place / EVENTS, scope.title, sealed.checkpoint, count)
        manifest = _manifest(place, begun, count, [EVENTS, LEAVES, CHECKPOINT, KEYS, *shown])
        if await connection.fetchval(_DESTROYED) == begun.destroyed:
            _finish(place, keys[-1], manifest)
            return count
    raise CannotExport(f"Keys were destroyed while {place} was written, {TRIES} times; ask for it again.")


async def _without_what_is_gone(connection: "asyncpg.Connection[Any]", begun: Begun, place: Path) -> Begun:
    """Drop all that is written where a key was destroyed since; return what is fixed from then on."""
    destroyed = await connection.fetchval(_DESTROYED)
    if begun.destroyed == destroyed:
        return begun
    _drop(place)
    begun = msgspec.structs.replace(begun, destroyed=destroyed)
    _write(place / UNFINISHED, _json(begun))
    return begun


def _drop(place: Path) -> None:
    for written in [place / EVENTS, place / LEAVES, place / html_pages.INDEX, *place.glob("page-*.html")]:
        written.unlink(missing_ok=True)


async def _write_events(
    connection: "asyncpg.Connection[Any]",
    serializer: EventSerializer,
    begun: Begun,
    sealed: tree_store.Sealed,
    place: Path,
    tell: Tell,
) -> int:
    """Write the events that are not written yet; return how many there are then."""
    with (place / EVENTS).open("ab+") as file, (place / LEAVES).open("ab+") as leaves:
        count, after = _resume(file, leaves, begun.scope.CURSOR)
        async for written in _events(connection, serializer, begun.scope, sealed, after):
            leaves.write(b"".join(written.leaves))
            leaves.flush()  # so that there are never fewer of these, whenever it is broken off
            file.write(b"".join(written.lines))
            count += len(written.lines)
            tell(count, written.position, sealed.checkpoint.position)
    return count


async def _begin(
    connection: "asyncpg.Connection[Any]", keys: Sequence[SealKey], scope: Scope, place: Path
) -> Begun:
    if (begun := _begun(scope, place)) is None:
        newest = await tree_store.newest(connection, keys)
        if newest is None:
            raise tree_store.NotSealed("Nothing is sealed yet; is `onrecord project run` running?")
        destroyed = await connection.fetchval(_DESTROYED)
        begun = Begun(scope, newest.note, await connection.fetchval("SELECT clock_timestamp()"), destroyed)
        _write(place / UNFINISHED, _json(begun))
    return begun


def _begun(scope: Scope, place: Path) -> Begun | None:
    """Return the unfinished export that is in a directory; None where the directory is new."""
    place.mkdir(parents=True, exist_ok=True)
    if not (place / UNFINISHED).exists():
        if (place / MANIFEST).exists():
            raise CannotExport(f"{place} is an export already; name another directory.")
        if any(file.suffix != _DRAFT for file in place.iterdir()):
            raise CannotExport(f"{place} is not empty; name another directory.")
        return None
    begun = msgspec.json.decode((place / UNFINISHED).read_bytes(), type=Begun)
    if begun.scope != scope:
        raise CannotExport(f"{place} is an unfinished export of something else: {begun.scope.title}.")
    return begun


def _resume(file: BinaryIO, leaves: BinaryIO, cursor: str) -> tuple[int, int]:
    """Cut off what is not whole; return how many whole lines there are, and where the last of them stands."""
    count, whole, last = 0, 0, b""
    file.seek(0)
    for line in file:
        if line.endswith(b"\n"):
            count, whole, last = count + 1, whole + len(line), line
    if leaves.seek(0, SEEK_END) < HASH * count:  # not all of them reached the disk: begin anew
        count, whole, last = 0, 0, b""
    file.truncate(whole)
    leaves.truncate(HASH * count)
    return count, msgspec.json.decode(last)[cursor] if last else 0


class _Written(NamedTuple):
    """Some events: their lines, their leaf hashes, and the position reached with them."""

    lines: list[bytes]
    leaves: list[bytes]
    position: int


async def _events(
    connection: "asyncpg.Connection[Any]",
    serializer: EventSerializer,
    scope: Scope,
    sealed: tree_store.Sealed,
    after: int,
) -> AsyncIterator[_Written]:
    """Give the events after a cursor, some at a time."""
    condition, arguments = scope.condition()
    paths = None if isinstance(scope, Everything) else tree_store.Paths(connection, sealed.checkpoint.size)
    leaves = tree_store.Places(connection)
    query = _EVENTS.format(condition=condition, cursor=_COLUMN[scope.CURSOR])
    while rows := await connection.fetch(query, after, sealed.checkpoint.position, PAGE, *arguments):
        after = rows[-1][scope.CURSOR]
        places = [await leaves.of(row["position"]) for row in rows]
        lines = []
        for row, place in zip(rows, places, strict=True):
            path = await paths.of(place.number) if paths else None
            of = leaf.of_row(row, leaf.digest(row["stored"]))
            lines.append(
                _json(proof_record.shown(of, place.number, path, row["stored"], serializer.revealed(row)))
            )
        yield _Written(lines, [place.hash for place in places], rows[-1]["position"])


def _manifest(place: Path, begun: Begun, count: int, names: Sequence[str]) -> bytes:
    files = {
        name: {"bytes": (place / name).stat().st_size, "sha256": _digest(place / name)} for name in names
    }
    return _json({"format": FORMAT, "scope": begun.scope, "events": count, "files": files})


def _finish(place: Path, key: SealKey, manifest: bytes) -> None:
    signed = f"{key.verifier.name}/export\nsha256 {hashlib.sha256(manifest).hexdigest()}\n"
    (place / SIGNATURE).write_text(key.signer.sign(signed), encoding="utf-8")
    _write(place / MANIFEST, manifest)
    (place / UNFINISHED).unlink()


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all."""
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
    SELECT {leaf.COLUMNS}, key_id, wrapped, state, stored FROM readable_events LEFT JOIN open_keys USING (key_id)
    WHERE {{cursor}} > $1 AND notification_id <= $2 AND {{condition}}
    ORDER BY {{cursor}} LIMIT $3
"""  # noqa: S608 - constants
