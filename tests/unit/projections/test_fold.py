"""Followed, cut anywhere, is the same as rebuilt; and a query is as new as the log wherever the table stands."""

from datetime import UTC, datetime

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from projections import PROJECTIONS, directory, memberships, messages, read_receipts, rooms
from projections.check import verify
from projections.memberships import MembershipRow, _evolve
from service.domain.events import Event, MemberBanned, MemberJoined, MemberLeft, MemberMuted, Recorded
from service.embedded import Servers
from tests.support.oracles import histories, read_models
from tests.support.oracles.histories import ROOMS, USERS, Wish
from tests.support.oracles.projected_log import World, world
from tests.support.servers.databases import fresh_database

# Each example is a database of its own, so to shrink one would outlast the time limit of a test; they are small anyway.
slow = settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
percent = st.integers(0, 100)


@slow
@given(wanted=histories.wishes, cuts=st.lists(st.integers(1, 60), max_size=10))
async def test_rows_do_not_depend_on_where_the_log_was_cut(
    servers: Servers, wanted: list[Wish], cuts: list[int]
) -> None:
    with fresh_database(servers) as database:
        async with world(database) as here:
            await here.happen(*histories.acts(wanted))
            head = await here.head()
            for projection in PROJECTIONS:
                for cut in sorted(cuts):
                    await here.advance(projection, min(cut, head))
                await here.advance(projection, head)
                report = await verify(here.connection, here.node.serializer, projection)
                assert report["equal"], report
                assert report["position"] == head


@slow
@given(
    wanted=histories.wishes,
    stands=st.tuples(*[st.tuples(percent, percent)] * len(PROJECTIONS)),
    data=st.data(),
)
async def test_queries_are_as_new_as_the_log_wherever_the_tables_stand(
    servers: Servers, wanted: list[Wish], stands: tuple[tuple[int, int], ...], data: st.DataObject
) -> None:
    with fresh_database(servers) as database:
        async with world(database) as here:
            await here.happen(*histories.acts(wanted))
            head = await here.head()
            for projection, parts in zip(PROJECTIONS, stands, strict=True):
                for part in sorted(parts):
                    await here.advance(projection, head * part // 100)
            await queries_are_right(here)
            await pages_are_right(here, data)


async def queries_are_right(here: World) -> None:
    log, reads, serializer = await here.log(), here.reads, here.node.serializer
    for user in USERS:
        found = (await rooms.summaries(reads, serializer, user)).rows
        assert list(map(read_models.plain_summary, found)) == read_models.summaries_of(log, user)
        assert await rooms.invitations(reads, serializer, user) == read_models.invitations_of(log, user)
        assert await memberships.rooms_of(reads, serializer, user) == read_models.memberships_of(log, user)
    for room in ROOMS:
        assert (await read_receipts.of_rooms(reads, serializer, [room]))[room] == read_models.receipts_of(
            log, room
        )
        everything = await messages.page(reads, serializer, room, limit=200)
        assert list(map(read_models.plain, everything.messages)) == read_models.messages_of(log, room)
        assert not everything.has_more
    for query in ("", "r", "M 1", "r3"):
        assert await whole_directory(here, query) == read_models.directory_of(log, query.lower())


async def whole_directory(here: World, query: str) -> list[tuple[str, str, str | None, int]]:
    """Return all pages, of one room each."""
    found, after = [], None
    while True:
        page = await directory.directory(here.reads, here.node.serializer, part=query, after=after, limit=1)
        found += [(each.room.room_id, each.room.name, each.room.topic, each.members) for each in page.rooms]
        if (after := page.next) is None:
            return found


async def pages_are_right(here: World, data: st.DataObject) -> None:
    room = data.draw(st.sampled_from(ROOMS), label="room")
    number = st.none() | st.integers(0, 40)
    before, after, until = (data.draw(number, label=name) for name in ("before", "after", "until"))
    limit = data.draw(st.integers(1, 8), label="limit")
    wanted = [
        row
        for row in read_models.messages_of(await here.log(), room, until)
        if (before is None or row.id < before) and (after is None or row.id > after)
    ]
    found = await messages.page(
        here.reads, here.node.serializer, room, before=before, after=after, limit=limit, until=until
    )
    assert list(map(read_models.plain, found.messages)) == (
        wanted[-limit:] if after is None else wanted[:limit]
    )
    assert found.has_more == (len(wanted) > limit)


AT = datetime(2026, 1, 1, tzinfo=UTC)


def row_after(*events: Event) -> MembershipRow | None:
    row = None
    for seq, event in enumerate(events, 1):
        row = _evolve(row, Recorded("room:general", seq, seq, event.subject, AT, "alice", event))
    return row


def test_a_mute_outlives_a_leave_and_a_return() -> None:
    row = row_after(
        MemberJoined(user="bob"),
        MemberMuted(user="bob", until=AT),
        MemberLeft(user="bob"),
        MemberJoined(user="bob"),
    )
    assert row is not None
    assert (row.present, row.joined_seq, row.muted, row.muted_until) == (True, 4, True, AT)


def test_a_return_ends_a_ban_and_a_leave() -> None:
    row = row_after(MemberJoined(user="bob"), MemberBanned(user="bob"), MemberJoined(user="bob"))
    assert row is not None
    assert (row.banned, row.left_seq, row.left_how) == (False, None, None)
