"""Every row that analysts see, in every documented view, is what a slow reading of the log says.

Of random histories with edits, deletions, kicks, bans, and people who come back; with the content of an erased user,
before the projector had heard of them, after, or never.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import asyncpg
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from service.audit.privacy.erasure import erase
from service.domain import events as log_of
from service.domain.events import MessagePosted, Recorded
from service.domain.streams import room_of, room_stream
from service.embedded import Servers
from tests.support.oracles import histories, read_models
from tests.support.oracles.histories import USERS, Wish
from tests.support.oracles.projected_log import world
from tests.support.projections.views import VIEWS, counted
from tests.support.servers.databases import Database, fresh_database

if TYPE_CHECKING:
    from datetime import datetime

# Each example is a database of its own, so to shrink one would outlast the time limit of a test; they are small anyway.
slow = settings(max_examples=20, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])

RICH: list[Wish] = [
    ("edit", "r1", "alice", 1),
    ("read", "r1", "carol", 5),
    ("kick", "r1", "alice", 1),
    ("join", "r1", "bob", 0),
    ("say", "r1", "bob", 7),
    ("delete", "r1", "alice", 1),
    ("role", "r1", "alice", 1),
    ("ban", "r1", "alice", 2),
    ("leave", "r1", "bob", 0),
    ("ban", "r1", "alice", 1),
    ("rename", "r1", "alice", 1),
]
"""Bob is kicked, comes back, owns the room, leaves and is banned after that; carol is banned while she is in."""

Rows = list[tuple[Any, ...]]


@slow
@example(wanted=RICH, erased="bob", projected_before=True)
@example(wanted=RICH, erased=None, projected_before=False)
@given(
    wanted=histories.wishes,
    erased=st.none() | st.sampled_from(USERS),
    projected_before=st.booleans(),
)
async def test_every_view_is_a_slow_fold_of_the_log(
    servers: Servers,
    wanted: list[Wish],
    erased: str | None,
    projected_before: bool,  # noqa: FBT001 - Hypothesis gives it
) -> None:
    with fresh_database(servers) as database:
        async with world(database) as here:
            await here.happen(*histories.acts(wanted))
            log = await here.log()
            if projected_before:
                await here.project()
            if erased is not None:
                await erase(here.node.pool, erased, ground="g", by="root", deadline=60)
            await here.project()
            shown = await seen(database)
    assert shown == {
        "messages": messages(log, erased),
        "memberships": memberships(log),
        "read_receipts": read_receipts(log),
        "rooms": rooms(log),
        "daily_activity": counted(log),
        "people": people(log, erased, shown["people"]),
        "daily_totals": totals(log),
    }


async def seen(database: Database) -> dict[str, Rows]:
    """Return what each view shows to a login with the analysts' role alone."""
    connection = await asyncpg.connect(database.superuser_url)
    try:
        await connection.execute("SET ROLE onrecord_analyst")
        query = "SELECT * FROM analytics.{} ORDER BY 1, 2, 3"
        shown = {view: await connection.fetch(query.format(view)) for view in VIEWS}
        return {view: [tuple(row) for row in rows] for view, rows in shown.items()}
    finally:
        await connection.close()


def messages(log: Sequence[Recorded], erased: str | None) -> Rows:
    found = [row for name in rooms_of(log) for row in read_models.messages_of(log, name)]
    return [
        (row.room_id, row.id, row.user_id, None if row.user_id == erased else row.content, row.created_at,
         row.reply_to, list(row.mentions), row.edited_at, row.deleted_at,
         "deleted" if row.deleted_at else "erased" if row.user_id == erased else None)
        for row in found
    ]  # fmt: skip


def people(log: Sequence[Recorded], erased: str | None, shown: Rows) -> Rows:
    """Return the expected rows; an erasure is later than `log`, and its time is the one shown."""
    first: dict[str, datetime] = {}
    named: dict[str, Any] = {}
    for r in log:
        if isinstance(r.event, log_of.PersonNamed | log_of.MemberJoined):
            first.setdefault(r.event.user, r.at)
        if isinstance(r.event, log_of.PersonNamed):
            named[r.event.user] = r
    at = {row[0]: (row[3], row[4]) for row in shown}
    if erased is not None:
        first.setdefault(erased, at[erased][0])
        assert at[erased][1] >= log[-1].at
    return [
        (user, None if user == erased or user not in named else named[user].event.name,
         named[user].at if user in named else None, first[user], at[user][1] if user == erased else None)
        for user in sorted(first)
    ]  # fmt: skip


def totals(log: Sequence[Recorded]) -> Rows:
    rows = counted(log)
    return [
        (day, sum(row[3] for row in of_day), len({row[2] for row in of_day}), len({row[1] for row in of_day}))
        for day in sorted({row[0] for row in rows})
        for of_day in ([row for row in rows if row[0] == day],)
    ]


def memberships(log: Sequence[Recorded]) -> Rows:
    found: Rows = []
    for name in rooms_of(log):
        for user in USERS:
            about = [r for r in log if r.stream == room_stream(name) and r.subject == f"user:{user}"]
            joins = [r for r in about if isinstance(r.event, log_of.MemberJoined)]
            if joins:
                since = [r for r in about if r.seq >= joins[-1].seq]
                ends = [r for r in since if isinstance(r.event, log_of.ENDINGS)]
                roles = [
                    r.event.role
                    for r in since
                    if isinstance(r.event, log_of.MemberJoined | log_of.RoleChanged)
                ]
                end = (ends[0].seq, ends[0].at) if ends else (None, None)
                found.append((name, user, roles[-1], joins[-1].seq, joins[-1].at, *end))
    return found


def read_receipts(log: Sequence[Recorded]) -> Rows:
    return [
        (name, row.user_id, row.message_id, row.at)
        for name in rooms_of(log)
        for row in read_models.receipts_of(log, name)
    ]


def rooms(log: Sequence[Recorded]) -> Rows:
    found: Rows = []
    for name in rooms_of(log):
        own = [r for r in log if r.stream == room_stream(name)]
        names = [r.event.name for r in own if isinstance(r.event, log_of.RoomOpened | log_of.RoomRenamed)]
        opened = own[0].event
        assert isinstance(opened, log_of.RoomOpened)
        posts = [r for r in own if isinstance(r.event, MessagePosted)]
        last = (posts[-1].seq, posts[-1].at) if posts else (None, None)
        members = sum(row[0] == name and row[5] is None for row in memberships(log))
        settings = (name, names[-1], opened.visibility, own[0].at, own[0].by)
        found.append((*settings, own[-1].seq, *last, len(posts), members))
    return found


def rooms_of(log: Sequence[Recorded]) -> list[str]:
    return sorted({room_of(r.stream) for r in log if r.stream.startswith(room_stream(""))})
