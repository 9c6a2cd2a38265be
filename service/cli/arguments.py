"""Parses the command line: for each command its arguments, the settings that it needs and the function that runs it.

Nothing here imports what a command runs: a `module:function` names it, so that `--help` and small commands are quick.
"""

import argparse
import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from service.cli import preconditions
from service.cli.moments import AT, AT_OR_ON, NOT_AFTER, NOT_BEFORE, moment_and_day, moments, times
from service.cli.preconditions import needing
from service.protocol.commands import ROOM_ID, USER_ID
from service.protocol.forms import FORMS, shown
from service.protocol.http import GROUND, Ground
from service.protocol.strict_json import shortened

if TYPE_CHECKING:
    from service.cli.preconditions import Check

    Subcommands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - the type has no public name

MOST_WORKERS = 64

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LOG = needing("database_url", "key_encryption_key")


class _Parser(argparse.ArgumentParser):
    """Reads an argument with one leading dash, except `-h`, as a value: user ids may begin with a dash."""

    def _parse_optional(self, arg_string: str) -> Any:
        if re.match("-[^-]", arg_string) and arg_string != "-h":
            return None
        return super()._parse_optional(arg_string)

    def error(self, message: str) -> NoReturn:
        """Exit with the message, which may repeat an argument of any length."""
        super().error(shortened(message))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    onrecord: argparse.ArgumentParser = _Parser(
        prog="onrecord", description="A chat server on an event log.", allow_abbrev=False
    )
    commands = onrecord.add_subparsers(required=True, metavar="COMMAND")
    _add_serving(commands)
    _add_tools(commands)
    _add_project(commands)
    _add_analytics(commands)
    audit = _group(commands, "audit", "the record: read, prove, export, erase, hold, expire")
    _add_history(audit)
    _add_proof(audit)
    _add_privacy(audit)
    _add_keys(commands)
    return onrecord


def _add_serving(commands: "Subcommands") -> None:
    meaning = "run everything for development: servers, migrations, projections, one node"
    _add(commands, "dev", "node:run_dev", preconditions.for_dev, meaning, lasts=True)
    serve = _add(commands, "serve", "node:run_serve", preconditions.for_serve, "run a node", lasts=True)
    workers = "N nodes on one port; default: 1"
    serve.add_argument("--workers", type=_workers, default=1, metavar="N", help=workers)
    meaning = "a demo: the page signs anyone in under any name, and says so"
    serve.add_argument("--demo", action="store_true", help=meaning)
    serve.add_argument(
        "--worker", type=int, help=argparse.SUPPRESS
    )  # set by the parent: service.node.workers
    owner = needing("migrate_database_url", "database_url")
    _add(commands, "migrate", "node:run_migrate", owner, "migrate the schema to the newest version")
    meaning = "print the log's epoch, to which cursors belong"
    epoch = _add(commands, "epoch", "node:run_epoch", preconditions.for_epoch, meaning)
    meaning = "after a restore: begin a new epoch, in which older cursors are invalid"
    epoch.add_argument("--renew", action="store_true", help=meaning)


def _add_tools(commands: "Subcommands") -> None:
    meaning = "check settings and servers; exit code 1: a check failed"
    _add(commands, "doctor", "tools:run_doctor", preconditions.for_doctor, meaning)
    _add(
        commands,
        "settings",
        "tools:run_settings",
        needing(),
        "print every setting: name, value, default, meaning",
    )
    meaning = "print the AsyncAPI document of the realtime endpoints, as YAML"
    _add(commands, "asyncapi", "tools:run_asyncapi", preconditions.defaults, meaning)
    meaning = "print the OpenAPI document of the HTTP API, as YAML"
    _add(commands, "openapi", "tools:run_openapi", preconditions.defaults, meaning)
    meaning = "sign a token with the development key"
    token = _add(commands, "token", "tools:run_token", preconditions.from_environment, meaning)
    token.add_argument("--user", required=True, type=_user, help="user id (sub)")
    token.add_argument("--name", type=_text, help="display name; default: the user id")
    scopes = ["chat", "auditor", "admin"]
    token.add_argument("--scope", action="append", choices=scopes, help="can be repeated")
    token.add_argument("--ttl", type=_duration, default="1h", help="90s, 30m, 1h, 7d; default: 1h")


def _add_analytics(commands: "Subcommands") -> None:
    analytics = _group(commands, "analytics", "the views for analysts")
    meaning = "print the address of the development database, for a login that reads the views for analysts"
    _add(analytics, "url", "tools:run_analytics_url", preconditions.from_environment, meaning)


def _add_project(commands: "Subcommands") -> None:
    project = _group(commands, "project", "the read models")
    meaning = "follow the log and write the read models"
    run = _add(project, "run", "projections:run_projector", preconditions.for_projector, meaning, lasts=True)
    run.add_argument("--only", metavar="NAME", help="one projection instead of all")
    meaning = "print the position of each projection"
    status = _add(project, "status", "projections:run_status", needing("database_url"), meaning)
    meaning = "compare the read models with a fold of the log; exit code 1: they differ"
    verify = _add(project, "verify", "projections:run_verify", _LOG, meaning)
    for each in (status, verify):
        each.add_argument("names", nargs="*", metavar="NAME", help="these projections instead of all")
    meaning = "fill read models from the log again; the projector does it while the nodes serve"
    fill = _add(project, "rebuild", "projections:run_rebuild", needing("database_url"), meaning)
    fill.add_argument("names", nargs="+", metavar="NAME", help="these projections")


def _add_keys(commands: "Subcommands") -> None:
    keys = _group(commands, "keys", "how the keys of users are wrapped")
    meaning = "count the keys by the key encryption key that wraps them; exit code 1: some by an unknown one"
    _add(keys, "status", "keys:run_status", _LOG, meaning)
    owner = needing("migrate_database_url", "key_encryption_key")
    _add(keys, "rotate", "keys:run_rotate", owner, "wrap all with the first of ONRECORD_KEY_ENCRYPTION_KEY")


def _add_history(audit: "Subcommands") -> None:
    replay = _add(audit, "replay", "history:run_replay", _LOG, "print a room's events, one per line")
    replay.add_argument("--room", type=_room, required=True, metavar="ROOM", help="room id")
    replay.add_argument("--from-seq", type=_seq, metavar="N", help="the first event")
    replay.add_argument("--to-seq", type=_seq, metavar="N", help="the last event")
    replay.add_argument("--from", dest="from_time", type=times("start"), metavar="TIME", help=NOT_BEFORE)
    replay.add_argument("--to", dest="to_time", type=times("end"), metavar="TIME", help=NOT_AFTER)
    _add_form(replay, "ndjson", "json", "text")
    room = _add(audit, "room", "history:run_room", _LOG, "print a room as of a moment, as JSON or text")
    room.add_argument("room", type=_room, metavar="ROOM", help="room id")
    room.add_argument("--at", type=moments(), metavar="TIME|SEQ", help=AT)
    meaning = "show instead what changed from then to --at"
    room.add_argument("--diff", type=moments("before"), metavar="TIME|SEQ", help=meaning)
    _add_form(room)
    meaning = "print what a user could see of their rooms, or of one room, was sent and had read"
    person = _add(audit, "person", "history:run_person", preconditions.for_person, meaning)
    person.add_argument("person", type=_user, metavar="PERSON", help="user id")
    person.add_argument("--room", type=_room, metavar="ROOM", help="room id; default: all rooms")
    person.add_argument("--at", type=moment_and_day, metavar="TIME|SEQ", default=(None, None), help=AT_OR_ON)
    _add_form(person)


def _add_proof(audit: "Subcommands") -> None:
    meaning = "print the newest signed checkpoint; keep it elsewhere"
    _add(audit, "checkpoint", "proof:run_checkpoint", _LOG, meaning)
    meaning = "verify the log against its checkpoints; exit code 1: it differs, first at the printed position"
    verify = _add(audit, "verify", "proof:run_verify", _LOG, meaning)
    verify.add_argument("--against", type=Path, metavar="FILE", help="an older checkpoint, kept elsewhere")
    meaning = "also verify the content of each event, and the recorded reason if it is gone"
    verify.add_argument("--words", action="store_true", help=meaning)
    prove = _add(audit, "prove", "proof:run_prove", _LOG, "print the proof of one event, as JSON or text")
    prove.add_argument("--room", type=_room, required=True, metavar="ROOM", help="room id")
    prove.add_argument("--seq", required=True, type=_seq, metavar="N", help="the number of the event")
    _add_form(prove)
    prove.add_argument("--reveal", action="store_true", help="with its content, verifiable without a key")
    meaning = "print the proof that since a checkpoint events were only appended, as JSON or text"
    extension = _add(audit, "extension", "proof:run_extension", _LOG, meaning)
    extension.add_argument("--since", required=True, type=Path, metavar="FILE", help="an older checkpoint")
    _add_form(extension)
    meaning = "write a directory that `onrecord-verify` checks offline"
    export = _add(audit, "export", "proof:run_export", _LOG, meaning)
    meaning = "a new directory, or that of an unfinished export"
    export.add_argument("--out", required=True, type=Path, metavar="DIR", help=meaning)
    scope = export.add_mutually_exclusive_group(required=True)
    scope.add_argument("--room", type=_room, metavar="ROOM", help="the events of this room")
    scope.add_argument("--person", type=_user, metavar="USER", help="events by and about this user")
    scope.add_argument("--all", action="store_true", help="the whole log")
    meaning = "print the public keys that sign checkpoints, newest last"
    keys = _add(audit, "keys", "proof:run_keys", _LOG, meaning)
    keys.add_argument("--rotate", action="store_true", help="make a new key, endorsed by the newest")


def _add_privacy(audit: "Subcommands") -> None:
    meaning = "destroy a user's keys irrevocably, and record it"
    erase = _add(audit, "erase", "erasure:run_erase", _LOG, meaning)
    erase.add_argument("--person", required=True, type=_user, metavar="USER", help="user id")
    erase.add_argument("--ground", required=True, type=_ground, metavar="TEXT", help="the legal ground")
    _add_form(erase)
    meaning = "after a restore: erase every user on a list"
    again = _add(audit, "erase-again", "erasure:run_erase_again", _LOG, meaning)
    again.add_argument("list", type=Path, metavar="FILE", help="the output of `onrecord audit erasures`")
    _add_form(again)
    meaning = "list the erasures, one per line; keep the list elsewhere, as JSON"
    _add_form(_add(audit, "erasures", "erasure:run_erasures", _LOG, meaning))
    for name, meaning in (
        ("hold", "place a legal hold, which stops erasure and expiry, and record it"),
        ("release", "end a legal hold, and record it"),
    ):
        hold = _add(audit, name, f"retention:run_{name}", _LOG, meaning)
        held = hold.add_mutually_exclusive_group(required=True)
        held.add_argument(
            "--room", type=_room, metavar="ROOM", help="room id; covers every user who was ever a member"
        )
        held.add_argument("--person", type=_user, metavar="USER", help="user id")
        hold.add_argument("--ground", required=True, type=_ground, metavar="TEXT", help="the reason")
        _add_form(hold)
    meaning = "set how long a room keeps the content of messages"
    keep = _add(audit, "retention", "retention:run_retention", _LOG, meaning)
    keep.add_argument("--room", type=_room, required=True, metavar="ROOM", help="room id")
    span = keep.add_mutually_exclusive_group(required=True)
    span.add_argument("--days", type=_days, metavar="N", help="content expires after N days")
    span.add_argument("--for-ever", action="store_true", help="content never expires")
    _add_form(keep)
    meaning = "apply retention now; nodes do so once an hour"
    _add_form(_add(audit, "expire", "retention:run_expire", _LOG, meaning))
    meaning = "list the legal holds in force, one per line"
    _add_form(_add(audit, "holds", "retention:run_holds", _LOG, meaning))


def _group(commands: "Subcommands", name: str, meaning: str) -> "Subcommands":
    group = commands.add_parser(name, help=meaning, description=meaning, allow_abbrev=False)
    return group.add_subparsers(required=True, metavar="COMMAND")


def _add(
    commands: "Subcommands", name: str, function: str, check: "Check", meaning: str, *, lasts: bool = False
) -> argparse.ArgumentParser:
    """Add a command that runs `function`, given as `module:name` inside this package.

    `check` returns the settings that the command needs. `lasts`: the command runs until it is interrupted, which is
    then not a failure.
    """
    command = commands.add_parser(name, help=meaning, description=meaning, allow_abbrev=False)
    command.set_defaults(function=function, check=check, lasts=lasts)
    return command


def _add_form(command: argparse.ArgumentParser, *forms: str) -> None:
    meaning = "text for people or JSON for programs; default: text on a terminal, else JSON"
    command.add_argument("--as", dest="form", choices=forms or ["json", "text"], help=meaning)


def _form(pattern: str) -> Callable[[str], str]:
    """Return a parser of texts with a declared form; the advice in it is for the commands of clients."""
    words = FORMS[pattern]._replace(advice="")

    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise argparse.ArgumentTypeError(words.problem(text))
        return text

    return parse


_user = _form(USER_ID)
_room = _form(ROOM_ID)


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as problem:
        raise argparse.ArgumentTypeError(f"'{shown(text)}' is not valid UTF-8") from problem
    return text


def _ground(text: str) -> str:
    with contextlib.suppress(msgspec.ValidationError):
        if text.isprintable():
            return msgspec.convert(text.strip(), Ground)
    raise argparse.ArgumentTypeError(FORMS[GROUND].problem(text))


def _duration(text: str) -> int:
    found = re.fullmatch(r"([1-9]\d{0,8})([smhd])", text, re.ASCII)
    if found is None:
        raise argparse.ArgumentTypeError(f"'{shown(text)}' is not a duration such as 90s, 30m, 1h or 7d")
    return int(found[1]) * _UNITS[found[2]]


def _number(most: int, problem: str) -> Callable[[str], int]:
    """Return a parser of integers from 1 to `most`."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[1-9]\d{0,15}", text, re.ASCII) or int(text) > most:
            raise argparse.ArgumentTypeError(f"'{shown(text)}' is not a {problem}")
        return int(text)

    return parse


_workers = _number(MOST_WORKERS, f"number of workers from 1 to {MOST_WORKERS}")
_days = _number(99_999, "number of days from 1 to 99999")
_seq = _number(10**16 - 1, "seq: seqs count from 1")
