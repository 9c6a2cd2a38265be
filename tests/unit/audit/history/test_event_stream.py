"""The log as lines: every event once, from any cursor and with any filter, and live while following."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from service.audit.history import event_stream
from service.audit.history.event_selection import can_concern_a_room, concerns_room
from service.audit.history.event_stream import Selection, Stream
from service.domain.events import (
    EVENTS,
    AuditRead,
    ContentExpired,
    Event,
    HoldPlaced,
    HoldReleased,
    KeyReplaced,
    MemberJoined,
    MessageDeleted,
    MessagePinned,
    MessagePosted,
    MessageReported,
    PersonNamed,
    ReactionAdded,
    ReadMarkerMoved,
    Recorded,
    ReportResolved,
    RoomOpened,
    SessionClosed,
    SessionOpened,
    UnreadMarkerMoved,
)
from service.domain.streams import person_stream, reader_stream, room_stream, session_stream
from service.embedded import Servers
from service.eventstore.as_of_reader import AsOfReader
from service.eventstore.event_queries import EventFilter
from service.eventstore.notifications import Waker
from tests.support.eventstore.log_node import GENERAL, message
from tests.support.oracles import histories
from tests.support.oracles.histories import ROOMS, USERS, Wish
from tests.support.oracles.projected_log import World, world
from tests.support.servers.databases import Database, fresh_database
from tests.support.waiting import until

slow = settings(max_examples=10, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
maybe = st.none


def of_log(here: World, bell: Waker | None = None, interval: float = 0.05) -> Stream:
    return Stream(AsOfReader(here.node.pool, here.node.serializer), bell or Waker(), interval)


async def read(here: World, **wanted: Any) -> list[dict[str, Any]]:
    end = await here.head()
    pieces = [piece async for piece in of_log(here).lines(Selection(**wanted), end)]
    return [json.loads(line) for line in b"".join(pieces).splitlines()]


def positions(found: list[dict[str, Any]]) -> list[int]:
    return [one["position"] for one in found]


@slow
@given(wanted=histories.wishes, data=st.data())
async def test_every_filter_gives_what_an_obvious_look_through_the_log_does(
    servers: Servers, wanted: list[Wish], data: st.DataObject
) -> None:
    with fresh_database(servers) as database:
        async with world(database) as here:
            await here.happen(*histories.acts(wanted))
            log = await here.log()
            for _ in range(5):
                one = data.draw(st.sampled_from(log))
                asked: dict[str, Any] = {
                    "after": data.draw(st.sampled_from([0, one.position, log[-1].position])),
                    "since": data.draw(maybe() | st.just(one.at)),
                    "until": data.draw(maybe() | st.sampled_from([log[-1].at, log[len(log) // 2].at])),
                }
                room = data.draw(maybe() | st.sampled_from([*ROOMS, "nowhere"]))
                topic = data.draw(maybe() | st.sampled_from(sorted(EVENTS)))
                person = data.draw(maybe() | st.sampled_from(USERS))
                found = await read(here, **asked, which=EventFilter(topic, person, room, fields=True))
                posted = {
                    (r.stream, r.seq) for r in log if r.by == person and isinstance(r.event, MessagePosted)
                }
                assert positions(found) == [
                    r.position
                    for r in log
                    if is_meant(r, topic=topic, person=person, room=room, posted=posted, **asked)
                ]


def is_meant(
    r: Recorded,
    *,
    after: int,
    since: datetime | None,
    until: datetime | None,
    room: str | None,
    topic: str | None,
    person: str | None,
    posted: set[tuple[str, int]],
) -> bool:
    own = {f"person:{person}", f"session:{person}"}
    is_marker = isinstance(r.event, ReadMarkerMoved | UnreadMarkerMoved)
    of_theirs = not is_marker and (r.stream, getattr(r.event, "message", None)) in posted
    return (
        r.position > after
        and (since is None or r.at >= since)
        and (until is None or r.at <= until)
        and (room is None or r.stream == room_stream(room) or r.stream.startswith(f"reader:{room}:"))
        and (topic is None or topic == r.event.TOPIC)
        and (
            person is None or r.by == person or r.subject == f"user:{person}" or r.stream in own or of_theirs
        )
    )


@pytest.fixture
async def here(database: Database) -> AsyncIterator[World]:
    async with world(database) as made:
        yield made


@pytest.fixture
async def some(here: World) -> World:
    opened = (RoomOpened(name="General"), MemberJoined(user="alice", role="owner"), MemberJoined(user="bob"))
    await here.happen(("alice", GENERAL, opened))
    await here.happen(*(("alice", GENERAL, (message(f"no. {n}"),)) for n in range(7)))
    await here.happen(
        ("bob", person_stream("bob"), (PersonNamed(user="bob", name="Bob"),)),
        ("bob", reader_stream("general", "bob"), (ReadMarkerMoved(user="bob", message=5),)),
        (
            "bob",
            session_stream("bob"),
            (SessionOpened(session="s", node="n", incarnation="i", address=None, client=None),),
        ),
    )
    return here


async def test_a_filter_finds_what_names_a_room_or_a_person_in_a_field(some: World) -> None:
    bobs = (await read(some, which=EventFilter(person="bob", fields=True)))[-1]["position"]
    await some.happen(
        ("bob", GENERAL, (message("bob's", author="bob"),)),  # event 11
        ("alice", GENERAL, (ReactionAdded(message=11, emoji="x"),)),
        ("alice", GENERAL, (ReactionAdded(message=4, emoji="x"),)),
        ("alice", GENERAL, (MessagePinned(message=11),)),
        ("alice", GENERAL, (MessageDeleted(message=11),)),
        ("alice", "report:general", (MessageReported(report="r", message=11, author="bob", reason="x"),)),
        ("carol", "report:general", (ReportResolved(report="r", outcome="dismissed"),)),
        ("alice", "report:general", (MessageReported(report="s", message=4, author="alice", reason="x"),)),
        ("carol", "report:general", (ReportResolved(report="s", outcome="dismissed"),)),
        ("eve", "audit", (AuditRead(what="view", via="cli", room="general", person="bob"),)),
        ("eve", "audit", (AuditRead(what="view", via="cli", room="other", person="bob"),)),
        ("eve", "audit", (AuditRead(what="room", via="cli", room="general"),)),
        ("alice", session_stream("alice"), (SessionClosed(session="t", reason="left", ranges={"general": ((1, 2),)}),)),
        ("alice", session_stream("alice"), (SessionClosed(session="u", reason="left", ranges={"other": ((1, 2),)}),)),
        ("carol", reader_stream("general", "carol"), (UnreadMarkerMoved(user="carol", message=11, marker=12),)),
    )  # fmt: skip

    async def found(**which: Any) -> list[str]:
        lines = await read(some, which=EventFilter(fields=True, **which), after=bobs)
        return [f"{line['type']} {line['seq']}" for line in lines]

    about_bob = ["MessagePosted 11", "ReactionAdded 12", "MessagePinned 14", "MessageDeleted 15"]
    about_bob += ["MessageReported 1", "ReportResolved 2", "AuditRead 1", "AuditRead 2"]
    assert await found(person="bob") == about_bob
    in_room = [*about_bob[:2], "ReactionAdded 13", *about_bob[2:6], "MessageReported 3", "ReportResolved 4"]
    in_room += ["AuditRead 1", "AuditRead 3", "SessionClosed 1", "UnreadMarkerMoved 1"]
    assert await found(room="general") == in_room
    assert await found(room="general", topic=AuditRead.TOPIC) == ["AuditRead 1", "AuditRead 3"]
    assert await found(room="general", topic=MessageDeleted.TOPIC, person="bob") == ["MessageDeleted 15"]
    assert await found(room="general", person="bob") == about_bob[:-1]


@pytest.mark.parametrize(
    ("event", "concerns"),
    [
        (HoldPlaced(held="room:general", ground="x"), True),
        (HoldReleased(held="room:other", ground="x"), False),
        (HoldPlaced(held="user:general", ground="x"), False),
        (KeyReplaced(user="alice", rooms=("general",)), True),
        (KeyReplaced(user="alice", rooms=("other",)), False),
        (ContentExpired(room="general", until=date(2026, 1, 1), days=1), True),
        (ContentExpired(room="other", until=date(2026, 1, 1), days=1), False),
        (SessionClosed(session="t", reason="died", ranges=None), False),
    ],
)
def test_holds_and_expiries_concern_the_room_that_they_name(
    event: Event,
    concerns: bool,  # noqa: FBT001 - a table
) -> None:
    recorded = Recorded("stream", 1, 1, event.subject, datetime.now(UTC), "os:root", event)
    assert concerns_room(recorded, "general") == concerns
    assert can_concern_a_room(event.TOPIC)


@pytest.mark.parametrize(("page", "span"), [(1, 1), (2, 3), (3, 100), (500, 4)])
async def test_the_bytes_do_not_depend_on_how_much_is_read_at_once(
    some: World, monkeypatch: pytest.MonkeyPatch, page: int, span: int
) -> None:
    whole = await read(some)
    bobs = await read(some, which=EventFilter(person="bob"))
    which = EventFilter(topic=MessagePosted.TOPIC, room="general", fields=True)
    general = await read(some, which=which, after=2)
    monkeypatch.setattr(event_stream, "PAGE", page)
    monkeypatch.setattr(event_stream, "SPAN", span)
    assert await read(some) == whole
    assert await read(some, which=EventFilter(person="bob")) == bobs
    assert await read(some, which=which, after=2) == general
    assert [one["stream"] for one in bobs] == [
        "room:general",
        "person:bob",
        "reader:general:bob",
        "session:bob",
    ]
    assert [one["seq"] for one in general] == list(range(4, 11))


async def test_read_in_pieces_by_the_cursor_it_is_the_same_as_read_at_once(some: World) -> None:
    whole = await read(some)
    for cut in positions(whole):
        first = [one for one in whole if one["position"] <= cut]
        assert first + await read(some, after=cut) == whole


async def test_times_are_inclusive_at_both_ends(some: World) -> None:
    log = await some.log()
    first, last = log[4].at, log[6].at
    within = [r.position for r in log if first <= r.at <= last]
    assert positions(await read(some, since=first, until=last)) == within
    instant = timedelta(microseconds=1)
    later = [r.position for r in log if first < r.at < last]
    assert positions(await read(some, since=first + instant, until=last - instant)) == later


class Following:
    """A follower in a task of its own."""

    def __init__(self, lines: Stream, wanted: Selection) -> None:
        self.heard: list[dict[str, Any]] = []
        self.breaths = 0
        self.over = False
        self.task = asyncio.create_task(self._run(lines, wanted))

    async def _run(self, lines: Stream, wanted: Selection) -> None:
        async for piece in lines.follow(wanted, lambda: self.over):
            self.breaths += piece == b"\n"
            self.heard += [json.loads(line) for line in piece.splitlines() if line]


async def test_who_follows_hears_what_was_and_then_what_comes_once_each(some: World) -> None:
    bell = Waker()
    in_general = EventFilter(topic=MessagePosted.TOPIC, room="general", fields=True)
    following = Following(of_log(some, bell, interval=30), Selection(after=3, which=in_general))
    await until(lambda: len(following.heard) == 7)
    for number in range(3):
        await some.happen(("alice", GENERAL, (message(f"new {number}"),)))
        await some.happen(("alice", room_stream("other"), (RoomOpened(name="Other"),)))
        bell.wake()
        await until(lambda: len(following.heard) == 8 + number)  # noqa: B023 - awaited at once
    assert [one["seq"] for one in following.heard] == list(range(4, 14))
    following.over = True
    bell.wake()
    await following.task


async def test_who_follows_hears_without_a_ring_too_and_breathes_in_silence(
    some: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "KEEPALIVE", 0.0)
    following = Following(of_log(some, interval=0.01), Selection())
    await until(lambda: following.breaths > 2)
    await some.happen(("alice", GENERAL, (message("new"),)))
    await until(lambda: following.heard[-1].get("content") == "new")
    assert positions(following.heard) == [r.position for r in await some.log()]
    following.over = True
    await following.task


async def test_who_may_hear_no_more_is_not_told_the_rest_of_what_was(
    some: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "PAGE", 2)
    looks = iter([False, False])  # before it begins, and before the first piece
    heard = [piece async for piece in of_log(some).follow(Selection(), lambda: next(looks, True))]
    assert [piece.count(b"\n") for piece in heard] == [2]


async def test_a_ring_between_the_look_and_the_wait_is_not_missed() -> None:
    bell = Waker()
    seen = bell.count
    bell.wake()
    await bell.after(seen, 3600)
    waiting = asyncio.create_task(bell.after(bell.count, 3600))
    await asyncio.sleep(0)
    bell.wake()
    await waiting
