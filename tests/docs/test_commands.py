"""Every command, option, setting, metric and script that a document names exists."""

import argparse
import re
from pathlib import Path

import pytest

from service.cli.arguments import parser
from service.config.settings import BY_VARIABLE
from service.observability.catalogue import CATALOGUE
from tests.support.docs import command_line
from tests.support.environment import ROOT

DOCUMENTS = [*sorted(ROOT.glob("*.md")), ROOT / "docker-compose.yml", *sorted((ROOT / "docs").rglob("*.md"))]
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
SAID = re.compile(r"`(?:\w+=\S+ )*onrecord ([a-z][^`]*)`|^ {4}(?:\w+=\S+ )*onrecord ([a-z].*)$", re.MULTILINE)

documents = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def options_of(words: list[str]) -> set[str]:
    """Return the options of the command that these words begin with.

    Raises:
        KeyError: there is no such command.
    """
    found: argparse.ArgumentParser = parser()
    while subcommands := [one for one in found._actions if isinstance(one, argparse._SubParsersAction)]:
        if not words:  # a family of commands, named as such
            return set()
        found = subcommands[0].choices[words.pop(0)]
    return set(found._option_string_actions)


@documents
def test_every_command_in_a_document_is_one_with_these_options(document: Path) -> None:
    for found in SAID.finditer(document.read_text()):
        said = " ".join((found[1] or found[2]).split("#")[0].split())
        for one in said.split(" | ")[:1]:  # `a | b`: the second stands for another of the same kind
            words = [word for word in re.findall(r"[\w-]+", one) if not word.startswith("-")]
            assert set(re.findall(r"(?<!\S)\[?\(?(--[a-z-]+)", one)) <= options_of(words), said


@documents
def test_every_setting_in_a_document_is_one(document: Path) -> None:
    named = set(re.findall(r"\bONRECORD_[A-Z0-9_]*[A-Z0-9]\b(?![_*])", document.read_text()))
    assert named <= set(BY_VARIABLE)


@pytest.mark.parametrize("document", [*DOCUMENTS, ALERTS], ids=lambda path: path.name)
def test_every_metric_in_a_document_is_one(document: Path) -> None:
    named = set(
        re.findall(r"\bonrecord_[a-z_]+_(?:seconds|total|bytes|info|events|age)\w*\b", document.read_text())
    )
    known = {f"{name}{end}" for name in CATALOGUE for end in ("", "_bucket", "_count", "_sum")}
    assert named <= known


@documents
def test_every_script_and_target_in_a_document_is_there(document: Path) -> None:
    text = document.read_text()
    assert all((ROOT / name).exists() for name in re.findall(r"`((?:scripts|deploy|bench)/[\w./-]+)", text))
    targets = set(re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets


COMMANDS = command_line.PAGE.read_text()
FOUND = [pytest.param(*found, id=found[0]) for found in command_line.commands()]

every_command = pytest.mark.parametrize(("path", "command"), FOUND)


def test_the_usage_of_every_command_is_current() -> None:
    assert command_line.usage_page(COMMANDS) == COMMANDS, "run `make docs`"


@every_command
def test_every_command_has_a_row_with_all_its_options(path: str, command: argparse.ArgumentParser) -> None:
    row = re.search(rf"^\| `{path}(?: [^`]*)?` \|", COMMANDS, re.MULTILINE)
    assert row, path
    for argument in command_line.arguments(command):
        assert not argument.option_strings or argument.option_strings[-1] in row[0], argument.option_strings


@every_command
def test_the_help_of_every_command_explains_each_argument(
    path: str, command: argparse.ArgumentParser
) -> None:
    assert command.description, path
    assert [argument.dest for argument in command_line.arguments(command) if not argument.help] == []
