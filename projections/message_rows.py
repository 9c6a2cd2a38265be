"""Folds the events about a message into its row, and writes a batch of them.

Queries use the same fold to apply the log's tail to the rows, so that their answers and the later rows cannot differ.
Invariant: an event about a message that was never posted changes no row, and is logged (damage may cause one).
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from projections.engine.projection import Projection
from service.domain import events as kinds
from service.domain.events import Recorded
from service.domain.message import number_of, with_reaction, without_reaction
from service.domain.streams import room_of

if TYPE_CHECKING:
    import asyncpg

log = logging.getLogger("onrecord.project")

Key = tuple[str, int]
"""Room and number."""


class MessageRow(msgspec.Struct, frozen=True):
    """A message. `id` is its number in the room, `content` is None once deleted or erased, times are UTC.

    `reactions` maps each emoji to its users, both in order of arrival; `changed_seq` is the seq of the last event about
    the message.
    """

    room_id: str
    id: int
    user_id: str
    content: str | None
    created_at: datetime
    reply_to: int | None
    mentions: tuple[str, ...]
    changed_seq: int
    edited_at: datetime | None = None
    deleted_at: datetime | None = None
    reactions: dict[str, tuple[str, ...]] = {}
    pinned: bool = False


def key_of(recorded: Recorded) -> Key:
    """Return the key of the message that an event of `PROJECTION.topics` is about."""
    number = number_of(recorded)
    assert number is not None  # noqa: S101 - all of `topics` are about a message
    return room_of(recorded.stream), number


def _row_key(recorded: Recorded) -> Key | None:
    """Return the key of the message that an event is about, by its subject if it cannot be read."""
    kind, _, name = recorded.subject.partition(":")
    number = number_of(recorded) or (int(name) if kind == "message" and name.isdecimal() else None)
    return None if number is None else (room_of(recorded.stream), number)


def fold(rows: dict[Key, MessageRow], events: Iterable[Recorded]) -> dict[Key, MessageRow]:
    """Apply `events`, by position, to `rows`; return the same dictionary. An event about another message is ignored."""
    for recorded in events:
        key = key_of(recorded)
        if isinstance(recorded.event, kinds.MessagePosted):
            rows[key] = _posted(recorded, recorded.event)
        elif key in rows:
            rows[key] = msgspec.structs.replace(
                rows[key], changed_seq=recorded.seq, **_change(rows[key], recorded)
            )
    return rows


def _change(row: MessageRow, recorded: Recorded) -> dict[str, Any]:
    match recorded.event:
        case kinds.MessageEdited(content=content):
            return {"content": content, "edited_at": recorded.at}
        case kinds.MessageDeleted():
            return {"content": None, "deleted_at": recorded.at, "reactions": {}}
        case kinds.ReactionAdded(emoji=emoji):
            return {"reactions": with_reaction(row.reactions, emoji, recorded.by)}
        case kinds.ReactionRemoved(emoji=emoji):
            return {"reactions": without_reaction(row.reactions, emoji, recorded.by)}
        case event:
            return {"pinned": isinstance(event, kinds.MessagePinned)}


def _posted(recorded: Recorded, event: kinds.MessagePosted) -> MessageRow:
    return MessageRow(
        room_of(recorded.stream),
        recorded.seq,
        event.author,
        event.content,
        recorded.at,
        event.reply_to,
        event.mentions,
        recorded.seq,
    )


def row_of(record: Mapping[str, Any]) -> MessageRow:
    """Return the row of a record with the columns of `COLUMNS`."""
    fields = {name: record[name] for name in MessageRow.__struct_fields__}
    reactions = {each["emoji"]: tuple(each["users"]) for each in msgspec.json.decode(record["reactions"])}
    return MessageRow(**{**fields, "mentions": tuple(record["mentions"]), "reactions": reactions})


async def apply(connection: "asyncpg.Connection[Any]", table: str, batch: Sequence[Recorded]) -> None:
    """See `projections.engine.projection.Apply`."""
    keys = dict.fromkeys(map(key_of, batch))
    posted = {key_of(each): each.position for each in batch if isinstance(each.event, kinds.MessagePosted)}
    content = {key_of(each): each.position for each in batch if isinstance(each.event, _HAS_CONTENT)}
    rows = fold(await _load(connection, table, [key for key in keys if key not in posted]), batch)
    for room, number in keys.keys() - rows.keys():
        log.error("message_missing", extra={"room": room, "number": number, "table": table})
    if not rows:
        return
    columns = [
        [
            " ".join(row.mentions) if name == "mentions" else _json(row) if name == "reactions" else value
            for row in rows.values()
            for value in (getattr(row, name),)
        ]
        for name in MessageRow.__struct_fields__
    ]
    positions = [[of.get(key) for key in rows] for of in (posted, content)]
    await connection.execute(_SAVE.format(table=table), *columns, *positions)


async def _load(
    connection: "asyncpg.Connection[Any]", table: str, keys: Sequence[Key]
) -> dict[Key, MessageRow]:
    if not keys:
        return {}
    rooms, numbers = zip(*keys, strict=True)
    found = await connection.fetch(_LOAD.format(table=table), list(rooms), list(numbers))
    return {(row["room_id"], row["id"]): row_of(row) for row in found}


def _json(row: MessageRow) -> str:
    reactions = [{"emoji": emoji, "users": users} for emoji, users in row.reactions.items()]
    return msgspec.json.encode(reactions).decode()


_HAS_CONTENT = kinds.MessagePosted | kinds.MessageEdited
PROJECTION = Projection(
    name="messages",
    version=2,
    topics=tuple(
        cls.TOPIC
        for cls in (
            kinds.MessagePosted,
            kinds.MessageEdited,
            kinds.MessageDeleted,
            kinds.ReactionAdded,
            kinds.ReactionRemoved,
            kinds.MessagePinned,
            kinds.MessageUnpinned,
        )
    ),
    key=("room_id", "id"),
    apply=apply,
    row_key=_row_key,
    forget="UPDATE {table} SET content = NULL WHERE user_id = ANY ($1::text[]) AND content IS NOT NULL",
    expire="""
        UPDATE {table} m SET content = NULL FROM open_keys k
        WHERE m.room_id = ANY ($1::text[]) AND k.key_id = m.key_id AND k.wrapped IS NULL AND m.content IS NOT NULL
            AND NOT (starts_with(k.scope, '~') AND carried_words_live(m.position, m.id, m.key_id))
    """,
)
COLUMNS = """
    m.room_id, m.id, m.user_id, m.created_at, m.reply_to, m.mentions, m.changed_seq, m.edited_at, m.deleted_at,
    m.reactions, m.pinned, CASE WHEN m.key_id IS NULL OR k.wrapped IS NOT NULL THEN m.content
        WHEN starts_with(k.scope, '~') AND carried_words_live(m.position, m.id, m.key_id) THEN m.content END AS content
"""
"""The columns of a `MessageRow`, of `messages_v2 m LEFT JOIN open_keys k ON k.key_id = m.key_id`."""
_LOAD = """
    SELECT m.* FROM unnest($1::text[], $2::bigint[]) AS wanted (room_id, id) JOIN {table} m USING (room_id, id)
"""
# The arrays in a PostgreSQL array must have one length, so mentions are sent as one text: user ids contain no space.
# The id of the key that encrypts the content is a column of the log. `content_position` is the position of the event
# with the content, null if that was in an earlier batch; `position` is the position of the post.
_SAVE = """
    INSERT INTO {table} AS m (room_id, id, user_id, content, created_at, reply_to, mentions, changed_seq, edited_at,
        deleted_at, reactions, pinned, position, key_id)
    SELECT n.room_id, n.id, n.user_id, n.content, n.created_at, n.reply_to, string_to_array(n.mentions, ' '),
        n.changed_seq, n.edited_at, n.deleted_at, n.reactions, n.pinned, coalesce(n.position, 0), e.key_id
    FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::timestamptz[], $6::bigint[], $7::text[],
            $8::bigint[], $9::timestamptz[], $10::timestamptz[], $11::jsonb[], $12::boolean[], $13::bigint[],
            $14::bigint[])
        AS n (room_id, id, user_id, content, created_at, reply_to, mentions, changed_seq, edited_at, deleted_at,
            reactions, pinned, position, content_position)
        LEFT JOIN stored_events e ON e.notification_id = n.content_position
    ON CONFLICT (room_id, id) DO UPDATE SET content = excluded.content,
        key_id = coalesce(excluded.key_id, m.key_id), changed_seq = excluded.changed_seq,
        edited_at = excluded.edited_at, deleted_at = excluded.deleted_at, reactions = excluded.reactions,
        pinned = excluded.pinned
"""
