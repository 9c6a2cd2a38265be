"""Writes the section Usage of docs/reference/commands.md from the parser of the command line. `make docs` runs it."""

import argparse
from collections.abc import Iterator

from service.cli.arguments import parser
from tests.support.environment import ROOT

PAGE = ROOT / "docs" / "reference" / "commands.md"
USAGE = "## Usage\n"


def commands(
    found: argparse.ArgumentParser | None = None, path: str = "onrecord"
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield each command with its parser; a family of commands is not a command."""
    found = found or parser()
    families = [action for action in found._actions if isinstance(action, argparse._SubParsersAction)]
    if not families:
        yield path, found
    for family in families:
        for name, command in family.choices.items():
            yield from commands(command, f"{path} {name}")


def arguments(command: argparse.ArgumentParser) -> list[argparse.Action]:
    """Return the arguments of a command that `--help` shows, without `--help` itself."""
    return [
        action
        for action in command._actions
        if action.help != argparse.SUPPRESS and not isinstance(action, argparse._HelpAction)
    ]


def usage_page(page: str) -> str:
    """Return a page with its section Usage from the parser; the rest is as it is on the page."""
    return page.partition(USAGE)[0] + USAGE + "".join(_section(*command) for command in commands())


def _section(path: str, command: argparse.ArgumentParser) -> str:
    meaning = str(command.description)
    text = f"\n### `{path}`\n\n{meaning[0].upper()}{meaning[1:]}.\n"
    rows = [
        f"| `{_shown(action)}` | {'yes' if action.required and action.nargs != '*' else 'no'} | {action.help} |\n"
        for action in arguments(command)
    ]
    if not rows:
        return text
    exclusive = "".join(_exclusive(group) for group in command._mutually_exclusive_groups)
    return f"{text}\n| argument | required | meaning |\n|---|---|---|\n{''.join(rows)}{exclusive}"


def _shown(action: argparse.Action) -> str:
    value = "\\|".join(map(str, action.choices)) if action.choices else action.metavar or action.dest.upper()
    value = str(value).replace("TIME|SEQ", "TIME\\|SEQ")
    if not action.option_strings:
        return f"[{value}]..." if action.nargs == "*" else value
    option = action.option_strings[-1]
    return option if action.nargs == 0 else f"{option} {value}"


def _exclusive(group: argparse._MutuallyExclusiveGroup) -> str:
    names = ", ".join(f"`{action.option_strings[-1]}`" for action in group._group_actions)
    return f"\n{'Exactly' if group.required else 'At most'} one of {names} is given.\n"


if __name__ == "__main__":
    PAGE.write_text(usage_page(PAGE.read_text()))
