"""The check finds what is wrong, and only that."""

import pytest

from projections import PROJECTIONS, memberships, messages, rooms
from projections.check import status, verify
from projections.engine import log_window
from projections.engine.compare import MAX_KEYS
from projections.engine.projection import Projection
from tests.support.oracles.projected_log import World
from tests.support.projections.events import OPENED, joined, read, said


@pytest.fixture
async def level(here: World) -> World:
    """A log with tables level with it."""
    await here.happen(OPENED, joined("bob"), said("one"), said("two", "bob", "alice"), read(4, "bob"))
    await here.project()
    return here


@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda projection: projection.name)
async def test_an_untouched_table_is_equal(level: World, projection: Projection) -> None:
    await level.happen(said("not projected yet"))
    report = await verify(level.connection, level.node.serializer, projection)
    counts = {"messages": 2, "memberships": 2, "read_receipts": 1, "rooms": 1, "activity": 2, "tallies": 3}
    counts |= {"directory": 3, "people": 0, "profiles": 2, "unread_markers": 0}
    assert report == {
        "name": projection.name,
        "version": projection.version,
        "position": 6,
        "equal": True,
        "rows": counts[projection.name],
        "missing": 0,
        "extra": 0,
        "changed": 0,
        "keys": [],
        "unreadable": [],
    }


async def test_a_row_changed_by_hand_is_found(level: World) -> None:
    await level.connection.execute("UPDATE messages_v2 SET content = 'never said' WHERE id = 5")
    await level.connection.execute(
        "UPDATE memberships_v2 SET left_seq = NULL, role = 'owner' WHERE user_id = 'bob'"
    )
    await level.connection.execute("UPDATE rooms_v2 SET last_message_at = NULL")
    wanted = {
        messages.PROJECTION: [["general", "5"]],
        memberships.PROJECTION: [["general", "bob"]],
        rooms.PROJECTION: [["general"]],
    }
    for projection, keys in wanted.items():
        report = await verify(level.connection, level.node.serializer, projection)
        assert (report["equal"], report["changed"], report["keys"]) == (False, 1, keys)
        assert (report["missing"], report["extra"]) == (0, 0)


async def test_a_missing_and_an_extra_row_are_found(level: World) -> None:
    await level.connection.execute("UPDATE messages_v2 SET id = 44 WHERE id = 4")
    report = await verify(level.connection, level.node.serializer, messages.PROJECTION)
    assert report["rows"] == 2
    assert not report["equal"]
    assert (report["missing"], report["extra"], report["changed"]) == (1, 1, 0)
    assert report["keys"] == [["general", "4"], ["general", "44"]]


async def test_only_the_first_few_differences_are_named(level: World) -> None:
    await level.connection.execute(
        "INSERT INTO rooms_v2 (room_id, name, visibility, created_at, created_by, head, archived) "
        "SELECT 'x' || n, name, visibility, created_at, created_by, head, archived "
        "FROM rooms_v2, generate_series(1, 20) n"
    )
    report = await verify(level.connection, level.node.serializer, rooms.PROJECTION)
    assert report["extra"] == 20
    assert len(report["keys"]) == MAX_KEYS


async def test_a_check_over_many_spans_is_the_same(level: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_window, "MAX_EVENTS", 1)
    monkeypatch.setattr(log_window, "MAX_POSITIONS", 2)
    for projection in PROJECTIONS:
        assert (await verify(level.connection, level.node.serializer, projection))["equal"]


async def test_a_check_leaves_nothing_behind(level: World) -> None:
    for _ in range(2):
        await verify(level.connection, level.node.serializer, rooms.PROJECTION)
    left = await level.connection.fetch("SELECT relname FROM pg_class WHERE relpersistence = 't'")
    assert left == []


async def test_the_status_tells_how_far_behind_each_is(level: World) -> None:
    await level.happen(said("three"))
    await level.project(rooms.PROJECTION)
    found = {line["name"]: line for line in await status(level.connection)}
    assert found["rooms"] == {"name": "rooms", "version": 2, "position": 7, "head": 7, "behind": 0}
    assert found["messages"] == {"name": "messages", "version": 2, "position": 6, "head": 7, "behind": 1}
    assert list(found) == [projection.name for projection in PROJECTIONS]
