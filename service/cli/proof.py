"""The commands of the proof: checkpoints, signing keys, verification, proofs and exports."""

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec

from service.audit.export.export import CannotExport, Progress, export
from service.audit.export.scope import Everything, OnePerson, OneRoom, Scope
from service.audit.history.existence import require_complete, require_known
from service.audit.history.format import when
from service.audit.proof import signing_keys, tree_store
from service.audit.proof.prove import extension, prove
from service.audit.proof.signed_note import NoteInvalid
from service.audit.proof.verify import Tampered, stored_at, verify
from service.audit.proof.verify_content import verify_content
from service.cli.connection import connected, serializer_of, titles
from service.cli.history import bounds_asked, record
from service.cli.output import complain, form_of, print_text
from service.cli.preconditions import WrongUsage, read_file
from service.config.settings import Settings
from service.domain.events import AuditRead
from service.errors import Refusal
from service.eventstore.as_of_reader import AsOfReader
from service.eventstore.connections import is_shared
from service.protocol.events import timestamp
from service.runtime.malloc import pin_mmap_threshold

if TYPE_CHECKING:
    from service.cli.connection import Connection

PROGRESS_INTERVAL = 2.0
"""Seconds between two reports of an export's progress."""

_NOTHING = "Nothing is sealed yet; is `onrecord project run` running?"


def run_checkpoint(settings: Settings, _args: argparse.Namespace) -> int:
    """`onrecord audit checkpoint`: the newest checkpoint; 1: there is none."""

    async def run() -> int:
        async with _connected(settings) as connection:
            keys = await signing_keys.load(connection, settings.key_encryption_key)
            newest = await tree_store.newest(connection, keys)
        return print_text(newest.note) if newest else complain(_NOTHING)

    return _run(run())


def run_keys(settings: Settings, args: argparse.Namespace) -> int:
    """`onrecord audit keys`: the vkey of each key that signs or signed, the newest last; 1: there is none."""

    async def run() -> int:
        async with _connected(settings, settings.projecting_url if args.rotate else None) as connection:
            if args.rotate:
                await _rotate(connection, settings)
            keys = await signing_keys.load(connection, settings.key_encryption_key)
        return print_text("".join(f"{key.verifier}\n" for key in keys)) if keys else complain(_NOTHING)

    return _run(run())


async def _rotate(connection: "Connection", settings: Settings) -> None:
    try:
        await signing_keys.rotate(connection, settings.key_encryption_key)
    except asyncpg.InsufficientPrivilegeError as problem:
        advice = (
            "ONRECORD_PROJECTOR_DATABASE_URL has to be set to the projector's login, which makes signing keys"
        )
        raise WrongUsage(f"{advice}: {problem}.") from problem


def run_verify(settings: Settings, args: argparse.Namespace) -> int:
    """`onrecord audit verify`: `ok SIZE`, or `bad POSITION` and 1."""
    against = _read_checkpoint(args.against) if args.against else None

    async def run() -> int:
        async with _connected(settings) as connection:
            try:
                verified = await verify(connection, settings.key_encryption_key, against)
                if args.words:
                    await _verify_content(connection, settings)
            except Tampered as found:
                print_text(f"bad {found.position}\n")
                place = await stored_at(connection, found.position)
                return complain(f"Position {found.position}: {place}: {found}.")
        if verified.since:
            _report_unsealed(verified.unsealed, verified.since)
        return print_text(f"ok {verified.size}\n")

    return _run(run())


def _read_checkpoint(path: Path) -> str:
    """Return the checkpoint in a file; whose it is and whether it is valid is not checked here.

    Raises:
        WrongUsage: the file cannot be read, or is of another kind.
    """
    text = read_file(path)
    if "\n\n\N{EM DASH} " not in text:
        raise WrongUsage(f"{path} is no checkpoint (`onrecord audit checkpoint` prints one).")
    return text


def _report_unsealed(count: int, since: datetime) -> None:
    complain(
        f"{count} later events are not sealed yet, the first of {timestamp(since)}; "
        "if that is more than a minute ago, is `onrecord project run` running?"
    )


async def _verify_content(connection: "Connection", settings: Settings) -> None:
    found = await verify_content(connection, serializer_of(settings))
    complain(
        f"The content of {found.readable} events is what was recorded; "
        f"that of {found.gone} is gone, and the record has the reason for each."
    )


def run_prove(settings: Settings, args: argparse.Namespace) -> int:
    """`onrecord audit prove`: the proof of one event; 1: there is none, or it is not the event that was sealed."""

    async def run() -> int:
        async with _connected(settings) as connection:
            asked = bounds_asked(seq=args.seq, **({"reveal": "yes"} if args.reveal else {}))
            await record(
                connection, AuditRead(what="proof", via="cli", room=args.room, asked=asked), settings
            )
            keys = await signing_keys.load(connection, settings.key_encryption_key)
            serializer = serializer_of(settings)
            await serializer.keys.prove(connection)
            proof = await prove(connection, keys, serializer, args.room, args.seq, reveal=args.reveal)
            names = titles(args, connection, serializer, settings)
            event, sealed = proof["event"], tree_store.read(proof["checkpoint"], keys).checkpoint
            by, room = await names.person(event["by"]), await names.room(args.room)
            shown = (
                "Its content is in the proof."
                if args.reveal
                else "Its content is not in the proof (--reveal)."
            )
            return _print_proof(
                args,
                proof,
                f"Event {args.seq} of the room {room} ({event['topic']}) was recorded {when(event['at'])} by {by}, "
                f"and is one of the {sealed.size} events that the checkpoint seals. {shown}",
            )

    return _run(run())


def run_extension(settings: Settings, args: argparse.Namespace) -> int:
    """`onrecord audit extension`: the proof that seals were only appended; 1: not since the checkpoint."""
    older = _read_checkpoint(args.since)

    async def run() -> int:
        async with _connected(settings) as connection:
            keys = await signing_keys.load(connection, settings.key_encryption_key)
            proof = await extension(connection, keys, older)
            old, new = (tree_store.read(note, keys).checkpoint for note in (older, proof["checkpoint"]))
            return _print_proof(
                args,
                proof,
                f"The signed tree of {new.size} events begins with the tree of the {old.size} events of {args.since}. "
                "The stored events were not compared with it; "
                f"`onrecord audit verify --against {args.since}` does that.",
                "since.json",
                f"since.json --since {args.since}",
            )

    return _run(run())


def run_export(settings: Settings, args: argparse.Namespace) -> int:
    """`onrecord audit export`: write a directory; progress goes to stderr. 1: nothing, or an event missing."""
    room, person = args.room or None, args.person or None
    scope: Scope = OneRoom(room) if room else OnePerson(person) if person else Everything()

    async def run() -> int:
        async with _connected(settings) as connection:
            await record(connection, AuditRead(what="export", via="cli", room=room, person=person), settings)
            keys = await signing_keys.load(connection, settings.key_encryption_key)
            serializer = serializer_of(settings)
            await serializer.keys.prove(connection)
            reader = AsOfReader(connection, serializer)
            await require_known(reader, room=room, person=person)
            count = await export(connection, keys, serializer, scope, args.out, _progress())
            await serializer.keys.prove(connection)  # a rotation may have begun since
            print_text(f"exported {count} events to {args.out}\n")
            if room is not None:
                await require_complete(reader, room)
        return 0

    return _run(run())


def _progress() -> Progress:
    """Return a callback that reports the progress of an export every few seconds."""
    reported = time.monotonic()

    def report(count: int, position: int, last: int) -> None:
        nonlocal reported
        if time.monotonic() - reported >= PROGRESS_INTERVAL:
            reported = time.monotonic()
            complain(f"{count} events, position {position} of {last}")

    return report


def _print_proof(
    args: argparse.Namespace, proof: dict[str, Any], sentence: str, file: str = "proof.json", check: str = ""
) -> int:
    """Print a proof as JSON, or for people what it proves."""
    if form_of(args) == "json":
        return print_text(msgspec.json.format(msgspec.json.encode(proof)).decode() + "\n")
    return print_text(
        f"{sentence}\nThis sentence is no proof. Redirect the output to a file (`> {file}`, JSON without `--as`) "
        f"and check it with `onrecord-verify {check or file}`.\n"
    )


def _run(main: Coroutine[Any, Any, int]) -> int:
    """Run a command; print a problem with the request or with the seals, and return 1."""
    pin_mmap_threshold()
    try:
        return asyncio.run(main)
    except (tree_store.NotSealed, signing_keys.SealKeyInvalid, CannotExport, Refusal) as problem:
        return complain(problem)
    except Tampered as found:
        return complain(f"Position {found.position}: {found}. Run `onrecord audit verify`.")
    except NoteInvalid as problem:
        return complain(
            f"A checkpoint was changed, or is of another log: {problem}. Run `onrecord audit verify`."
        )
    except OSError as problem:
        if problem.filename is None:
            raise
        return complain(f"{problem.filename} cannot be written: {problem.strerror}.")


@asynccontextmanager
async def _connected(settings: Settings, url: str | None = None) -> AsyncIterator["Connection"]:
    async with connected(settings, url) as connection:
        # A plan made for the parameters of one query would be reused for other parameters. A shared session keeps none.
        if not is_shared(connection):
            await connection.execute("SET plan_cache_mode = force_custom_plan")
        yield connection
