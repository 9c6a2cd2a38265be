"""Every value of the command line at both ends of its type ends in an answer or in a sentence, never in a traceback."""

import argparse
import asyncio
import base64
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.cli import main
from service.cli.arguments import parser
from service.domain.events import MemberJoined, RoomOpened
from tests.support.environment import environment
from tests.support.eventstore.log_node import KEY_ENCRYPTION_KEY, message, node
from tests.support.servers.databases import Database

ENDS = (
    *(
        "",
        " ",
        "0",
        "-1",
        "1",
        "00",
        "1.5",
        "1e3",
        "9999999999999999",
        "9" * 30,
        "-" + "9" * 30,
        "\u0661",
        "\U0001f98a",
    ),
    *("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+01:00", "0001-01-01T00:00:00-23:59"),
    *("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-01:00", "9999-12-31T23:59:59.999999+23:59"),
    *("0s", "1s", "999999999d", "9999999999d", "99999", "100000"),
    *("\udcff", "a\u202eb", "\n", "x" * 300, "x" * 100_000, "/", ".", "/dev/null", "/nowhere/at/all"),
)
NEEDED = {
    "--room": "general",
    "--person": "alice",
    "--ground": "a ground",
    "--user": "alice",
    "--seq": "1",
    "--since": "/nowhere",
    "--out": "out",
    "--days": "7",
    "room": "general",
    "person": "alice",
    "list": "/dev/null",
}
LASTING = {("dev",), ("serve",)}


def commands(
    of: argparse.ArgumentParser, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    groups = [action for action in of._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield path, of
    for group in groups:
        for name, command in group.choices.items():
            yield from commands(command, (*path, name))


def valued() -> Iterator[tuple[tuple[str, ...], str]]:
    """Every argument that takes a value, by its command."""
    for path, command in commands(parser()):
        for action in command._actions:
            if action.nargs != 0 and path not in LASTING:
                yield path, name_of(action)


def words(path: tuple[str, ...], name: str, value: str) -> list[str]:
    """Return a command line with one argument at a value, and what else the command needs."""
    command = dict(commands(parser()))[path]
    groups = {one: group for group in command._mutually_exclusive_groups for one in group._group_actions}
    options, positional, chosen = [], [], set()
    for action in sorted(command._actions, key=lambda one: name_of(one) != name):  # the given one first
        group = groups.get(action)
        needed = action.required or (group is not None and group not in chosen)
        if name_of(action) != name and not (needed and name_of(action) in NEEDED):
            continue
        chosen.add(group)
        given = value if name_of(action) == name else NEEDED[name_of(action)]
        if action.option_strings:
            options.append(f"{name_of(action)}={given}")
        else:
            positional.append(given)
    return [*path, *options, "--", *positional]


async def begin(database: Database) -> None:
    """Record a room with a message."""
    async with node(database) as one:
        await one.append(
            RoomOpened(name="General", visibility="public"),
            MemberJoined(user="alice", role="owner"),
            message("hello"),
        )


def name_of(action: argparse.Action) -> str:
    return (action.option_strings or [action.dest])[0]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("path", "name"), [*valued()], ids=lambda value: value if isinstance(value, str) else "-".join(value)
)
def test_a_value_at_an_end_of_its_type_ends_in_a_sentence(
    path: tuple[str, ...],
    name: str,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    key = base64.b64encode(KEY_ENCRYPTION_KEY).decode()
    settings = environment(database, ONRECORD_DATA_DIR=str(tmp_path), ONRECORD_KEY_ENCRYPTION_KEY=key)
    for variable, setting in settings.items():
        monkeypatch.setenv(variable, setting)
    monkeypatch.chdir(tmp_path)
    sys.stderr.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # as Python has it
    asyncio.run(begin(database))
    assert main(["audit", "replay", "--room=general"]) == 0
    failures = []
    for value in ENDS:
        line = words(path, name, value)
        try:
            code = main(line)
        except SystemExit as ended:
            code = int(ended.code or 0)
        except BaseException as fault:  # noqa: BLE001 - what would be a traceback
            failures.append((value[:40], repr(fault)[:200]))
            continue
        _, err = capsys.readouterr()
        if code not in (0, 1, 2) or (code == 2 and not err) or "Traceback" in err:
            failures.append((value[:40], f"{code} {err[-200:]}"))
    assert failures == []


@pytest.mark.parametrize("value", ["", "0", "-1", "65", "9" * 5_000, "1.5", "\u0661", "\udcff"])
def test_a_number_of_workers_out_of_bounds_is_wrong_usage(
    value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", f"--workers={value}"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "is not a number of workers from 1 to 64" in said
    assert len(said) < 500
