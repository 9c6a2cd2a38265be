"""What a person could see, was sent and had read; unknown ranges are reported as unknown."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from service.audit.history import person_view
from service.audit.history.person_view import PersonViews
from service.audit.privacy.erasure import erase
from service.domain.events import (
    AuditRead,
    MemberBanned,
    MemberInvited,
    MemberJoined,
    MemberLeft,
    MemberRemoved,
    PersonNamed,
    ReadMarkerMoved,
    RoomOpened,
    SessionClosed,
    SessionOpened,
    Visibility,
)
from service.domain.streams import AUDIT, person_stream, reader_stream, room_stream, session_stream
from service.errors import PersonUnknown, RoomNotFound
from service.eventstore.as_of_reader import AsOfReader
from service.protocol.room_as_of import Moment
from tests.support.eventstore.log_node import GENERAL, message
from tests.support.oracles.projected_log import Act, World, world
from tests.support.servers.databases import Database


@pytest.fixture
async def here(database: Database) -> AsyncIterator[World]:
    async with world(database) as made:
        yield made


def reader(here: World) -> AsOfReader:
    return AsOfReader(here.node.pool, here.node.serializer)


async def view(here: World, user: str, moment: Moment = None, since: datetime | None = None) -> Any:
    views = PersonViews(reader(here))
    return json.loads(msgspec.json.encode(await views.view(user, "general", moment, since)))


async def all_rooms(here: World, user: str, time: datetime | None = None) -> Any:
    pieces = await PersonViews(reader(here)).rooms(user, time)
    return json.loads(b"".join([piece async for piece in pieces]))


def opened(visibility: Visibility = "public") -> Act:
    joined = (MemberJoined(user="alice", role="owner"), MemberJoined(user="bob"))
    return "alice", GENERAL, (RoomOpened(name="General", visibility=visibility), *joined)


def came(session: str) -> Act:
    event = SessionOpened(session=session, node="n", incarnation="i", address=None, client=None)
    return "bob", session_stream("bob"), (event,)


def went(session: str, *ranges: tuple[int, int], room: str = "general", known: bool = True) -> Act:
    event = SessionClosed(session=session, reason="left", ranges={room: ranges} if known else None)
    return "bob", session_stream("bob"), (event,)


async def happen(here: World, *acts: Act) -> None:
    for act in acts:
        await here.happen(act)


async def test_what_was_written_is_the_sum_of_what_closed_connections_were_sent(here: World) -> None:
    await happen(here, opened(), *(("alice", GENERAL, (message(str(n)),)) for n in range(20)))
    await happen(here, came("a"), came("b"), came("c"), came("elsewhere"))
    await happen(here, went("a", (1, 5), (9, 12)), went("b", (5, 7), (20, 23)), went("c", (13, 13)))
    await happen(here, went("elsewhere", (1, 3), room="other"))
    found = await view(here, "bob")
    assert found["written"] == [
        {"first": 1, "last": 7},
        {"first": 9, "last": 13},
        {"first": 20, "last": 23},
    ]
    assert (found["unknown"], [one["session"] for one in found["sessions"]]) == (0, ["a", "b", "c"])
    assert found["silent"] == 1, "the connection that was sent events of another room only"
    assert all(one["state"] == "closed" and one["closedAt"] >= one["openedAt"] for one in found["sessions"])


async def test_a_connection_has_its_address_its_client_and_how_it_ended(here: World) -> None:
    begun = SessionOpened(session="a", node="n", incarnation="i", address="192.0.2.7", client="Firefox")
    ended = SessionClosed(session="a", reason="too slow", code=4008, ranges={"general": ((1, 2),)})
    stream = session_stream("bob")
    await happen(
        here, opened(), came("b"), ("bob", stream, (begun,)), ("bob", stream, (ended,)), went("b", (1, 1))
    )
    whole, bare = (await view(here, "bob"))["sessions"]
    assert (whole["address"], whole["client"], whole["reason"], whole["code"]) == (
        "192.0.2.7",
        "Firefox",
        "too slow",
        4008,
    )
    assert (bare["reason"], {"address", "client", "code"} & set(bare)) == ("left", set())


async def test_open_connections_and_those_of_dead_nodes_are_unknown(here: World) -> None:
    await happen(here, came("before"), went("before", known=False))
    await happen(here, opened(), came("open"), came("died"), came("later"), went("died", known=False))
    await happen(here, ("alice", GENERAL, (message("hello"),)), went("later", (1, 4)))
    now, then = await view(here, "bob"), await view(here, "bob", 4)
    for found, state, unknown in ((now, "closed", 2), (then, "open", 3)):
        states = {one["session"]: (one["state"], one["written"]) for one in found["sessions"]}
        written = [{"first": 1, "last": 4}]
        known = {"later": (state, written if state == "closed" else None)}
        assert states == {"open": ("open", None), "died": ("unknown", None), **known}
        assert found["unknown"] == unknown
        assert found["written"] == (written if state == "closed" else [])


async def test_merged_ranges_are_perhaps_written_and_at_least_is_certain(here: World) -> None:
    await happen(here, opened(), *(("alice", GENERAL, (message(str(n)),)) for n in range(20)))
    merged = SessionClosed(
        session="a",
        reason="left",
        ranges={"general": ((1, 20),), "other": ((1, 2),)},
        at_least={"general": 9},
    )
    await happen(here, came("a"), came("b"), ("bob", session_stream("bob"), (merged,)), went("b", (2, 3)))
    found = await view(here, "bob")
    assert {one["session"]: (one["state"], one.get("atLeast")) for one in found["sessions"]} == {
        "a": ("merged", 9),
        "b": ("closed", None),
    }
    assert (found["written"], found["unknown"]) == ([{"first": 2, "last": 3}], 0)
    assert found["perhapsWritten"] == [{"first": 1, "last": 20}]


async def test_many_connections_are_read_page_by_page(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await happen(here, opened(), *(came(str(n)) for n in range(7)), *(went(str(n), (n, n)) for n in range(6)))
    whole = await view(here, "bob")
    monkeypatch.setattr(person_view, "PAGE", 3)
    assert await view(here, "bob") == whole
    assert len(whole["sessions"]) == 7


async def test_what_somebody_could_see_follows_from_their_standing_at_the_moment(here: World) -> None:
    await happen(here, opened("private"), ("alice", GENERAL, (message("one"),)))
    read = ReadMarkerMoved(user="bob", message=4)
    await happen(
        here, ("bob", reader_stream("general", "bob"), (read,)), ("bob", GENERAL, (MemberLeft(user="bob"),))
    )
    await happen(here, ("alice", GENERAL, (message("two"), MemberBanned(user="bob"))))
    seen = {moment: await view(here, "bob", moment) for moment in (2, 4, 5, 6, 7)}
    readable = {
        moment: [(one["first"], one["last"]) for one in found["readable"]] for moment, found in seen.items()
    }
    assert readable == {2: [], 4: [(1, 4)], 5: [(1, 5)], 6: [(1, 5)], 7: []}
    assert {moment: found["visible"] for moment, found in seen.items()} == {
        2: False, 4: True, 5: True, 6: True, 7: False
    }  # fmt: skip
    assert (seen[4]["standing"]["role"], seen[6]["standing"]["left"], seen[6]["standing"]["lastRead"]) == (
        "member",
        5,
        4,
    )
    assert seen[7]["standing"]["banned"]
    with pytest.raises(PersonUnknown):
        await view(here, "eve")


async def test_a_day_covers_what_the_person_could_see_at_any_time_of_it(here: World) -> None:
    await happen(here, opened("private"), ("alice", GENERAL, (message("one"),)))
    await happen(here, ("alice", GENERAL, (MemberBanned(user="bob"), message("two"))))
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    now, day = await view(here, "bob"), await view(here, "bob", since=midnight - timedelta(days=1))
    assert (now["readable"], now["visible"], "since" in now) == ([], False, False)
    assert (day["readable"], day["visible"]) == ([{"first": 1, "last": 4}], True)
    later = await view(here, "bob", since=midnight + timedelta(days=2))
    assert (later["readable"], later["visible"]) == ([], False)


async def test_all_rooms_of_a_person_are_those_with_an_event_about_them(here: World) -> None:
    other = room_stream("other")
    await happen(here, opened("private"), came("a"), ("alice", GENERAL, (message("one"),)), went("a", (1, 4)))
    invited = (RoomOpened(name="Other"), MemberJoined(user="carol"), MemberInvited(user="bob"))
    await happen(
        here, ("carol", other, invited), ("carol", room_stream("third"), (RoomOpened(name="Third"),))
    )
    read = ReadMarkerMoved(user="bob", message=4)
    await happen(here, ("bob", reader_stream("general", "bob"), (read,)), came("b"))
    found = await all_rooms(here, "bob")
    general, invitation = found["rooms"]
    assert (found["userId"], found["unknown"]) == ("bob", 1)
    assert general == {
        "roomId": "general",
        "name": "General",
        "visibility": "private",
        "seq": 4,
        "visible": True,
        "readable": [{"first": 1, "last": 4}],
        "standing": (await view(here, "bob"))["standing"],
        "written": [{"first": 1, "last": 4}],
    }
    assert (invitation["roomId"], invitation["visible"], invitation["readable"]) == ("other", True, [])
    assert invitation["standing"]["invited"]
    assert [room["roomId"] for room in (await all_rooms(here, "alice"))["rooms"]] == ["general"]
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    assert (await all_rooms(here, "bob", long_ago))["rooms"] == []


async def test_answers_about_people_say_how_memberships_ended(here: World) -> None:
    other = room_stream("other")
    joined = tuple(MemberJoined(user=user) for user in ("carol", "bob"))
    await happen(here, opened("private"), ("carol", other, (RoomOpened(name="Other"), *joined)))
    await happen(here, ("alice", GENERAL, (MemberRemoved(user="bob"),)))
    await happen(here, ("bob", person_stream("bob"), (PersonNamed(user="bob", name="Bob"),)))
    before = datetime.now(UTC)
    assert "erasure" not in await all_rooms(here, "bob")
    await erase(here.node.pool, "bob", ground="GDPR 17", by="os:root", deadline=20)
    await happen(here, ("os:root", other, (MemberLeft(user="bob"),)))
    found = await all_rooms(here, "bob")
    endings = [room["standing"]["ended"] for room in found["rooms"]]
    assert [(one["how"], one["by"]) for one in endings] == [("removed", "alice"), ("erased", "os:root")]
    erasure = found["erasure"]
    assert (erasure["by"], erasure["position"]) == ("os:root", endings[1]["position"] - 1)
    assert [room["standing"]["erasure"] for room in found["rooms"]] == [erasure, erasure]
    in_general = await view(here, "bob")
    assert (in_general["erasure"], in_general["standing"]["ended"]) == (erasure, endings[0])
    assert (await view(here, "alice")).get("erasure") is None
    assert "erasure" not in await all_rooms(here, "bob", before)
    assert "erasure" not in await view(here, "bob", before)


@pytest.mark.parametrize("user", ["eve", "gener", ""])
async def test_somebody_whom_the_record_does_not_know_is_an_error(here: World, user: str) -> None:
    await happen(here, opened(), ("auditor", AUDIT, (AuditRead(what="view", via="cli", person=user),)))
    with pytest.raises(PersonUnknown):
        await all_rooms(here, user)
    with pytest.raises(RoomNotFound):
        await PersonViews(reader(here)).view("bob", "nowhere", None)
    assert await reader(here).knows_person("auditor"), "who recorded something is known"


async def test_of_a_room_that_is_not_there_nothing_is_shown(here: World) -> None:
    with pytest.raises(RoomNotFound):
        await view(here, "bob")
