"""Finds people who have signed in, by the beginning of the user id or of a word of the display name.

A row is a text under which a person is found (`service.domain.content.search_keys`): place 0 has the user id, the
places from 1 on the display name from each of its words on. A query is a range of the index on these texts, so it costs
the same however many people there are.

An erasure deletes the rows of its person. Queries skip erased people whatever the rows are: the projector may not have
reached the erasure, and a session that is recorded after it makes a row with the user id again.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from databases import Database

from projections import memberships
from projections.engine.projection import Projection
from projections.engine.snapshot import Snapshot, snapshot
from service.domain.content.names import clean_name
from service.domain.content.search_keys import MAX_WORDS, folded, keys_of_name
from service.domain.events import PersonErased, PersonNamed, Recorded, SessionOpened
from service.domain.streams import user_of
from service.eventstore.serializer import EventSerializer

if TYPE_CHECKING:
    import asyncpg

CANDIDATES = 100
"""People whose names match that are checked for a room in common with the user."""

ROOMS = 500
"""Rooms of a candidate that are looked up for the user; a candidate in more rooms may be missed."""

GREATEST = "\U0010ffff"
"""The greatest code point: a text followed by it comes after all texts that begin with the text."""


class Found(msgspec.Struct, frozen=True):
    """User ids, the best match first, and whether more people match."""

    users: list[str]
    has_more: bool


async def find(
    database: Database, serializer: EventSerializer, query: str, user: str, *, shared: bool, limit: int
) -> Found:
    """Return at most `limit` people whose user id, or a word of whose name, begins with a query.

    The person whose user id is the query comes first, then all by the text that matches. With `shared` only people are
    found who are in a room with `user`, as far as the memberships are projected, and only among the first `CANDIDATES`.

    Raises:
        ProjectionBehind: a table is too far behind the log.
    """
    begins = folded(query)
    if not begins:
        return Found([], has_more=False)
    used = (PROJECTION, memberships.PROJECTION) if shared else (PROJECTION,)
    most = CANDIDATES if shared else limit + 1
    async with snapshot(database, serializer, *used) as now:
        matches = await _matches(now, begins, query, most * (MAX_WORDS + 1))
        users = list(dict.fromkeys(name for _, name in sorted(matches)))
        users = sorted(users, key=lambda name: name != query)[:most]
        of_user = {"user": user} if shared else {}
        rows = await now.fetch(_SHARING if shared else _NOT_ERASED, users=users, **of_user)
    allowed = {row["user_id"] for row in rows}
    users = [name for name in users if name in allowed]
    return Found(users[:limit], has_more=len(users) > limit)


async def _matches(now: Snapshot, begins: str, query: str, most: int) -> set[tuple[str, str]]:
    """Return matching texts, each with its user: `most` in order at most, and that of the user id `query`."""
    rows = await now.fetch(_FIND, begins=begins, ends=begins + GREATEST, exact=query, most=most)
    tail = await now.tail("e.topic = ANY (CAST(:topics AS text[]))", topics=list(PROJECTION.topics))
    changes, erased = _changes(now.lacking(tail, PROJECTION, sealed=(SessionOpened.TOPIC,)))
    replaced = erased | {user for user, names in changes.items() if names is not None}
    newer = {(text, user) for user, names in changes.items() for _, text in _entries(user, names)}
    return {
        *((row["entry"], row["user_id"]) for row in rows if row["user_id"] not in replaced),
        *((text, user) for text, user in newer if text.startswith(begins)),
        *((begins, user) for _, user in newer if user == query),
    }


def _changes(events: Iterable[Recorded]) -> tuple[dict[str, list[str] | None], set[str]]:
    """Return people with the texts of their newest display name, None if it did not change, and the erased people.

    A person may be in both, if a session was recorded after the erasure.
    """
    changes: dict[str, list[str] | None] = {}
    erased: set[str] = set()
    for recorded in events:
        match recorded.event:
            case PersonNamed(user=user, name=name):
                changes[user] = keys_of_name(clean_name(name or "") or "")
            case SessionOpened():
                changes.setdefault(user_of(recorded.stream))
            case PersonErased(user=user):
                changes.pop(user, None)
                erased.add(user)
            case _:
                pass
    return changes, erased


def _entries(user: str, names: Sequence[str] | None) -> list[tuple[int, str]]:
    return [(0, folded(user)), *enumerate(names or (), 1)]


async def apply(connection: "asyncpg.Connection[Any]", table: str, batch: Sequence[Recorded]) -> None:
    """See `projections.engine.projection.Apply`."""
    changes, erased = _changes(batch)
    renamed = [user for user, names in changes.items() if names is not None]
    if renamed or erased:
        await connection.execute(_REMOVE.format(table=table), renamed, list(erased))
    rows = [(user, place, text) for user, names in changes.items() for place, text in _entries(user, names)]
    if rows:
        await connection.execute(_ADD.format(table=table), *map(list, zip(*rows, strict=True)))


PROJECTION = Projection(
    name="people",
    version=1,
    topics=(PersonNamed.TOPIC, SessionOpened.TOPIC, PersonErased.TOPIC),
    key=("user_id", "place"),
    apply=apply,
)
_REMOVE = """
    DELETE FROM {table} WHERE user_id = ANY ($1::text[]) AND place > 0 OR user_id = ANY ($2::text[])
"""
_ADD = """
    INSERT INTO {table} (user_id, place, entry) SELECT * FROM unnest($1::text[], $2::smallint[], $3::text[])
    ON CONFLICT (user_id, place) DO NOTHING
"""
_FIND = f"""
    (SELECT entry, user_id FROM {PROJECTION.relation} WHERE entry >= :begins AND entry < :ends
    ORDER BY entry, user_id LIMIT :most)
    UNION ALL
    SELECT entry, user_id FROM {PROJECTION.relation} WHERE user_id = :exact AND place = 0
"""  # noqa: S608 - constants
# The limits keep the planner from joining: it looks up each user by index, and reads no other rows.
_NOT_ERASED = """
    SELECT wanted.user_id FROM unnest(CAST(:users AS text[])) AS wanted (user_id)
    WHERE (SELECT true FROM open_keys k
        WHERE k.person = wanted.user_id AND k.scope = '' AND k.wrapped IS NULL LIMIT 1) IS NULL
"""
# The planner may not know how many rooms the user is in. The order and the row comparison leave it only the primary
# key, so it looks up the user in each room of a candidate and never reads the user's own rooms.
_SHARING = f"""{_NOT_ERASED}
        AND (wanted.user_id = :user OR (
            SELECT true FROM (
                SELECT room_id FROM {memberships.PROJECTION.relation}
                WHERE user_id = wanted.user_id AND joined_seq IS NOT NULL AND left_seq IS NULL
                LIMIT {ROOMS}) theirs
            WHERE (SELECT own.room_id = theirs.room_id AND own.user_id = :user
                    AND own.joined_seq IS NOT NULL AND own.left_seq IS NULL
                FROM {memberships.PROJECTION.relation} own
                WHERE (own.room_id, own.user_id) >= (theirs.room_id, :user)
                ORDER BY own.room_id, own.user_id LIMIT 1)
            LIMIT 1))
"""  # noqa: S608 - constants
