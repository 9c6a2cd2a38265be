"""The commands of the proof: checkpoints, keys, verification, proofs and exports."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from service.audit.export.export import CannotExport, Progress, export
from service.audit.export.scope import OnePerson, OneRoom, Scope
from service.audit.proof import signing_keys, tree_store
from service.audit.proof.prove import extension, prove
from service.audit.proof.signed_note import NoteInvalid
from service.audit.proof.verify import Tampered, verify
from service.audit.proof.verify_content import verify_content
from service.cli.history import asked_for, record
from service.cli.output import say
from service.config.settings import Settings
from service.domain.events import AuditRead
from service.encryption.keyring import KeyRing
from service.errors import Refusal
from service.eventstore.serializer import EventSerializer
from service.protocol.events import timestamp
from service.runtime.malloc import pin_mmap_threshold

TELL_EVERY = 2.0
"""Seconds between two words about how far an export is."""

_NOTHING = "Nothing is sealed yet; is `onrecord project run` running?"


def run_checkpoint(settings: Settings) -> int:
    """`onrecord audit checkpoint`: the newest checkpoint; 1 where nothing was sealed."""

    async def run() -> int:
        async with _connection(settings) as connection:
            keys = await signing_keys.load(connection, settings.key_encryption_key)
            newest = await tree_store.newest(connection, keys)
        return _print(newest.note) if newest else say(_NOTHING)

    return _found(run())


def run_keys(settings: Settings, *, rotate: bool) -> int:
    """`onrecord audit keys`: the vkey of each key that signs or signed, the newest last; 1 where there is none."""

    async def run() -> int:
        async with _connection(settings, settings.projecting_url if rotate else None) as connection:
            if rotate:
                await signing_keys.rotate(connection, settings.key_encryption_key)
            keys = await signing_keys.load(connection, settings.key_encryption_key)
        return _print("".join(f"{key.verifier}\n" for key in keys)) if keys else say(_NOTHING)

    return _found(run())


def run_verify(settings: Settings, against: str | None, *, words: bool) -> int:
    """`onrecord audit verify`: `ok SIZE`, or `bad POSITION` and 1."""

    async def run() -> int:
        async with _connection(settings) as connection:
            try:
                verified = await verify(connection, settings.key_encryption_key, against)
                if words:
                    await _say_of_words(connection, settings)
            except Tampered as found:
                _print(f"bad {found.position}\n")
                return say(f"Position {found.position}: {found}.")
        if verified.since:
            _say_of_unsealed(verified.unsealed, verified.since)
        return _print(f"ok {verified.size}\n")

    return _found(run())


def _say_of_unsealed(count: int, since: datetime) -> None:
    say(
        f"{count} events after them are not sealed yet, the first of {timestamp(since)}; "
        "if that is more than a minute ago, is `onrecord project run` running?"
    )


async def _say_of_words(connection: "asyncpg.Connection[Any]", settings: Settings) -> None:
    found = await verify_content(connection, EventSerializer(KeyRing(settings.key_encryption_key)))
    say(
        f"The words of {found.readable} events are those that were said; "
        f"those of {found.gone} are gone, and the record says why."
    )


def run_prove(settings: Settings, room: str, seq: int, *, reveal: bool) -> int:
    """`onrecord audit prove`: the proof of one event as JSON; 1 where there is none."""

    async def run() -> int:
        async with _connection(settings) as connection:
            asked = asked_for(seq=seq, **({"reveal": "yes"} if reveal else {}))
            reading = AuditRead(what="proof", via="cli", room=room, asked=asked)
            await record(connection, reading, settings)
            keys = await signing_keys.load(connection, settings.key_encryption_key)
            serializer = EventSerializer(KeyRing(settings.key_encryption_key))
            await serializer.keys.prove(connection)
            proof = await prove(connection, keys, serializer, room, seq, reveal=reveal)
        return _print(msgspec.json.format(msgspec.json.encode(proof)).decode() + "\n")

    return _found(run())


def run_extension(settings: Settings, older: str) -> int:
    """`onrecord audit extension`: the proof that the record was only added to; 1 where it ends before."""

    async def run() -> int:
        async with _connection(settings) as connection:
            keys = await signing_keys.load(connection, settings.key_encryption_key)
            proof = await extension(connection, keys, older)
        return _print(msgspec.json.format(msgspec.json.encode(proof)).decode() + "\n")

    return _found(run())


def run_export(settings: Settings, scope: Scope, place: Path) -> int:
    """`onrecord audit export`: a directory; progress on stderr, 1 where there is nothing to export."""

    async def run() -> int:
        async with _connection(settings) as connection:
            await record(connection, _reading(scope), settings)
            keys = await signing_keys.load(connection, settings.key_encryption_key)
            serializer = EventSerializer(KeyRing(settings.key_encryption_key))
            await serializer.keys.prove(connection)
            count = await export(connection, keys, serializer, scope, place, _progress())
        return _print(f"exported {count} events to {place}\n")

    return _found(run())


def _reading(scope: Scope) -> AuditRead:
    room = scope.room if isinstance(scope, OneRoom) else None
    person = scope.person if isinstance(scope, OnePerson) else None
    return AuditRead(what="export", via="cli", room=room, person=person)


def _progress() -> Progress:
    """Return what says how far an export is, every few seconds."""
    said = time.monotonic()

    def tell(count: int, position: int, last: int) -> None:
        nonlocal said
        if time.monotonic() - said >= TELL_EVERY:
            said = time.monotonic()
            say(f"{count} events, position {position} of {last}")

    return tell


def _found(main: Coroutine[Any, Any, int]) -> int:
    """Run a command; 1 and a sentence where what it asks for is not there, or is not what was sealed."""
    pin_mmap_threshold()
    try:
        return asyncio.run(main)
    except (tree_store.NotSealed, signing_keys.SealKeyInvalid, CannotExport, Refusal) as problem:
        return say(problem)
    except NoteInvalid as problem:
        return say(f"A checkpoint was changed, or is of another log: {problem}. Run `onrecord audit verify`.")
    except OSError as problem:
        if problem.filename is None:
            raise
        return say(f"{problem.filename} cannot be written: {problem.strerror}.")


@asynccontextmanager
async def _connection(settings: Settings, url: str | None = None) -> AsyncIterator["asyncpg.Connection[Any]"]:
    connection = await asyncpg.connect(url or settings.database_url, timeout=settings.database_timeout)
    try:
        # A plan made for one cursor would be kept for another.
        await connection.execute("SET plan_cache_mode = force_custom_plan")
        yield connection
    finally:
        connection.terminate()


def _print(text: str) -> int:
    sys.stdout.buffer.write(text.encode())  # UTF-8 whatever the locale
    sys.stdout.buffer.flush()
    return 0
