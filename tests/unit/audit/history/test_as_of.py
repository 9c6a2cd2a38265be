"""A room as of a moment equals an independent fold of its events up to then; as of now, it equals the live room."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from projections import messages
from service.audit.history import as_of
from service.audit.history.as_of import AsOf
from service.audit.history.existence import WrongMoment
from service.audit.history.person_view import PersonViews
from service.audit.privacy.erasure import erase
from service.domain.events import (
    MemberBanned,
    MemberJoined,
    MemberLeft,
    MemberMuted,
    MemberRemoved,
    MessageDeleted,
    MessageEdited,
    MessagePinned,
    MessageUnpinned,
    PersonNamed,
    ReadMarkerMoved,
    Recorded,
    RoomArchived,
    RoomOpened,
    RoomRenamed,
    RoomRetentionChanged,
    RoomTopicChanged,
    UnreadMarkerMoved,
)
from service.domain.streams import person_stream, reader_stream, room_stream
from service.embedded import Servers
from service.errors import RoomNotFound
from service.eventstore.as_of_reader import AsOfReader
from service.protocol.forms import shown
from service.protocol.room_as_of import Moment, NoMoment, day_of, moment_of, time_of
from tests.support.eventstore.log_node import GENERAL, message, stored
from tests.support.oracles import histories, room_as_of
from tests.support.oracles.histories import ROOMS, Wish
from tests.support.oracles.projected_log import World, world
from tests.support.servers.databases import Database, fresh_database

# Each example is a database of its own, so to shrink one would outlast the time limit of a test.
slow = settings(max_examples=15, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])


def rooms_of(here: World) -> AsOf:
    return AsOf(AsOfReader(here.node.pool, here.node.serializer))


async def whole(pieces: AsyncIterator[bytes]) -> Any:
    return json.loads(b"".join([piece async for piece in pieces]))


async def room_at(here: World, room: str, moment: Moment) -> Any:
    try:
        return await whole(await rooms_of(here).room(room, moment))
    except RoomNotFound:
        return None


@slow
@given(wanted=histories.wishes, data=st.data())
async def test_a_room_as_of_any_moment_is_the_fold_of_what_had_happened_by_then(
    servers: Servers, wanted: list[Wish], data: st.DataObject
) -> None:
    with fresh_database(servers) as database:
        async with world(database) as here:
            await here.happen(*histories.acts(wanted))
            log = await here.log()
            for room in ROOMS:
                own = [r for r in log if r.stream == room_stream(room)]
                if own:
                    await by_number_and_time_it_is_right(here, log, data.draw(st.sampled_from(own)))
                await now_it_is_what_everybody_sees(here, log, room)


async def by_number_and_time_it_is_right(here: World, log: list[Recorded], last: Recorded) -> None:
    room = last.stream.removeprefix("room:")
    assert await room_at(here, room, last.seq) == room_as_of.room_then(log, room, last.position, last.at)
    # Events of one commit have one time: the moment is after all of them.
    position = max(r.position for r in log if r.at == last.at)
    assert await room_at(here, room, last.at) == room_as_of.room_then(log, room, position, last.at)
    instant = timedelta(microseconds=1)
    before = max((r.position for r in log if r.at < last.at), default=0)
    assert await room_at(here, room, last.at - instant) == room_as_of.room_then(
        log, room, before, last.at - instant
    )


async def now_it_is_what_everybody_sees(here: World, log: list[Recorded], room: str) -> None:
    found = await room_at(here, room, None)
    assert found == room_as_of.room_then(log, room, 2**62, datetime.now(UTC))
    page = await messages.page(here.reads, here.node.serializer, room, limit=200)
    own = {
        r.event.message: r
        for r in log
        if r.stream == room_stream(room) and isinstance(r.event, MessageDeleted)
    }
    shown = [room_as_of.message(row, own.get(row.id)) for row in page.messages]
    assert shown == (found["messages"] if found else [])


@slow
@given(wanted=histories.wishes, data=st.data())
async def test_what_changed_between_two_moments_is_the_difference_of_the_two(
    servers: Servers, wanted: list[Wish], data: st.DataObject
) -> None:
    with fresh_database(servers) as database:
        async with world(database) as here:
            await here.happen(*histories.acts(wanted))
            own = [r for r in await here.log() if r.stream == room_stream("r1")]
            seqs = st.integers(1, own[-1].seq)
            first, second = data.draw(seqs, label="from"), data.draw(seqs, label="to")
            if first > second:
                with pytest.raises(WrongMoment, match="ends before it begins"):
                    await rooms_of(here).changes("r1", first, second)
                first, second = second, first
            found = await whole(await rooms_of(here).changes("r1", first, second))
            then = [await room_at(here, "r1", seq) for seq in sorted((first, second))]
            assert (found["from"]["seq"], found["to"]["seq"]) == tuple(sorted((first, second)))
            assert ("settings" in found) == (then[0]["settings"] != then[1]["settings"])
            for name, key, lists in (
                ("people", "userId", ("members", "others")),
                ("messages", "messageId", ("messages",)),
            ):
                before, after = [{one[key]: one for part in lists for one in each[part]} for each in then]
                assert found[name] == [
                    {key: one, "before": before.get(one), "after": after.get(one)}
                    for one in sorted({*before, *after})
                    if before.get(one) != after.get(one)
                ]


@pytest.fixture
async def here(database: Database) -> AsyncIterator[World]:
    async with world(database) as made:
        yield made


async def test_room_as_of_does_not_depend_on_page_length(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = ("alice", GENERAL, (RoomOpened(name="General"), MemberJoined(user="alice", role="owner")))
    await here.happen(opened, *(("alice", GENERAL, (message(f"no. {n}"),)) for n in range(7)))
    await here.happen(("alice", GENERAL, (MessageEdited(message=4, content="otherwise"),)))
    at_once = await room_at(here, "general", None)
    changes = await whole(await rooms_of(here).changes("general", 2, None))
    monkeypatch.setattr(as_of, "PAGE", 3)
    assert await room_at(here, "general", None) == at_once
    assert await whole(await rooms_of(here).changes("general", 2, None)) == changes
    assert [one["messageId"] for one in at_once["messages"]] == list(range(3, 10))
    assert [one["content"] for one in at_once["messages"]][:3] == ["no. 0", "otherwise", "no. 2"]
    assert len(changes["messages"]) == 7


async def test_names_markers_bans_and_pins_are_those_of_the_moment(here: World) -> None:
    long_ago, in_a_while = datetime(2020, 1, 1, tzinfo=UTC), datetime(2990, 1, 1, tzinfo=UTC)
    joined = [MemberJoined(user=user) for user in ("bob", "carol", "dave")]
    opened = (RoomOpened(name="General"), MemberJoined(user="alice", role="owner"), *joined)
    for act in (
        ("alice", GENERAL, opened),
        ("alice", GENERAL, (message("hello"), MessagePinned(message=6))),
        ("bob", person_stream("bob"), (PersonNamed(user="bob", name="Bob"),)),
        ("bob", reader_stream("general", "bob"), (ReadMarkerMoved(user="bob", message=6),)),
        (
            "bob",
            reader_stream("general", "bob"),
            (UnreadMarkerMoved(user="bob", message=5, marker=6),),
        ),
        ("alice", GENERAL, (MemberBanned(user="carol", until=long_ago), MemberMuted(user="bob"))),
        ("alice", GENERAL, (MemberBanned(user="dave", until=in_a_while),)),
        ("bob", person_stream("bob"), (PersonNamed(user="bob", name="Robert"),)),
        ("bob", GENERAL, (message("again", author="bob"),)),
        ("alice", GENERAL, (MessageUnpinned(message=6), MessageDeleted(message=6))),
    ):
        await here.happen(act)
    then, now = await room_at(here, "general", 10), await room_at(here, "general", None)
    bob = {"userId": "bob", "role": "member", "since": 3, "roleSince": 3, "muted": True, "lastRead": 6}
    for document, name in ((then, "Bob"), (now, "Robert")):
        found = dict(document["members"][1])
        assert found.pop("lastReadAt").endswith("Z")
        assert found.pop("sinceAt") == found.pop("roleSinceAt")
        assert found.pop("mute")["by"] == "alice"
        assert found == {**bob, "name": name}
        carol, dave = document["others"]
        assert (carol.pop("ended")["how"], dave.pop("ended")["how"]) == ("banned", "banned")
        assert dave.pop("ban")["by"] == "alice"
        assert carol == {"userId": "carol", "left": 8}
        assert dave == {
            "userId": "dave", "left": 10, "banned": True, "bannedUntil": "2990-01-01T00:00:00.000000Z"
        }  # fmt: skip
    assert (then["messages"][0]["content"], then["messages"][0]["pinned"]) == ("hello", True)
    assert (now["messages"][0]["content"], "deletedAt" in now["messages"][0]) == (None, True)
    assert "pinned" not in now["messages"][0]


async def test_how_and_by_whom_memberships_ended_is_shown(here: World) -> None:
    users = ("bob", "carol", "dave", "erin")
    opened = (RoomOpened(name="General"), *(MemberJoined(user=user) for user in ("alice", *users)))
    for act in (
        ("alice", GENERAL, opened),
        ("bob", GENERAL, (MemberLeft(user="bob"),)),
        ("alice", GENERAL, (MemberRemoved(user="carol", reason="noise"), MemberBanned(user="dave"))),
        ("alice", GENERAL, (MemberBanned(user="bob"),)),
        ("alice", GENERAL, (MemberMuted(user="erin"),)),
        ("erin", person_stream("erin"), (PersonNamed(user="erin", name="Erin"),)),
    ):
        await here.happen(act)
    await erase(here.node.pool, "erin", ground="GDPR 17", by="os:root", deadline=20)
    await here.happen(("os:root", GENERAL, (MemberLeft(user="erin"),)))
    log = await here.log()
    for recorded in log:
        then = await room_at(here, "general", recorded.at)
        expected = room_as_of.room_then(log, "general", recorded.position, recorded.at, ("alice", *users))
        if recorded.position == max(r.position for r in log if r.at == recorded.at):
            assert then == expected
    bob, carol, dave, erin = (await room_at(here, "general", None))["others"]
    assert [person["ended"]["how"] for person in (bob, carol, dave, erin)] == [
        "left", "removed", "banned", "erased"
    ]  # fmt: skip
    assert [person["ended"]["by"] for person in (bob, carol, dave, erin)] == [
        "bob", "alice", "alice", "os:root"
    ]  # fmt: skip
    assert (bob["ban"]["by"], erin["erasure"]["by"]) == ("alice", "os:root")
    assert dave["ban"] == {key: dave["ended"][key] for key in ("by", "at", "position")}
    assert bob["ban"]["position"] > bob["ended"]["position"]


async def test_erased_words_are_marked_and_everything_else_stays(here: World) -> None:
    opened = (RoomOpened(name="General"), MemberJoined(user="alice", role="owner"), MemberJoined(user="bob"))
    await here.happen(("alice", GENERAL, opened))
    await here.happen(("bob", GENERAL, (message("mine", author="bob"),)))
    await here.happen(("alice", GENERAL, (message("hers"),)))
    await here.happen(("bob", GENERAL, (RoomTopicChanged(topic="words"),)))
    await here.happen(("bob", person_stream("bob"), (PersonNamed(user="bob", name="Bob"),)))
    before = await room_at(here, "general", None)
    await here.as_owner("DELETE FROM person_keys WHERE person = 'bob'")
    here.node.keys.forget("bob")
    after = await room_at(here, "general", None)
    assert before["messages"][0].pop("content") == "mine"
    assert (after["messages"][0].pop("content"), after["messages"][0].pop("erased")) == (None, True)
    assert before["settings"].pop("topic") == "words"
    assert after["settings"].pop("topicErased") is True
    assert (before["members"][1].pop("name"), after["members"][1].pop("nameErased")) == ("Bob", True)
    assert after == before


async def test_settings_are_those_of_the_moment(here: World) -> None:
    changes = (
        RoomRenamed(name="G"),
        RoomTopicChanged(topic="t"),
        RoomRetentionChanged(days=30),
        RoomArchived(),
    )
    opened = (RoomOpened(name="General", visibility="private"), MemberJoined(user="alice", role="owner"))
    await here.happen(("alice", GENERAL, (*opened, *changes)))
    log = await here.log()
    for recorded in log:
        then = await room_at(here, "general", recorded.seq)
        assert then == room_as_of.room_then(log, "general", recorded.position, recorded.at)
    assert (await room_at(here, "general", None))["settings"] == {
        "name": "G",
        "visibility": "private",
        "topic": "t",
        "retention": 30,
        "archived": True,
    }


async def test_a_seq_or_a_time_still_to_come_means_now(here: World) -> None:
    await here.happen(("alice", GENERAL, (RoomOpened(name="General"), MemberJoined(user="alice"))))
    now = await room_at(here, "general", None)
    assert await room_at(here, "general", 900) == now
    assert await room_at(here, "general", datetime(2990, 1, 1, tzinfo=UTC)) == now
    assert now["seq"] == 2


async def test_before_it_was_opened_a_room_is_not_there(here: World) -> None:
    await here.happen(("alice", GENERAL, (RoomOpened(name="General"), MemberJoined(user="alice"))))
    (first,) = await stored(here.database, "SELECT min(recorded_at) AS at FROM stored_events")
    early = first["at"] - timedelta(seconds=1)
    assert await room_at(here, "general", early) is None
    assert await room_at(here, "nowhere", None) is None
    words = (
        f"The room general was not open yet on {early:%Y-%m-%d %H:%M:%S} UTC: "
        f"it was opened on {first['at']:%Y-%m-%d %H:%M:%S} UTC."
    )
    for refused in (
        rooms_of(here).room("general", early),
        rooms_of(here).changes("general", early, early),
        PersonViews(AsOfReader(here.node.pool, here.node.serializer)).view("alice", "general", early),
    ):
        with pytest.raises(RoomNotFound) as refusal:
            await refused
        assert str(refusal.value) == words
    found = await whole(await rooms_of(here).changes("general", early, None))
    assert found["from"] == {"seq": 0}
    assert found["settings"] == {"before": None, "after": {"name": "General", "visibility": "public"}}
    with pytest.raises(RoomNotFound):
        await rooms_of(here).changes("nowhere", 1, None)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        (None, None),
        ("41", 41),
        ("2026-11-24T15:00:00Z", datetime(2026, 11, 24, 15, tzinfo=UTC)),
        ("2026-11-24T17:00:00.5+02:00", datetime(2026, 11, 24, 15, 0, 0, 500_000, tzinfo=UTC)),
    ],
)
def test_a_moment_is_a_seq_or_a_time(text: str | None, moment: Moment) -> None:
    assert moment_of(text) == moment


NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
WHOLE_DAY = (
    NOON.replace(hour=0) - timedelta(microseconds=1),
    NOON.replace(hour=0),
    NOON.replace(hour=23, minute=59, second=59, microsecond=999_999),
)


def test_a_day_without_a_time_is_the_whole_day_in_utc() -> None:
    for moment in (moment_of, time_of):
        assert (
            moment("2026-11-24", "before"),
            moment("2026-11-24", "start"),
            moment("2026-11-24"),
        ) == WHOLE_DAY
    assert moment_of("0001-01-01", "before") == datetime(1, 1, 1, tzinfo=UTC)
    assert (day_of("2026-11-24"), day_of("2026-11-24T00:00:00Z"), day_of("4")) == (WHOLE_DAY[1], None, None)


@pytest.mark.parametrize(
    "text",
    ["", "0", "-1", "٤", "yesterday", "2026-11-24T15:00:00", "2026-02-30", "2026-11-24 ", "1" * 17, "1\n"],
)
def test_anything_else_is_no_moment_and_the_error_has_an_example(text: str) -> None:
    for moment in (moment_of, time_of):
        with pytest.raises(
            NoMoment, match=r"is not a (moment|time): give a day in UTC such as 2026-11-24"
        ) as caught:
            moment(text)
        assert str(caught.value).startswith(f"'{shown(text)}' is not a ")


def test_a_seq_is_no_time() -> None:
    with pytest.raises(NoMoment, match="'41' is not a time"):
        time_of("41")
