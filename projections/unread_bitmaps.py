"""Bitmaps of each room's messages, so that unread messages are counted without reading them.

A row covers a block of a room's numbers for one user, or for all users together (the user ''). The column `said` has a
bit for each undeleted message of that user, or of all users. The column `mentioned` has a bit for each undeleted
message of others that mentions the user, unless the user had blocked its author. Messages of erased users, and those
whose retention is over, have no bit. The unread count after a number is the count of bits of all users, minus the count
of the user's own.

Invariant: a message sets each of its bits once, and its deletion clears them once, however events are batched. A count
reads only this table, so all its parts are as of one position.

A deletion costs what its message costs, however many users a block has: the post in the log says which rows have a bit
of it. Only if the post is damaged are all rows of its block read. An erasure reads no message: the row of the author
says which bits to clear. An expiry scans the part of its room's log that still has bits, and clears those of messages
whose newest content before it was under a key that it destroyed. A later edit does not set them again, so the rows
depend on the order of events alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from projections.engine.projection import Projection
from projections.engine.snapshot import Row, Snapshot
from projections.message_rows import Key, key_of
from service.domain.events import (
    ContentExpired,
    MessageDeleted,
    MessageEdited,
    MessagePosted,
    PersonErased,
    Recorded,
)
from service.domain.streams import room_stream, stream_id
from service.eventstore.serializer import DECODE_ERRORS

if TYPE_CHECKING:
    import asyncpg

BLOCK = 1024
"""Numbers of a room in one row; the type of the columns has the same length."""

UNREADABLE = (PersonErased.TOPIC, ContentExpired.TOPIC)
"""The stored names of the events that make content unreadable, which `unread` takes too."""

ALL_USERS = ""
"""Stands for all users; no user id is empty."""


class Unread(msgspec.Struct):
    """How many messages of others a user has not read in a room, and how many of these mention the user."""

    messages: int
    mentions: int


async def unread(
    now: Snapshot, tail: Sequence[Row], floors: Mapping[str, int], user: str
) -> dict[str, Unread]:
    """Count the undeleted messages of others after a number in each room, which `floors` gives.

    Messages that no one can read do not count. `tail` has those events of these rooms, and of the topics `UNREADABLE`,
    that some table lacks.
    """
    lacking = now.lacking(list(tail), PROJECTION, sealed=(MessagePosted.TOPIC,))
    erased = [each.event.user for each in lacking if isinstance(each.event, PersonErased)]
    by: dict[str, Any] = {"user": user, "erased": erased} if erased else {"user": user}
    query = _COUNTED_IN.format(rows=_KEPT) if erased else _COUNTED
    rows = await now.fetch(query, rooms=list(floors), floors=list(floors.values()), **by)
    found = {row["room_id"]: Unread(row["messages"], row["mentions"]) for row in rows}
    posted = {key_of(each): each.event for each in lacking if isinstance(each.event, MessagePosted)}
    removed = {key_of(each) for each in lacking if isinstance(each.event, MessageDeleted)}
    removed |= await _expired(now, lacking, floors)
    for (room, number), event in posted.items():
        if (room, number) in removed or number <= floors[room]:
            continue
        if event.author != user and event.author not in erased:
            found[room].messages += 1
            found[room].mentions += user in event.mentions and user not in event.silenced
    after = [key for key in removed - posted.keys() if key[1] > floors[key[0]]]
    await _subtract(now, found, after, by)
    return found


async def _expired(now: Snapshot, lacking: Sequence[Recorded], floors: Mapping[str, int]) -> set[Key]:
    """Return the messages after `floors` that the table counts, or lacks, and that the tail's expiries concern."""
    if not (expiries := [each for each in _expiries(lacking) if each[0] in floors]):
        return set()
    names = ("rooms", "streams", "days", "positions")
    columns = dict(zip(names, map(list, zip(*expiries, strict=True)), strict=True))
    firsts = [floors[room] + 1 for room in columns["rooms"]]
    applied = now.positions[PROJECTION.table]
    rows = await now.fetch(_EXPIRED_AFTER, **columns, firsts=firsts, applied=applied)
    return {(row["room_id"], row["id"]) for row in rows}


def _expiries(events: Sequence[Recorded]) -> list[tuple[str, UUID, date, int]]:
    """Return the room, its stream's id, the last day and the position of each expiry."""
    return [
        (event.room, stream_id(room_stream(event.room)), event.until, recorded.position)
        for recorded in events
        if isinstance(event := recorded.event, ContentExpired)
    ]


async def _subtract(
    now: Snapshot, found: Mapping[str, Unread], removed: list[Key], by: dict[str, Any]
) -> None:
    """Subtract those of `removed` that the table counts. `by` are parameters of the query."""
    if not removed:
        return
    rooms, numbers = zip(*removed, strict=True)
    query = _DELETED_IN.format(rows=_KEPT) if "erased" in by else _DELETED
    for row in await now.fetch(query, rooms=list(rooms), numbers=list(numbers), **by):
        found[row["room_id"]].messages -= row["messages"]
        found[row["room_id"]].mentions -= row["mentions"]


async def apply(connection: "asyncpg.Connection[Any]", table: str, batch: Sequence[Recorded]) -> None:
    """See `projections.engine.projection.Apply`.

    Messages are deleted after they were posted, and erased users post no more, so both may be applied last. An expiry
    concerns events before it alone, whatever else the batch has.
    """
    if bits := [bit for recorded in batch for bit in _bits(recorded)]:
        await connection.execute(_SET.format(table=table), *map(list, zip(*bits, strict=True)))
    if deleted := [key_of(recorded) for recorded in batch if isinstance(recorded.event, MessageDeleted)]:
        await _clear(connection, table, deleted)
    if erased := [recorded.event.user for recorded in batch if isinstance(recorded.event, PersonErased)]:
        await connection.execute(_CLEAR_AUTHORS.format(table=table), erased)
    if expiries := _expiries(batch):
        await connection.execute(_CLEAR_EXPIRED.format(table=table), *map(list, zip(*expiries, strict=True)))


class _Post(msgspec.Struct):
    """Whose rows have a bit of a message: the fields of the stored post that say it."""

    author: str
    mentions: tuple[str, ...] = ()


async def _clear(connection: "asyncpg.Connection[Any]", table: str, deleted: Sequence[Key]) -> None:
    """Clear the bits of deleted messages."""
    streams = [stream_id(room_stream(room)) for room, _ in deleted]
    posts = await connection.fetch(_POSTS, streams, [number for _, number in deleted], MessagePosted.TOPIC)
    bits: list[tuple[str, str, int]] = []
    damaged: list[Key] = []
    for (room, number), row in zip(deleted, posts, strict=True):
        try:
            post = msgspec.json.decode(row["state"] or b"", type=_Post)
        except DECODE_ERRORS:
            damaged.append((room, number))
        else:
            bits += [(room, user, number) for user in {ALL_USERS, post.author, *post.mentions}]
    if bits:
        await connection.execute(_CLEAR.format(table=table), *map(list, zip(*bits, strict=True)))
    if damaged:
        await connection.execute(_CLEAR_BLOCKS.format(table=table), *map(list, zip(*damaged, strict=True)))


def _bits(recorded: Recorded) -> Iterator[tuple[str, str, int, bool]]:
    """Yield room, user, number, and whether the user is mentioned, for each bit that a message sets."""
    if isinstance(event := recorded.event, MessagePosted):
        room, number = key_of(recorded)
        yield room, ALL_USERS, number, False
        yield room, event.author, number, False
        for user in event.mentions:
            if user != event.author and user not in event.silenced:
                yield room, user, number, True


PROJECTION = Projection(
    name="tallies",
    version=2,
    topics=(MessagePosted.TOPIC, MessageDeleted.TOPIC, *UNREADABLE),
    key=("room_id", "user_id", "block"),
    apply=apply,
)
_BIT = f"bit_or(set_bit(0::bit({BLOCK}), (id % {BLOCK})::integer, 1))"
_SET = f"""
    INSERT INTO {{table}} AS known (room_id, user_id, block, said, mentioned)
    SELECT room_id, user_id, id / {BLOCK}, {_BIT} FILTER (WHERE NOT mention), {_BIT} FILTER (WHERE mention)
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::boolean[]) AS new (room_id, user_id, id, mention)
    GROUP BY 1, 2, 3
    ON CONFLICT (room_id, user_id, block) DO UPDATE SET
        said = coalesce(known.said | excluded.said, known.said, excluded.said),
        mentioned = coalesce(known.mentioned | excluded.mentioned, known.mentioned, excluded.mentioned)
"""  # noqa: S608 - constants
_POSTS = """
    SELECT e.state FROM unnest($1::uuid[], $2::bigint[]) WITH ORDINALITY AS gone (stream, seq, place)
        LEFT JOIN stored_events e
            ON e.originator_id = gone.stream AND e.originator_version = gone.seq AND e.topic = $3
    ORDER BY gone.place
"""
_CLEAR = f"""
    UPDATE {{table}} known SET said = known.said & ~gone.bits, mentioned = known.mentioned & ~gone.bits
    FROM (SELECT room_id, user_id, id / {BLOCK} AS block, {_BIT} AS bits
        FROM unnest($1::text[], $2::text[], $3::bigint[]) AS deleted (room_id, user_id, id) GROUP BY 1, 2, 3) gone
    WHERE known.room_id = gone.room_id AND known.user_id = gone.user_id AND known.block = gone.block
        AND (bit_count(known.said & gone.bits) > 0 OR bit_count(known.mentioned & gone.bits) > 0)
"""  # noqa: S608 - constants
_CLEAR_BLOCKS = f"""
    UPDATE {{table}} known SET said = known.said & ~gone.bits, mentioned = known.mentioned & ~gone.bits
    FROM (SELECT room_id, id / {BLOCK} AS block, {_BIT} AS bits
        FROM unnest($1::text[], $2::bigint[]) AS deleted (room_id, id) GROUP BY 1, 2) gone
    WHERE known.room_id = gone.room_id AND known.block = gone.block
        AND (bit_count(known.said & gone.bits) > 0 OR bit_count(known.mentioned & gone.bits) > 0)
"""  # noqa: S608 - constants
_CLEAR_AUTHORS = """
    UPDATE {table} known SET said = known.said & ~gone.bits, mentioned = known.mentioned & ~gone.bits
    FROM (SELECT room_id, block, bit_or(said) AS bits FROM {table}
        WHERE user_id = ANY ($1::text[]) AND said IS NOT NULL GROUP BY 1, 2) gone
    WHERE known.room_id = gone.room_id AND known.block = gone.block
        AND (bit_count(known.said & gone.bits) > 0 OR bit_count(known.mentioned & gone.bits) > 0)
"""
# The messages `id` whose newest content before an expiry is under a key that it destroyed, if {table} has their bit or
# lacks the content, which is after the position {applied}. Content that was carried over is under several keys, and can
# be read while one of them exists.
_EXPIRED = f"""
    WITH destroyed AS MATERIALIZED (
        SELECT x.room_id, x.stream, x.position, x.first, k.key_id
        FROM {{expiries}} AS x (room_id, stream, last_day, position, first)
            JOIN open_keys k ON k.wrapped IS NULL AND k.scope COLLATE "C"
                BETWEEN x.room_id || '/' AND x.room_id || '/' || to_char(x.last_day, 'YYYY-MM-DD') || '~'),
    content AS (
        SELECT d.room_id, d.stream, d.position AS expired, e.notification_id, e.originator_version, e.topic, e.subject
        FROM destroyed d JOIN stored_events e
            ON e.originator_id = d.stream AND e.key_id = d.key_id AND e.originator_version >= d.first
        UNION ALL
        SELECT d.room_id, d.stream, d.position, e.notification_id, e.originator_version, e.topic, e.subject
        FROM destroyed d JOIN carried_words w ON w.key_id = d.key_id
            JOIN stored_events e
            ON e.notification_id = w.position AND e.originator_id = d.stream AND e.originator_version >= d.first)
    SELECT DISTINCT c.room_id, c.id
    FROM (
        SELECT *, CAST(left(substring(subject FROM '^message:([0-9]+)$'), 18) AS bigint) AS id FROM content
        WHERE topic IN ('{MessagePosted.TOPIC}', '{MessageEdited.TOPIC}') AND notification_id < expired) c
        LEFT JOIN {{table}} t ON t.room_id = c.room_id AND t.user_id = '' AND t.block = c.id / {BLOCK}
    WHERE (c.notification_id > {{applied}} OR get_bit(t.said, CAST(c.id % {BLOCK} AS integer)) = 1)
        AND NOT EXISTS (
            SELECT FROM stored_events e
            WHERE e.originator_id = c.stream AND e.subject = c.subject AND e.topic = '{MessageEdited.TOPIC}'
                AND e.originator_version > c.originator_version AND e.notification_id < c.expired)
        AND NOT EXISTS (
            SELECT FROM readable_events e JOIN open_keys k USING (key_id)
            WHERE e.notification_id = c.notification_id AND k.wrapped IS NOT NULL)
"""  # noqa: S608 - constants
# A room's log is scanned from the first block with a bit.
_FROM_FIRST_BIT = f"""(
            SELECT g.*, {BLOCK} * (SELECT min(t.block) FROM {{table}} t
                WHERE t.room_id = g.room_id AND t.user_id = '' AND bit_count(t.said) > 0)
            FROM unnest($1::text[], $2::uuid[], $3::date[], $4::bigint[]) AS g (room_id, stream, last_day, position))"""  # noqa: S608 - constants
_EXPIRED_BITS = _EXPIRED.format(table="{table}", expiries=_FROM_FIRST_BIT, applied=2**63 - 1)
_CLEAR_EXPIRED = f"""
    UPDATE {{table}} known SET said = known.said & ~gone.bits, mentioned = known.mentioned & ~gone.bits
    FROM (SELECT room_id, id / {BLOCK} AS block, {_BIT} AS bits
        FROM ({_EXPIRED_BITS}) expired GROUP BY 1, 2) gone
    WHERE known.room_id = gone.room_id AND known.block = gone.block
        AND (bit_count(known.said & gone.bits) > 0 OR bit_count(known.mentioned & gone.bits) > 0)
"""  # noqa: S608 - constants
_SIGN = "CASE WHEN t.user_id = '' THEN 1 ELSE -1 END"
_AFTER = f"FROM CAST(greatest(mine.floor + 1 - t.block * {BLOCK}, 0) AS integer) + 1"
# The rows without the messages of the users in `erased`, whose erasures the table lacks.
_KEPT = f"""(
    SELECT r.room_id, r.user_id, r.block, r.said & kept.bits AS said, r.mentioned & kept.bits AS mentioned
    FROM {PROJECTION.relation} r CROSS JOIN LATERAL (
        SELECT ~coalesce(bit_or(a.said), CAST(0 AS bit({BLOCK}))) AS bits FROM {PROJECTION.relation} a
        WHERE a.room_id = r.room_id AND a.block = r.block AND a.user_id = ANY (CAST(:erased AS text[]))) kept)"""  # noqa: S608 - constants
_COUNTED_IN = f"""
    SELECT mine.room_id, counted.messages, counted.mentions
    FROM unnest(CAST(:rooms AS text[]), CAST(:floors AS bigint[])) AS mine (room_id, floor)
        CROSS JOIN LATERAL (
            SELECT CAST(coalesce(sum(bit_count(substring(t.said {_AFTER})) * {_SIGN}), 0) AS bigint) AS messages,
                CAST(coalesce(sum(bit_count(substring(t.mentioned {_AFTER}))), 0) AS bigint) AS mentions
            FROM {{rows}} t
            WHERE t.room_id = mine.room_id AND t.user_id IN ('', :user) AND t.block >= mine.floor / {BLOCK}) counted
"""  # noqa: S608 - constants
_COUNTED = _COUNTED_IN.format(rows=PROJECTION.relation)
_NUMBER = f"CAST(gone.id % {BLOCK} AS integer)"
_DELETED_IN = f"""
    SELECT gone.room_id, coalesce(sum(get_bit(t.said, {_NUMBER}) * {_SIGN}), 0) AS messages,
        coalesce(sum(get_bit(t.mentioned, {_NUMBER})), 0) AS mentions
    FROM unnest(CAST(:rooms AS text[]), CAST(:numbers AS bigint[])) AS gone (room_id, id)
        JOIN {{rows}} t
            ON t.room_id = gone.room_id AND t.user_id IN ('', :user) AND t.block = gone.id / {BLOCK}
    GROUP BY 1
"""  # noqa: S608 - constants
_DELETED = _DELETED_IN.format(rows=PROJECTION.relation)
_EXPIRED_AFTER = _EXPIRED.format(
    table=PROJECTION.relation,
    applied=":applied",
    expiries="""unnest(CAST(:rooms AS text[]), CAST(:streams AS uuid[]), CAST(:days AS date[]),
            CAST(:positions AS bigint[]), CAST(:firsts AS bigint[]))""",
)
