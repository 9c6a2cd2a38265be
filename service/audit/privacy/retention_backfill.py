"""Retention that reaches back, to what was said in a room before it had a rule.

Those words are sealed with the key that each person has for everything, and stored bytes never change. So every word
under such a key is carried over to another: what was said in rooms with a rule to keys for its day, all else to a new
key for everything. Then the old one is destroyed, on the record (`KeyReplaced`), and days go one by one as all others.

Invariant: a key is destroyed only where all under it is carried over, and never where a legal hold protects words of
that person, in this room or elsewhere. The database verifies both (`find_carried`, `replace_key`): it believes no
position and no person that a caller names. A pass that is broken off begins again, and checks what is carried over
already; of two passes at once, both do the same work and the first completes it.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag

from service.domain.events import MessageEdited, MessagePosted
from service.domain.retention import earlier, over_until
from service.domain.streams import room_of, room_stream, stream_id
from service.errors import AccountErased
from service.eventstore.serializer import NOT_DECODED, EventSerializer
from service.runtime.database_retry import retry_read

SPAN = 20_000
"""Positions, or numbers of a room, looked through at a time."""

CHECKED = 10 * SPAN
"""Positions that the database verifies at a time: whether all in them is carried over."""

PAGE = 100
"""Events carried over at a time: few milliseconds of a node's time, so that a chat beside it is not kept waiting."""

NEXT = "~next"
"""The scope of a key that is to take the place of a person's key for everything; no room is called so."""

log = logging.getLogger("onrecord.retention")

_SAID = [MessagePosted.TOPIC, MessageEdited.TOPIC]


class RetentionRule(msgspec.Struct, frozen=True):
    """For how many days a room keeps what is said, as of the database's time `now`."""

    room: str
    days: int
    now: datetime

    @property
    def id(self) -> UUID:
        """The room's stream."""
        return stream_id(room_stream(self.room))

    @property
    def until(self) -> date:
        """The last day that is over."""
        return over_until(self.now, self.days)


async def backfill(
    database: Any, serializer: EventSerializer, rules: Sequence[RetentionRule], *, by: str, deadline: float
) -> list[str]:
    """Let all rules reach back, where something is over that they do not reach; return whose keys were replaced.

    Raises:
        Unavailable: the database cannot be reached; asking again goes on with what is left.
    """
    work = _Backfill(database, serializer, frozenset(rule.room for rule in rules), by, deadline)
    heads = {rule.room: await work.head(rule) for rule in rules}
    due = [rule for rule in rules if await work.is_due(rule, heads[rule.room])]
    found = {rule.room: await work.keys_in(rule, heads[rule.room]) for rule in due}
    keys = {key for of_room in found.values() for key, held in of_room.items() if not held}
    people = await work.replace(sorted(keys)) if keys else []
    for rule in due:
        if work.damaged & found[rule.room].keys():
            continue
        if any(found[rule.room].values()):
            log.warning("content_held", extra={"room": rule.room, "until": rule.until.isoformat()})
        else:
            await work.remember(rule, heads[rule.room])
    return people


class _Backfill:
    """One pass: `rooms` are those with a rule, `damaged` the keys that sealed something that cannot be opened.

    Those are never destroyed: the fault may be in the key encryption key that was given.
    """

    def __init__(
        self, database: Any, serializer: EventSerializer, rooms: frozenset[str], by: str, deadline: float
    ) -> None:
        self._database = database
        self._serializer = serializer
        self._rooms = rooms
        self.damaged: set[UUID] = set()
        self._by = by
        self._deadline = deadline

    async def head(self, rule: RetentionRule) -> int:
        """Return the last number of a room."""
        return int((await self._fetch(_HEAD, rule.id))[0]["seq"])

    async def is_due(self, rule: RetentionRule, head: int) -> bool:
        """Return whether the first words that a rule does not reach are over."""
        after = await self._reached(rule)
        while after < head:
            upto = min(after + SPAN, head)
            if first := await self._fetch(_FIRST, rule.id, after, upto, _SAID):
                return _day(first[0]["recorded_at"]) <= rule.until
            await self.remember(rule, upto)
            after = upto
        return False

    async def keys_in(self, rule: RetentionRule, head: int) -> dict[UUID, bool]:
        """Return the keys for everything that were used in a room, and whether a legal hold is on each."""
        found: dict[UUID, bool] = {}
        for after in range(await self._reached(rule), head, SPAN):
            rows = await self._fetch(_KEYS, rule.id, after, min(after + SPAN, head), _SAID)
            found |= {row["key_id"]: row["held"] for row in rows}
        return found

    async def replace(self, keys: list[UUID]) -> list[str]:
        """Carry over what is under some keys, and destroy them; return whose they were, of those destroyed here."""
        after, people = 0, []
        while keys:
            upto = int((await self._fetch(_LAST))[0]["position"])
            await self._carry(keys, after, upto)
            ready = await self._verified([key for key in keys if key not in self.damaged], after, upto)
            outcomes = {key: await self._retire(key) for key in ready}
            people += [person for outcome, person in outcomes.values() if outcome == "replaced"]
            keys, after = [key for key, (outcome, _) in outcomes.items() if outcome == "more"], upto
        return people

    async def remember(self, rule: RetentionRule, seq: int) -> None:
        """Say that a rule reaches all up to a number of its room, as far as the database finds that it does."""
        await self._fetch(_REMEMBER, rule.room, seq)

    async def _verified(self, keys: list[UUID], after: int, upto: int) -> list[UUID]:
        """Return the keys under which the database finds nothing up to a position that is not carried over."""
        found: dict[UUID, int] = {}
        while keys and after < upto:
            after = min(after + CHECKED, upto)
            rows = await self._fetch(_FIND, keys, after)
            found |= {row["key_id"]: row["position"] for row in rows}
        for key in [key for key in keys if found.get(key, upto) < upto]:
            log.warning("words_not_carried", extra={"key": str(key), "position": found.pop(key) + 1})
        return [key for key in keys if found.get(key, 0) >= upto]

    async def _carry(self, keys: list[UUID], after: int, upto: int) -> None:
        while after < upto:
            span = min(after + SPAN, upto)
            rows = await self._fetch(_UNDER, keys, after, span, PAGE)
            carried = [one for row in rows if (one := await self._carried(row)) is not None]
            if carried:
                await self._fetch(_CARRY, *(list(column) for column in zip(*carried, strict=True)))
            after = rows[-1]["position"] if len(rows) == PAGE else span
            await asyncio.sleep(0)

    async def _carried(self, row: Any) -> tuple[int, UUID, str] | None:
        """Return the words of an event under another key; None where they are so already, erased since, or damaged."""
        try:
            key = await self._serializer.keys.of_person(row["person"], self._database, self._scope(row))
        except AccountErased:
            return None
        except InvalidTag:
            self.damaged.add(row["key_id"])  # nothing can be carried to it, so the old one stays
            return None
        try:
            before = msgspec.json.decode(row["pending"]).get(str(key.key_id))
            if before is not None and self._serializer.are_same(row, key, before):
                return None
            words = self._serializer.carried(row, key)
        except (InvalidTag, *NOT_DECODED):
            advice = "its key is left as it is; run `onrecord audit verify`"
            log.error("words_damaged", extra={"position": row["position"], "advice": advice})  # noqa: TRY400 - no fault of the code
            self.damaged.add(row["key_id"])
            return None
        return row["position"], key.key_id, msgspec.json.encode(words).decode()

    def _scope(self, row: Any) -> str:
        if row["topic"] in _SAID and (room := room_of(row["stream"])) in self._rooms:
            return earlier(room, _day(row["recorded_at"]))
        return NEXT

    async def _retire(self, key: UUID) -> tuple[str, str]:
        person = (await self._fetch(_WHOSE, key))[0]["person"]
        try:
            await self._serializer.keys.of_person(
                person, self._database, NEXT
            )  # also where nothing went to it
        except AccountErased:
            return "gone", person
        except InvalidTag:
            self.damaged.add(key)
            return "damaged", person
        rows = await self._fetch(_REPLACE, key, self._by)
        self._serializer.keys.forget(person)
        return rows[0]["outcome"], person

    async def _reached(self, rule: RetentionRule) -> int:
        rows = await self._fetch(_REACHED, rule.id)
        return int(rows[0]["seq"]) if rows else 0

    async def _fetch(self, query: str, *arguments: object) -> list[Any]:
        return await retry_read(lambda: self._database.fetch(query, *arguments), self._deadline)


def _day(at: datetime) -> date:
    return at.astimezone(UTC).date()


_HEAD = "SELECT coalesce(max(originator_version), 0) AS seq FROM stored_events WHERE originator_id = $1"
_LAST = "SELECT coalesce(max(notification_id), 0) AS position FROM stored_events"
_WHOSE = "SELECT person FROM person_keys WHERE key_id = $1"
_REACHED = "SELECT seq FROM reached_back WHERE room_id = $1"
_REMEMBER = "SELECT reach_room($1, $2)"
_IN_ROOM = """
    FROM readable_events e JOIN open_keys k USING (key_id)
    WHERE e.originator_id = $1 AND e.originator_version > $2 AND e.originator_version <= $3
        AND e.topic = ANY ($4::text[]) AND k.scope = '' AND k.wrapped IS NOT NULL
"""
_FIRST = f"SELECT e.recorded_at {_IN_ROOM} ORDER BY e.originator_version LIMIT 1"
_KEYS = f"""
    SELECT key_id, held_against(person) IS NOT NULL AS held FROM (SELECT DISTINCT k.key_id, k.person {_IN_ROOM}) found
"""  # noqa: S608 - constants
_UNDER = """
    SELECT e.notification_id AS position, e.stream, e.topic, e.recorded_at, e.recorded_by, e.state, e.key_id, k.person,
        k.wrapped, coalesce((
            SELECT jsonb_object_agg(c.key_id, c.sealed) FROM carried_words c WHERE c.position = e.notification_id
        ), '{}') AS pending
    FROM readable_events e JOIN open_keys k USING (key_id)
    WHERE e.notification_id > $2 AND e.notification_id <= $3 AND e.key_id = ANY ($1::uuid[]) AND k.wrapped IS NOT NULL
    ORDER BY e.notification_id LIMIT $4
"""
_CARRY = "SELECT carry_words($1::bigint[], $2::uuid[], $3::jsonb[])"
_FIND = "SELECT * FROM find_carried($1::uuid[], $2)"
_REPLACE = "SELECT * FROM replace_key($1, $2)"
