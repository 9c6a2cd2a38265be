"""The tables of the protocol's page say what the structs and the settings say."""

import re
from typing import Any, Literal, get_args, get_origin

import msgspec
import pytest

from service.config.settings import Settings
from service.domain.content.names import MAX_ROOM_NAME, MAX_TOPIC
from service.protocol.acks import ack_of
from service.protocol.commands import COMMANDS, Frame
from service.protocol.contract import schemas
from tests.support.environment import ROOT

PAGE = (ROOT / "docs" / "reference" / "protocol.md").read_text()
COMMON = {"type", "ref"}
OF_EVERY_ACK = {"seq", "at"}
"""The fields that the ack of a recorded command has, which the table leaves out."""

EVENTS = {schemas.event_name(event): event for event in schemas.events()}
COMMAND_TABLE = PAGE.partition("| command | fields |")[2].partition("\n\n")[0]
ROWS = {
    row.split("|")[1].strip(" `"): [cell.strip() for cell in row.split("|")[2:5]]
    for row in COMMAND_TABLE.splitlines()
    if row.startswith("| `")
}


def fields(struct: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    return {field.encode_name: field for field in msgspec.structs.fields(struct)}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_the_row_of_a_command_has_its_fields_and_the_optional_ones(command: type[Frame]) -> None:
    known = {name: not field.required for name, field in fields(command).items() if name not in COMMON}
    written = {
        name: bool(mark)
        for name in known
        for mark in re.findall(rf"\b{name}\b(\??)", re.sub(r"\([^)]*\)", "", ROWS[command.TYPE][0]))
    }
    assert written == known


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_the_row_of_a_command_has_what_its_ack_adds(command: type[Frame]) -> None:
    added = fields(ack_of(command)).keys() - OF_EVERY_ACK
    cell = ROWS[command.TYPE][1]
    assert {name for name in added if not re.search(rf"\b{name}\b", cell)} == set()


def shown_events() -> list[tuple[str, str]]:
    """Return the events that the page shows with fields, and these."""
    return re.findall(r"`([a-z]+:[a-z_]+)` \{([^{}]*)\}", PAGE)


def values_of(kind: Any) -> set[Any]:
    if get_origin(kind) is Literal:
        return set(get_args(kind))
    return set().union(*map(values_of, get_args(kind))) if get_args(kind) else set()


def test_every_event_is_shown_with_fields_and_values_that_it_has() -> None:
    assert len(shown_events()) > 25
    for name, listed in shown_events():
        known = fields(EVENTS[name])
        for part in listed.split(","):
            found = re.match(r" *(\w+)(\??)(?:(?:: *| `)([\w]+)`?)?(?: or `(\w+)`)? *$", part)
            assert found, f"{name}: {part}"
            field = known.get(found[1])
            assert field is not None, f"{name} has no field {found[1]}"
            allowed = values_of(field.type)
            assert not (found[3] and allowed) or {found[3], found[4]} - {None} <= allowed, f"{name}: {part}"


def test_every_limit_of_the_table_is_the_default_of_its_setting() -> None:
    settings = Settings()
    limits = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", PAGE.split("## Limits")[1], re.MULTILINE))
    expected = {
        "content": f"1-{settings.max_content:,} code points",
        "people that a user adds or invites": f"{settings.adds_per_hour} in an hour",
        "connections of a user": f"{settings.max_connections}",
    }
    assert {name: limits[name] for name in expected} == expected
    assert limits["names of rooms"].startswith(f"1-{MAX_ROOM_NAME},")
    assert limits["topics"].startswith(f"at most {MAX_TOPIC:,},")
    rooms = limits["rooms of a connection"]
    assert rooms.startswith(
        f"{settings.max_rooms} of the user's choice, and {settings.max_added_rooms} to which"
    )
    rate = limits["commands of a user"]
    assert rate.startswith(f"{settings.rate_per_second:g} a second with a burst of {settings.rate_burst}")
