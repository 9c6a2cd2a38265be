"""The edges of the queries: pages, limits of age, people who left, words that are gone."""

from datetime import timedelta

import asyncpg
import pytest

from projections import PROJECTIONS, memberships, messages, read_receipts, rooms
from projections.engine import snapshot
from projections.engine.projection import Projection
from projections.messages import MessageRow, Page
from service.domain.events import (
    MemberInvited,
    MemberMuted,
    MessageEdited,
    MessagePinned,
    ReactionAdded,
    RoomRenamed,
    RoomTopicChanged,
)
from service.errors import ProjectionBehind
from tests.support.oracles import read_models
from tests.support.oracles.projected_log import Act, World
from tests.support.projections.events import (
    GENERAL,
    OPENED,
    deleted,
    joined,
    left,
    one_room,
    page,
    read,
    said,
    unread_after,
)


def edited(message: int, content: str, by: str = "alice") -> Act:
    return by, GENERAL, (MessageEdited(message=message, content=content),)


def reacted(message: int, by: str = "alice", emoji: str = "👍") -> Act:
    return by, GENERAL, (ReactionAdded(message=message, emoji=emoji),)


def ids(found: Page) -> list[int]:
    return [row.id for row in found.messages]


@pytest.fixture(
    params=[0, 4, 7, 99], ids=["all in the tail", "two in the table", "last in the tail", "all in the table"]
)
async def six_messages(here: World, request: pytest.FixtureRequest) -> World:
    """Numbers 3 to 8 in a room, of which the table has some."""
    await here.happen(OPENED, *(said(f"no. {number}") for number in range(3, 9)))
    await here.advance(messages.PROJECTION, min(request.param, await here.head()))
    return here


async def test_the_newest_page_is_oldest_first(six_messages: World) -> None:
    found = await page(six_messages)
    assert ids(found) == [6, 7, 8]
    assert found.has_more
    first = found.messages[0]
    assert (first.room_id, first.user_id, first.content, first.reply_to, first.mentions) == (
        "general",
        "alice",
        "no. 6",
        None,
        (),
    )
    assert first.created_at.utcoffset() == timedelta(0)


EDGES: list[tuple[dict[str, int | None], list[int], bool]] = [
    ({"before": 6}, [3, 4, 5], False),
    ({"before": 7}, [4, 5, 6], True),
    ({"before": 4}, [3], False),
    ({"before": 3}, [], False),
    ({"before": 1000}, [6, 7, 8], True),
    ({"after": 0}, [3, 4, 5], True),
    ({"after": 4}, [5, 6, 7], True),
    ({"after": 5}, [6, 7, 8], False),
    ({"after": 7}, [8], False),
    ({"after": 8}, [], False),
    ({"after": 1000}, [], False),
    ({"after": 3, "before": 6}, [4, 5], False),
    ({"until": 5}, [3, 4, 5], False),
    ({"until": 6}, [4, 5, 6], True),
    ({"until": 2}, [], False),
    ({"until": 5, "after": 4}, [5], False),
    ({"until": 4, "before": 8}, [3, 4], False),
    ({"limit": 6}, [3, 4, 5, 6, 7, 8], False),
    ({"limit": 1}, [8], True),
]
"""Bounds of a page of messages 3 to 8, three at most; the numbers that come of them, and whether there are more."""


async def test_a_page_keeps_its_bounds(six_messages: World) -> None:
    found = [await page(six_messages, **bounds) for bounds, _, _ in EDGES]
    answers = zip(EDGES, found, strict=True)
    assert [(bounds, ids(page), page.has_more) for (bounds, _, _), page in answers] == EDGES


@pytest.mark.parametrize("level", [False, True], ids=["by the tail", "by the table"])
async def test_a_page_shows_nothing_from_after_the_right_to_read_ended(here: World, *, level: bool) -> None:
    """But that a message was deleted, since its content is gone for all."""
    await here.happen(OPENED, joined("bob"), said("as it was"), said("gone since"), reacted(4), left("bob"))
    await here.project()
    pinned: Act = ("alice", GENERAL, (MessagePinned(message=4),))
    await here.happen(edited(4, "changed since"), reacted(4, emoji="x"), pinned, deleted(5), said("later"))
    if level:
        await here.project()
    kept, gone = (await page(here, until=7)).messages
    assert (kept.content, kept.reactions, kept.edited_at, kept.pinned) == (
        "as it was", {"👍": ("alice",)}, None, False,
    )  # fmt: skip
    assert (gone.content, gone.deleted_at is None) == (None, False)
    now = (await page(here)).messages[0]
    assert (now.content, set(now.reactions), now.pinned) == ("changed since", {"👍", "x"}, True)


async def test_a_room_without_messages_or_without_being_has_an_empty_page(here: World) -> None:
    assert await page(here) == Page([], has_more=False)
    await here.happen(OPENED)
    assert await page(here) == Page([], has_more=False)


async def test_unread_starts_at_the_join_and_leaves_out_ones_own(here: World) -> None:
    await here.happen(
        OPENED,
        said("before"),
        joined("bob"),
        said("after", "alice", "bob"),
        said("own", "bob"),
        said("again"),
    )
    for _ in range(2):
        row = await one_room(here, "bob")
        assert (row.unread, row.mentions, row.last_read, row.head) == (2, 1, 0, 7)
        assert row.last_message is not None
        assert row.last_message.content == "again"
        await here.project()
    await here.happen(read(5, "bob"))
    row = await one_room(here, "bob")
    assert (row.unread, row.mentions, row.last_read) == (1, 0, 5)


async def test_whoever_left_has_no_room_and_whoever_comes_back_starts_anew(here: World) -> None:
    await here.happen(OPENED, joined("bob"), said("one"), left("bob"), said("two"))
    await here.project()
    serializer = here.node.serializer
    assert (await rooms.summaries(here.reads, serializer, "bob")).rows == []
    assert await memberships.rooms_of(here.reads, serializer, "bob") == []
    await here.happen(joined("bob"), said("three"))
    row = await one_room(here, "bob")
    assert (row.unread, row.role, row.head) == (1, "member", 8)
    (membership,) = await memberships.rooms_of(here.reads, serializer, "bob")
    assert (membership.joined_seq, membership.left_seq) == (7, None)


async def test_a_former_member_keeps_the_row(here: World) -> None:
    await here.happen(OPENED, joined("bob"), left("bob"))
    await here.project()
    rows = {row["user_id"]: row for row in await here.rows(memberships.PROJECTION)}
    assert (rows["bob"]["role"], rows["bob"]["joined_seq"], rows["bob"]["left_seq"]) == ("member", 3, 4)
    assert rows["bob"]["left_at"] >= rows["bob"]["joined_at"]


BUSY: list[Act] = [
    OPENED,
    joined("bob"),
    said("one", "alice", "bob"),
    said("own", "bob"),
    read(4, "bob"),
    said("two", "alice", "bob"),
    read(6, "alice"),
    said("three"),
    left("bob"),
    said("unseen", "alice", "bob"),
    joined("bob"),
    said("four", "alice", "bob"),
    said("five"),
    read(10, "bob"),
    said("six"),
    edited(4, "one, mended"),
    deleted(11, "alice"),
    reacted(13, "bob"),
    ("alice", GENERAL, (MessagePinned(message=13),)),
    ("alice", GENERAL, (RoomRenamed(name="Lobby"), RoomTopicChanged(topic="Plans"))),
    ("alice", GENERAL, (MemberMuted(user="bob"), MemberInvited(user="carol"))),
    deleted(13, "alice"),
]


@pytest.mark.parametrize("lone", PROJECTIONS, ids=lambda projection: projection.name)
@pytest.mark.parametrize("ahead", [False, True], ids=["others at the head", "others at the start"])
async def test_queries_are_exact_at_every_position_of_one_table(
    here: World, lone: Projection, *, ahead: bool
) -> None:
    await here.happen(*BUSY)
    if not ahead:
        await here.project(*(projection for projection in PROJECTIONS if projection is not lone))
    log = await here.log()
    for recorded in log:
        await here.advance(lone, recorded.position)
        for user in ("alice", "bob"):
            found = (await rooms.summaries(here.reads, here.node.serializer, user)).rows
            shown = list(map(read_models.plain_summary, found))
            assert shown == read_models.summaries_of(log, user), recorded
        receipts = (await read_receipts.of_rooms(here.reads, here.node.serializer, ["general"]))[
            "general"
        ].receipts
        assert receipts == read_models.receipts_of(log, "general")
        shown_messages = list(map(read_models.plain, (await page(here, limit=200)).messages))
        assert shown_messages == read_models.messages_of(log, "general")


async def test_a_moment_stays_the_same_while_tables_and_log_move_on(here: World) -> None:
    await here.happen(OPENED, said("one"), said("two"))
    async with snapshot.snapshot(here.reads, here.node.serializer, messages.PROJECTION) as now:
        await here.happen(said("three"))
        await here.project()
        assert await now.fetch("SELECT * FROM messages_v2") == []
        rows = await now.tail("e.stream = :stream", stream=GENERAL)
        assert [row.seq for row in now.lacking(rows, messages.PROJECTION)] == [3, 4]
    assert ids(await page(here)) == [3, 4, 5]


async def test_receipts_show_the_furthest_marker_of_each(here: World) -> None:
    await here.happen(OPENED, joined("bob"), said("one"), said("two"), read(4, "bob"), read(4))
    await here.project()
    await here.happen(read(5))
    found = (await read_receipts.of_rooms(here.reads, here.node.serializer, ["general"]))["general"].receipts
    assert [(row.user_id, row.message_id) for row in found] == [("alice", 5), ("bob", 4)]
    assert (await read_receipts.of_rooms(here.reads, here.node.serializer, ["gen"]))["gen"].receipts == []


async def test_a_marker_never_moves_back(here: World) -> None:
    await here.happen(OPENED, said("one"), said("two"), read(4), read(3))
    for _ in range(2):
        found = (await read_receipts.of_rooms(here.reads, here.node.serializer, ["general"]))[
            "general"
        ].receipts
        assert [(row.user_id, row.message_id) for row in found] == [("alice", 4)]
        await here.project()


@pytest.mark.parametrize("level", [False, True], ids=["by the tail", "by the table"])
async def test_an_unread_marker_counts_until_more_is_read(here: World, *, level: bool) -> None:
    await here.happen(
        OPENED, joined("bob"), *(said(f"no. {number}", "alice", "bob") for number in range(4, 8))
    )
    for act, last_read, unread in (
        (read(6, "bob"), 6, 1),
        (unread_after(4, 6, "bob"), 4, 3),
        (unread_after(0, 6, "bob"), 0, 4),
        (unread_after(5, 6, "bob"), 5, 2),
        (unread_after(6, 6, "bob"), 6, 1),
        (unread_after(4, 6, "bob"), 4, 3),
        (deleted(6), 4, 2),
        (read(7, "bob"), 7, 0),
    ):
        await here.happen(act)
        if level:
            await here.project()
        row = await one_room(here, "bob")
        assert (row.last_read, row.unread, row.mentions) == (last_read, unread, unread)
        found = (await read_receipts.of_rooms(here.reads, here.node.serializer, ["general"]))["general"]
        furthest = 7 if last_read == 7 else 6
        assert [(each.user_id, each.message_id) for each in found.receipts] == [("bob", furthest)]
        shown = {user: marker.message_id for user, marker in found.unread.items()}
        assert shown == ({"bob": last_read} if last_read < 6 else {})


async def test_a_query_refuses_where_the_tail_is_too_long(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "MAX_BEHIND", 5)
    await here.happen(OPENED, said("one"), said("two"), said("three"))
    assert len((await page(here)).messages) == 3  # 5 positions behind is not more than 5
    await here.happen(said("four"))
    queries = [
        page(here),
        rooms.summaries(here.reads, here.node.serializer, "alice"),
        memberships.rooms_of(here.reads, here.node.serializer, "alice"),
        read_receipts.of_rooms(here.reads, here.node.serializer, ["general"]),
    ]
    for query in queries:
        with pytest.raises(ProjectionBehind) as refused:
            await query
        assert refused.value.data == {"behind": 6}
    await here.advance(messages.PROJECTION, await here.head())
    assert (await page(here)).has_more


async def test_the_last_message_of_an_erased_person_has_no_words(here: World) -> None:
    await here.happen(OPENED, joined("bob"), said("my words"))
    await here.project()
    await here.as_owner("DELETE FROM person_keys WHERE person = 'alice'")
    last = (await one_room(here, "bob")).last_message
    assert isinstance(last, MessageRow)
    assert last.content is None


async def test_the_views_have_the_specified_columns(here: World) -> None:
    wanted = {
        "messages": {
            "id",
            "room_id",
            "user_id",
            "content",
            "created_at",
            "edited_at",
            "deleted_at",
            "reactions",
        },
        "read_receipts": {"user_id", "room_id", "last_read_at", "last_read_message_id"},
        "memberships": {"room_id", "user_id", "role", "joined_seq", "joined_at", "left_seq", "left_at"},
        "rooms": {"room_id", "name", "visibility", "created_at", "created_by", "head", "last_message_id"}
        | {"topic", "archived"},
        "invitations": {"room_id", "user_id", "invited_at", "invited_by"},
        "bans": {"room_id", "user_id", "banned_until"},
    }
    for view, columns in wanted.items():
        found = await here.connection.fetch(
            "SELECT column_name FROM information_schema.columns WHERE table_name = $1", view
        )
        assert columns <= {row["column_name"] for row in found}


async def test_the_projector_may_build_later_versions_and_the_node_may_only_read(here: World) -> None:
    async def may(role: str, statement: str) -> None:
        owner = await asyncpg.connect(here.database.owner_url)
        try:
            await owner.execute("BEGIN")
            await owner.execute(f"SET LOCAL ROLE {role}")
            await owner.execute(statement)
        finally:
            await owner.close()

    await may("onrecord_projector", "CREATE TABLE read_models.rooms_v3 (LIKE read_models.rooms_v2)")
    await may(
        "onrecord_projector",
        "CREATE OR REPLACE VIEW read_models.read_receipts AS SELECT * FROM read_models.read_receipts_v1",
    )
    for name in ("messages", "memberships", "read_receipts", "rooms", "invitations", "bans"):
        await may("onrecord_node", f"TABLE {name}")
    for projection in PROJECTIONS:
        await may("onrecord_node", f"TABLE {projection.relation}")
        for forbidden in (f"TRUNCATE {projection.relation}", f"DROP TABLE {projection.relation} CASCADE"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await may("onrecord_node", forbidden)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await may("onrecord_projector", "INSERT INTO stored_events SELECT * FROM stored_events")
