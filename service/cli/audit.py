"""What the commands of `onrecord audit` do, by the rules of `service.cli.commands`."""

import argparse
from pathlib import Path

from service.cli.commands import WrongUsage, settings_with
from service.domain.streams import room_subject, user_subject


def replay(args: argparse.Namespace) -> int:
    """A room's events."""
    settings = settings_with("database_url", "key_encryption_key")
    from service.cli.history import run_replay

    bounds = (args.from_seq, args.to_seq, args.from_time, args.to_time)
    return run_replay(settings, args.room, *bounds, args.form)


def room(args: argparse.Namespace) -> int:
    """A room as it stood, or what changed in it."""
    settings = settings_with("database_url", "key_encryption_key")
    from service.cli.history import run_room

    return run_room(settings, args.room, args.at, args.diff)


def person(args: argparse.Namespace) -> int:
    """A room through somebody's eyes."""
    settings = settings_with("database_url", "key_encryption_key")
    from service.cli.history import run_person

    return run_person(settings, args.person, args.room, args.at)


def checkpoint(_args: argparse.Namespace) -> int:
    """The newest checkpoint."""
    settings = settings_with("database_url", "key_encryption_key")
    from service.cli.proof import run_checkpoint

    return run_checkpoint(settings)


def keys(args: argparse.Namespace) -> int:
    """The keys that sign checkpoints."""
    settings = settings_with("database_url", "key_encryption_key")
    from service.cli.proof import run_keys

    return run_keys(settings, rotate=args.rotate)


def verify(args: argparse.Namespace) -> int:
    """The whole log against its seals."""
    settings = settings_with("database_url", "key_encryption_key")
    against = _read(args.against) if args.against else None
    from service.cli.proof import run_verify

    return run_verify(settings, against, words=args.words)


def prove(args: argparse.Namespace) -> int:
    """The proof of one event."""
    settings = settings_with("database_url", "key_encryption_key")
    from service.cli.proof import run_prove

    return run_prove(settings, args.room, args.seq, reveal=args.reveal)


def extension(args: argparse.Namespace) -> int:
    """The proof that the record was only added to."""
    settings = settings_with("database_url", "key_encryption_key")
    older = _read(args.since)
    from service.cli.proof import run_extension

    return run_extension(settings, older)


def export(args: argparse.Namespace) -> int:
    """A directory that stands for itself."""
    settings = settings_with("database_url", "key_encryption_key")
    from service.audit.export.scope import Everything, OnePerson, OneRoom
    from service.cli.proof import run_export

    scope = OneRoom(args.room) if args.room else OnePerson(args.person) if args.person else Everything()
    return run_export(settings, scope, args.out)


def erase(args: argparse.Namespace) -> int:
    """A person's keys destroyed."""
    settings = settings_with("database_url", "key_encryption_key")
    from service.cli.erasure import run_erase

    return run_erase(settings, args.person, args.ground)


def erase_again(args: argparse.Namespace) -> int:
    """Those of all on a list."""
    settings = settings_with("database_url", "key_encryption_key")
    from service.cli.erasure import ListInvalid, run_erase_again, wanted_in

    try:
        wanted = wanted_in(_read(args.list))
    except ListInvalid as problem:
        raise WrongUsage(str(problem)) from problem
    return run_erase_again(settings, wanted)


def erasures(_args: argparse.Namespace) -> int:
    """Those on the record."""
    settings = settings_with("database_url", "key_encryption_key")
    from service.cli.erasure import run_erasures

    return run_erasures(settings)


def hold(args: argparse.Namespace) -> int:
    """A legal hold."""
    settings = settings_with("database_url", "key_encryption_key")
    from service.cli.retention import run_hold

    return run_hold(settings, _held(args), args.ground)


def release(args: argparse.Namespace) -> int:
    """The end of one."""
    settings = settings_with("database_url", "key_encryption_key")
    from service.cli.retention import run_release

    return run_release(settings, _held(args), args.ground)


def holds(_args: argparse.Namespace) -> int:
    """Those in force."""
    settings = settings_with("database_url", "key_encryption_key")
    from service.cli.retention import run_holds

    return run_holds(settings)


def retention(args: argparse.Namespace) -> int:
    """How long a room keeps what is said in it."""
    settings = settings_with("database_url", "key_encryption_key")
    from service.cli.retention import run_retention

    return run_retention(settings, args.room, None if args.for_ever else args.days)


def expire(_args: argparse.Namespace) -> int:
    """What is over, made unreadable now."""
    settings = settings_with("database_url", "key_encryption_key")
    from service.cli.retention import run_expire

    return run_expire(settings)


def _held(args: argparse.Namespace) -> str:
    return room_subject(args.room) if args.room else user_subject(args.person)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as problem:
        raise WrongUsage(f"{path} cannot be read: {problem}.") from problem
