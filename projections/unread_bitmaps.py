"""Which messages stand in each room, a bit each, so that unread ones are counted without a look at the messages.

A row is about a block of a room's numbers. `said` has a bit for each number that is a message and is not deleted: in
the row of '' everybody's, in a person's row their own. `mentioned` has one for each message of others that mentions the
person. Unread is then everybody's bits after a number less one's own; a thousand messages cost a row.

The rule: a bit is set once, by the message, and cleared once, by its deletion, whatever the batch; and this table
alone is asked, so that a count is of one position.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from projections.engine.projection import Projection
from projections.engine.snapshot import Row, Snapshot
from projections.message_rows import key_of
from service.domain.events import MessageDeleted, MessagePosted, Recorded

if TYPE_CHECKING:
    import asyncpg

BLOCK = 1024
"""Numbers of a room in one row; the column's type has it too."""

EVERYBODY = ""
"""Stands in the place of a person, since no person is called that."""


class Unread(msgspec.Struct):
    """How many messages of others somebody has not read in a room, and how many of those mention them."""

    messages: int
    mentions: int


async def unread(
    now: Snapshot, tail: Sequence[Row], floors: Mapping[str, int], user: str
) -> dict[str, Unread]:
    """Count what others said in rooms after some number and did not delete.

    `floors` has the number for each room, `tail` is what some table lacks of these rooms.
    """
    asked = {"rooms": list(floors), "floors": list(floors.values()), "user": user}
    found = {
        row["room_id"]: Unread(row["messages"], row["mentions"]) for row in await now.fetch(_COUNTED, **asked)
    }
    news: dict[tuple[str, int], MessagePosted] = {}
    gone: list[tuple[str, int]] = []
    for recorded in now.lacking(list(tail), PROJECTION, sealed=(MessagePosted.TOPIC,)):
        key = key_of(recorded)
        if isinstance(recorded.event, MessagePosted):
            news[key] = recorded.event
        elif news.pop(key, None) is None:
            gone.append(key)
    for (room, number), event in news.items():
        if number > floors[room] and event.author != user:
            found[room].messages += 1
            found[room].mentions += user in event.mentions
    await _take_off(now, found, [key for key in gone if key[1] > floors[key[0]]], user)
    return found


async def _take_off(
    now: Snapshot, found: Mapping[str, Unread], gone: list[tuple[str, int]], user: str
) -> None:
    """Take off what the table has counted and the tail says is deleted."""
    if not gone:
        return
    rooms, numbers = zip(*gone, strict=True)
    for row in await now.fetch(_GONE, rooms=list(rooms), numbers=list(numbers), user=user):
        found[row["room_id"]].messages -= row["messages"]
        found[row["room_id"]].mentions -= row["mentions"]


async def apply(connection: "asyncpg.Connection[Any]", table: str, batch: Sequence[Recorded]) -> None:
    """See `projections.engine.projection.Apply`.

    No message is deleted before it was said, so deletions may come last.
    """
    if said := [bit for recorded in batch for bit in _bits(recorded)]:
        await connection.execute(_SET.format(table=table), *map(list, zip(*said, strict=True)))
    if gone := [key_of(recorded) for recorded in batch if isinstance(recorded.event, MessageDeleted)]:
        await connection.execute(_CLEAR.format(table=table), *map(list, zip(*gone, strict=True)))


def _bits(recorded: Recorded) -> Iterator[tuple[str, str, int, bool]]:
    """Return room, person, number, and whether the person is mentioned, for each bit that a message sets."""
    if isinstance(event := recorded.event, MessagePosted):
        room, number = key_of(recorded)
        yield room, EVERYBODY, number, False
        yield room, event.author, number, False
        for user in event.mentions:
            if user != event.author:
                yield room, user, number, True


PROJECTION = Projection(
    name="tallies",
    version=1,
    topics=(MessagePosted.TOPIC, MessageDeleted.TOPIC),
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
_CLEAR = f"""
    UPDATE {{table}} known SET said = known.said & ~gone.bits, mentioned = known.mentioned & ~gone.bits
    FROM (SELECT room_id, id / {BLOCK} AS block, {_BIT} AS bits
        FROM unnest($1::text[], $2::bigint[]) AS deleted (room_id, id) GROUP BY 1, 2) gone
    WHERE known.room_id = gone.room_id AND known.block = gone.block
        AND (bit_count(known.said & gone.bits) > 0 OR bit_count(known.mentioned & gone.bits) > 0)
"""  # noqa: S608 - constants
_SIGN = "CASE WHEN t.user_id = '' THEN 1 ELSE -1 END"
_AFTER = f"FROM CAST(greatest(mine.floor + 1 - t.block * {BLOCK}, 0) AS integer) + 1"
_COUNTED = f"""
    SELECT mine.room_id, counted.messages, counted.mentions
    FROM unnest(CAST(:rooms AS text[]), CAST(:floors AS bigint[])) AS mine (room_id, floor)
        CROSS JOIN LATERAL (
            SELECT CAST(coalesce(sum(bit_count(substring(t.said {_AFTER})) * {_SIGN}), 0) AS bigint) AS messages,
                CAST(coalesce(sum(bit_count(substring(t.mentioned {_AFTER}))), 0) AS bigint) AS mentions
            FROM {PROJECTION.relation} t
            WHERE t.room_id = mine.room_id AND t.user_id IN ('', :user) AND t.block >= mine.floor / {BLOCK}) counted
"""  # noqa: S608 - constants
_NUMBER = f"CAST(gone.id % {BLOCK} AS integer)"
_GONE = f"""
    SELECT gone.room_id, coalesce(sum(get_bit(t.said, {_NUMBER}) * {_SIGN}), 0) AS messages,
        coalesce(sum(get_bit(t.mentioned, {_NUMBER})), 0) AS mentions
    FROM unnest(CAST(:rooms AS text[]), CAST(:numbers AS bigint[])) AS gone (room_id, id)
        JOIN {PROJECTION.relation} t
            ON t.room_id = gone.room_id AND t.user_id IN ('', :user) AND t.block = gone.id / {BLOCK}
    GROUP BY 1
"""  # noqa: S608 - constants
