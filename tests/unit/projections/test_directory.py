"""The room directory: what a search finds, where pages end, and that no other room can be found or placed."""

import pytest

from projections import PROJECTIONS, directory
from projections.directory import DirectoryPage
from projections.directory_rows import folded
from service.domain.events import (
    MemberJoined,
    MemberLeft,
    RoomArchived,
    RoomOpened,
    RoomRenamed,
    RoomTopicChanged,
    Visibility,
)
from service.domain.streams import room_stream
from tests.support.oracles.projected_log import Act, World


def opened(room: str, name: str, visibility: Visibility = "public") -> Act:
    events = (RoomOpened(name=name, visibility=visibility), MemberJoined(user="alice", role="owner"))
    return "alice", room_stream(room), events


async def found(here: World, query: str = "", after: str | None = None, limit: int = 10) -> DirectoryPage:
    return await directory.directory(here.reads, here.node.serializer, part=query, after=after, limit=limit)


def names(page: DirectoryPage) -> list[str]:
    return [entry.room.name for entry in page.rooms]


@pytest.fixture(params=["by the tail", "by the table"])
async def four_rooms(here: World, request: pytest.FixtureRequest) -> World:
    """Four rooms in the directory, and two that are not, all in the tail or all in the tables."""
    await here.happen(
        opened("d", "Ästhetik"),
        opened("c", "Plans and Tea"),
        opened("b", "tea"),
        opened("a", "TEA 2"),
        opened("secret", "Tea for two", "private"),
        opened("gone", "Tea, gone"),
    )
    await here.happen(("alice", room_stream("gone"), (RoomArchived(),)))
    await here.happen(("alice", room_stream("b"), (RoomTopicChanged(topic="Green and black"),)))
    await here.happen(("bob", room_stream("b"), (MemberJoined(user="bob"),)))
    await here.happen(("bob", room_stream("b"), (MemberLeft(user="bob"),)))
    await here.happen(("carol", room_stream("b"), (MemberJoined(user="carol"),)))
    if request.param == "by the table":
        await here.project()
    return here


async def test_rooms_are_listed_by_name_with_topic_and_members(four_rooms: World) -> None:
    page = await found(four_rooms)
    assert names(page) == ["Plans and Tea", "tea", "TEA 2", "Ästhetik"]
    assert [(entry.room.topic, entry.members) for entry in page.rooms[:2]] == [
        (None, 1),
        ("Green and black", 2),
    ]
    assert page.next is None


@pytest.mark.parametrize(
    ("query", "matching"),
    [
        ("tea", ["Plans and Tea", "tea", "TEA 2"]),
        ("  TEA   2 ", ["TEA 2"]),
        ("\uff54\uff45\uff41 2", ["TEA 2"]),
        ("äst", ["Ästhetik"]),
        ("A\u0308ST", ["Ästhetik"]),
        ("%", []),
        ("green", []),
        ("two", []),
        ("gone", []),
        ("  ", []),
        ("\u202e", []),
    ],
)
async def test_a_search_ignores_case_and_width_and_finds_parts_of_names(
    four_rooms: World, query: str, matching: list[str]
) -> None:
    assert names(await found(four_rooms, query)) == matching


async def test_pages_continue_after_a_room(four_rooms: World) -> None:
    first = await found(four_rooms, limit=2)
    assert (names(first), first.next) == (["Plans and Tea", "tea"], "b")
    second = await found(four_rooms, after="b", limit=2)
    assert (names(second), second.next) == (["TEA 2", "Ästhetik"], None)


async def test_a_room_that_is_not_listed_has_the_place_of_its_id(four_rooms: World) -> None:
    """The name of a private room cannot be found by where it would stand."""
    for room in ("secret", "secret-that-is-missing"):
        assert names(await found(four_rooms, after=room)) == ["tea", "TEA 2", "Ästhetik"]


async def test_a_page_of_the_tables_has_the_changes_of_the_tail(four_rooms: World) -> None:
    await four_rooms.happen(("alice", room_stream("d"), (RoomRenamed(name="Aesthetics"),)))
    await four_rooms.happen(("alice", room_stream("b"), (RoomArchived(),)))
    await four_rooms.happen(opened("n", "New"), ("bob", room_stream("c"), (MemberJoined(user="bob"),)))
    pages = [await found(four_rooms, limit=2), await found(four_rooms, after="n", limit=2)]
    assert [names(page) for page in pages] == [["Aesthetics", "New"], ["Plans and Tea", "TEA 2"]]
    assert [entry.members for entry in pages[1].rooms] == [2, 1]
    assert [page.next for page in pages] == ["n", None]


async def test_a_search_looks_through_a_bounded_number_of_rooms(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "SCAN", 3)
    await here.happen(*(opened(f"r{number}", f"room {number}") for number in range(8)))
    for projection in PROJECTIONS:
        await here.advance(projection, await here.head())
    pages = [await found(here, "7")]
    while pages[-1].next:
        pages.append(await found(here, "7", after=pages[-1].next))
    assert [names(page) for page in pages] == [[], [], ["room 7"]]


def test_a_name_is_folded_to_what_is_searched() -> None:
    assert folded("  Große  \uff32\uff2f\uff2f\uff2d\u200b ") == "grosse room"
    assert len(folded("\ufdfa" * 200)) == 200
