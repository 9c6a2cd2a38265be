"""The words of the command line, and what they have to look like."""

import argparse
import contextlib
import datetime as dt
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from service.cli import audit, commands, keys
from service.protocol.commands import USER_ID
from service.protocol.http import Ground
from service.protocol.room_as_of import Moment, NoMoment, moment_of

if TYPE_CHECKING:
    Words = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - the type has no public name


MOST_WORKERS = 64

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    onrecord = argparse.ArgumentParser(
        prog="onrecord", description="A chat server on an event log.", allow_abbrev=False
    )
    words = onrecord.add_subparsers(required=True, metavar="COMMAND")
    _add(
        words,
        "dev",
        commands.dev,
        "everything for development: servers, migrations, projections, a node",
        lasts=True,
    )
    serve = _add(words, "serve", commands.serve, "a node", lasts=True)
    serve.add_argument(
        "--workers", type=_workers, default=1, metavar="N", help="N nodes on one port; default: 1"
    )
    serve.add_argument(
        "--worker", type=int, help=argparse.SUPPRESS
    )  # what the parent starts: service.node.workers
    _add(words, "migrate", commands.migrate, "bring the schema to the newest version")
    epoch = _add(words, "epoch", commands.epoch, "which log this is: what cursors are good for")
    epoch.add_argument(
        "--renew", action="store_true", help="after a restore: no older cursor is good any more"
    )
    _add(
        words,
        "doctor",
        commands.doctor,
        "look at settings and servers, and say what is wrong; 1: something is",
    )
    _add(words, "settings", commands.show_settings, "every setting: name, value, default, meaning")
    _add(words, "asyncapi", commands.asyncapi, "the AsyncAPI document of the doors, as YAML")
    _add(words, "openapi", commands.openapi, "the OpenAPI document of the HTTP side, as YAML")
    _add_project(words)
    _add_audit(words)
    _add_keys(words)
    token = _add(words, "token", commands.token, "sign a token with the development key")
    token.add_argument("--user", required=True, type=_user, help="user id (sub)")
    token.add_argument("--name", help="name to show; default: the user id")
    token.add_argument(
        "--scope", action="append", choices=["chat", "auditor", "admin"], help="may be given again"
    )
    token.add_argument("--ttl", type=_duration, default="1h", help="90s, 30m, 1h, 7d; default: 1h")
    return onrecord


def _add_project(words: "Words") -> None:
    parts = _group(words, "project", "the read models")
    run = _add(parts, "run", commands.project_run, "follow the log and write the read models", lasts=True)
    run.add_argument("--only", metavar="NAME", help="one projection instead of all")
    status = _add(parts, "status", commands.project_status, "how far each projection is")
    status.add_argument("names", nargs="*", metavar="NAME")
    verify = _add(
        parts,
        "verify",
        commands.project_verify,
        "compare the read models with a fold of the log; 1: they differ",
    )
    verify.add_argument("names", nargs="*", metavar="NAME")


def _add_keys(words: "Words") -> None:
    parts = _group(words, "keys", "how people's keys are wrapped")
    _add(parts, "status", keys.status, "how many each key encryption key wraps; 1: some that is not there")
    _add(parts, "rotate", keys.rotate, "wrap all by the first of ONRECORD_KEY_ENCRYPTION_KEY")


def _add_audit(words: "Words") -> None:
    parts = _group(words, "audit", "what was said, and when")
    replay = _add(parts, "replay", audit.replay, "a room's events, one a line")
    replay.add_argument("--room", required=True, metavar="ROOM")
    replay.add_argument("--from-seq", type=_seq, metavar="N")
    replay.add_argument("--to-seq", type=_seq, metavar="N")
    replay.add_argument("--from", dest="from_time", type=_moment, metavar="TIME")
    replay.add_argument("--to", dest="to_time", type=_moment, metavar="TIME")
    replay.add_argument("--as", dest="form", choices=["ndjson", "text"], default="ndjson")
    room = _add(parts, "room", audit.room, "a room as it stood at a moment, as JSON; without --at: now")
    room.add_argument("room", metavar="ROOM")
    room.add_argument("--at", type=_moment_of_room, metavar="TIME|SEQ")
    room.add_argument(
        "--diff",
        type=_moment_of_room,
        metavar="TIME|SEQ",
        help="what is different from then to --at, instead",
    )
    person = _add(parts, "person", audit.person, "what somebody could see of a room, was sent and had read")
    person.add_argument("person", type=_user, metavar="PERSON")
    person.add_argument("--room", required=True, metavar="ROOM")
    person.add_argument("--at", type=_moment_of_room, metavar="TIME|SEQ")
    _add_proof(parts)
    _add_erasing(parts)


def _add_proof(parts: "Words") -> None:
    _add(parts, "checkpoint", audit.checkpoint, "the newest signed checkpoint; keep it elsewhere")
    verify = _add(parts, "verify", audit.verify, "the whole log against its seals; 1: the first bad position")
    verify.add_argument("--against", type=Path, metavar="FILE", help="an older checkpoint, kept elsewhere")
    verify.add_argument(
        "--words", action="store_true", help="open every word too, and see why those are gone that are"
    )
    prove = _add(parts, "prove", audit.prove, "the proof of one event, as JSON")
    prove.add_argument("--room", required=True, metavar="ROOM")
    prove.add_argument("--seq", required=True, type=_seq, metavar="N")
    prove.add_argument("--reveal", action="store_true", help="with what it says, to be checked without a key")
    extension = _add(
        parts, "extension", audit.extension, "the proof that the record was only added to, as JSON"
    )
    extension.add_argument("--since", required=True, type=Path, metavar="FILE", help="an older checkpoint")
    export = _add(parts, "export", audit.export, "a directory that `onrecord-verify` checks offline")
    export.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="new, or of an unfinished export"
    )
    what = export.add_mutually_exclusive_group(required=True)
    what.add_argument("--room", metavar="ROOM")
    what.add_argument("--person", type=_user, metavar="USER", help="what they did, and what is about them")
    what.add_argument("--all", action="store_true")
    keys = _add(parts, "keys", audit.keys, "the public keys that sign checkpoints, the newest last")
    keys.add_argument("--rotate", action="store_true", help="make a new one, endorsed by the newest")


def _add_erasing(parts: "Words") -> None:
    erase = _add(parts, "erase", audit.erase, "destroy a person's keys, for good; on the record")
    erase.add_argument("--person", required=True, type=_user, metavar="USER")
    erase.add_argument("--ground", required=True, type=_ground, metavar="TEXT", help="why that is lawful")
    again = _add(parts, "erase-again", audit.erase_again, "after a restore: erase all on a list, as above")
    again.add_argument("list", type=Path, metavar="FILE", help="what `onrecord audit erasures` printed")
    _add(parts, "erasures", audit.erasures, "whom was erased, one JSON object a line; keep it elsewhere")
    for name, run, meaning in (
        ("hold", audit.hold, "place a legal hold: nothing of it is made unreadable; on the record"),
        ("release", audit.release, "end a legal hold, on the record"),
    ):
        hold = _add(parts, name, run, meaning)
        what = hold.add_mutually_exclusive_group(required=True)
        what.add_argument("--room", metavar="ROOM", help="with all who were ever in it")
        what.add_argument("--person", type=_user, metavar="USER")
        hold.add_argument("--ground", required=True, type=_ground, metavar="TEXT", help="why")
    keep = _add(parts, "retention", audit.retention, "how long a room keeps what is said in it")
    keep.add_argument("--room", required=True, metavar="ROOM")
    span = keep.add_mutually_exclusive_group(required=True)
    span.add_argument("--days", type=_days, metavar="N", help="then it is made unreadable")
    span.add_argument("--for-ever", action="store_true")
    _add(parts, "expire", audit.expire, "make unreadable now what is over; nodes do so once an hour")
    _add(parts, "holds", audit.holds, "the legal holds in force, one JSON object a line")


def _group(words: "Words", name: str, meaning: str) -> "Words":
    parser = words.add_parser(name, help=meaning, description=meaning, allow_abbrev=False)
    return parser.add_subparsers(required=True, metavar="COMMAND")


def _add(
    words: "Words",
    name: str,
    run: Callable[[argparse.Namespace], int],
    meaning: str,
    *,
    lasts: bool = False,
) -> argparse.ArgumentParser:
    """One command. `lasts` says that being stopped is its ordinary end."""
    parser = words.add_parser(name, help=meaning, description=meaning, allow_abbrev=False)
    parser.set_defaults(run=run, lasts=lasts)
    return parser


def _user(word: str) -> str:
    if not re.fullmatch(USER_ID, word):
        raise argparse.ArgumentTypeError(
            f"{word!r} is no user id: letters, digits and . _ @ | - (at most 128)"
        )
    return word


def _ground(word: str) -> str:
    with contextlib.suppress(msgspec.ValidationError):
        if word.isprintable():
            return msgspec.convert(word.strip(), Ground)
    raise argparse.ArgumentTypeError("a ground is one line of 1 to 500 characters")


def _duration(word: str) -> int:
    found = re.fullmatch(r"([1-9]\d{0,8})([smhd])", word, re.ASCII)
    if found is None:
        raise argparse.ArgumentTypeError(f"{word!r} is no duration such as 90s, 30m, 1h or 7d")
    return int(found[1]) * _UNITS[found[2]]


def _workers(word: str) -> int:
    if not re.fullmatch(r"[1-9]\d?", word, re.ASCII) or int(word) > MOST_WORKERS:
        raise argparse.ArgumentTypeError(f"{word!r} is no number of workers: 1 to {MOST_WORKERS}")
    return int(word)


def _days(word: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,4}", word, re.ASCII):
        raise argparse.ArgumentTypeError(f"{word!r} is no number of days from 1 to 99999")
    return int(word)


def _seq(word: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,15}", word, re.ASCII):
        raise argparse.ArgumentTypeError(f"{word!r} is no seq: they count from 1")
    return int(word)


def _moment_of_room(word: str) -> Moment:
    try:
        return moment_of(word)
    except NoMoment as problem:
        raise argparse.ArgumentTypeError(str(problem)) from problem


def _moment(word: str) -> dt.datetime:
    with contextlib.suppress(ValueError, OverflowError):  # the latter at the ends of the calendar
        if (moment := dt.datetime.fromisoformat(word)).tzinfo is not None:
            return moment.astimezone(dt.UTC)
    raise argparse.ArgumentTypeError(f"{word!r} is no time with an offset, such as 2026-11-24T15:00:00Z")
