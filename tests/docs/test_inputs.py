"""docs/reference/inputs.md has every input of the code with a test that is run."""

import re

import pytest

from service.config.settings import BY_VARIABLE
from service.gateway.auth.rate_limit import ADDED, LOGGED, SPENT
from service.gateway.http.actions import ACTIONS
from service.gateway.http.openapi import EVERY_READ, document
from service.gateway.notices.receipts import MARKER
from service.presence import gossip, typing
from service.protocol.commands import COMMANDS, Connect
from tests.support.docs.named_tests import NAMED, named_in, not_collected
from tests.support.environment import ROOT

DOCUMENT = (ROOT / "docs" / "reference" / "inputs.md").read_text()
ROWS = [line for line in DOCUMENT.splitlines() if line.startswith("| ")]
HEADERS = ("| input ", "| command ", "| route ", "| kind ", "| what ")
LIMIT = re.compile(r"_MAX_|_RATE|_BURST|_BYTES|_PER_|_ADDS_|ADD_MEMBERS|CONNECT_TIMEOUT|PING_TIMEOUT")


def row(start: str) -> str:
    found = [line for line in ROWS if line.startswith(f"| {start}")]
    assert found, start
    return found[0]


def test_every_input_names_a_test() -> None:
    rows = [line for line in ROWS if not line.startswith(HEADERS) or "tests" not in line.rsplit("|", 2)[1]]
    assert len(rows) > 80
    for line in rows:
        assert NAMED.search(line), line


async def test_every_test_that_is_named_is_collected() -> None:
    assert await not_collected(named_in(DOCUMENT)) == set()


@pytest.mark.parametrize("command", [Connect, *COMMANDS.values()])
def test_every_command_has_a_row_with_its_fields(command: type) -> None:
    fields = row(f"`{command.TYPE}` |")  # type: ignore[attr-defined] # a command
    for name in command.__struct_encode_fields__:  # type: ignore[attr-defined] # a struct
        common = ("type", "ref", "protocol", "roomId", "messageId", "visibility", "role", "status")
        assert name in common or f"`{name}`" in fields, name


def test_every_route_has_a_row() -> None:
    paths = {
        *document("1")["paths"],
        *(read.path for read in EVERY_READ),
        *(action.path for action in ACTIONS),
    }
    routes = {path for line in ROWS for path in re.findall(r"`(/[^` ]*)`", line.split("|")[1])}
    assert paths <= routes


@pytest.mark.parametrize("setting", [name for name in BY_VARIABLE if LIMIT.search(name)])
def test_every_limit_that_is_a_setting_is_in_a_table(setting: str) -> None:
    assert f"`{setting}`" in "\n".join(ROWS)


@pytest.mark.parametrize(
    "kind", ["events", MARKER, typing.START, typing.STOP, SPENT, ADDED, LOGGED, *gossip.KINDS]
)
def test_every_message_of_a_peer_is_in_a_table(kind: str) -> None:
    assert f"`{kind}`" in DOCUMENT.split("## Messages of peers")[1]
