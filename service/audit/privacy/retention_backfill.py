"""Applies retention to messages written before their room had a rule.

Such texts are encrypted with the person's general key, and stored bytes never change. Every text under that key is
therefore re-encrypted ("carried"): in rooms with a rule with the key of its day, elsewhere with a new general key. Then
the old key is destroyed, which is recorded (`KeyReplaced`), and the keys of the days expire like all others.

Invariant: a key is destroyed only if every text under it is carried, and never if a legal hold protects a text of that
person, in this room or another. The database verifies both (`find_carried`, `replace_key`) and trusts no position or
person that a caller passes. An interrupted pass starts again and verifies the texts that are carried already. Of two
concurrent passes the first to finish replaces the key.
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
from service.domain.retention import earlier, last_expired_day
from service.domain.streams import room_of, room_stream, stream_id
from service.errors import AccountErased
from service.eventstore.serializer import DECODE_ERRORS, EventSerializer
from service.runtime.database_retry import retry_read

SPAN = 20_000
"""Positions, or seqs of a room, scanned per query."""

CHECKED = 10 * SPAN
"""Positions that the database verifies per query."""

PAGE = 100
"""Events re-encrypted per batch: a few milliseconds of work, so that chat on the same node is not delayed."""

NEXT = "~next"
"""The scope of the key that will replace a person's general key; no room has this id."""

log = logging.getLogger("onrecord.retention")

_EXPIRING = [MessagePosted.TOPIC, MessageEdited.TOPIC]


class RetentionRule(msgspec.Struct, frozen=True):
    """The number of days for which a room keeps messages, as of the database's time `now`."""

    room: str
    days: int
    now: datetime

    @property
    def id(self) -> UUID:
        """The room's stream."""
        return stream_id(room_stream(self.room))

    @property
    def until(self) -> date:
        """The last expired day."""
        return last_expired_day(self.now, self.days)


async def backfill(
    database: Any, serializer: EventSerializer, rules: Sequence[RetentionRule], *, by: str, deadline: float
) -> list[str]:
    """Apply rules to earlier messages, in rooms where some of those expire; return the people with replaced keys.

    Raises:
        Unavailable: the database cannot be reached; a retry continues the work.
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
    """One pass: `rooms` have a rule, `damaged` are the keys of texts that cannot be decrypted.

    Damaged keys are never destroyed, because the cause may be a wrong key encryption key.
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
        """Return the last seq of a room."""
        return int((await self._fetch(_HEAD, rule.id))[0]["seq"])

    async def is_due(self, rule: RetentionRule, head: int) -> bool:
        """Return whether the first message not yet covered by a rule has expired."""
        after = await self._covered(rule)
        while after < head:
            upto = min(after + SPAN, head)
            if first := await self._fetch(_FIRST, rule.id, after, upto, _EXPIRING):
                return _day(first[0]["recorded_at"]) <= rule.until
            await self.remember(rule, upto)
            after = upto
        return False

    async def keys_in(self, rule: RetentionRule, head: int) -> dict[UUID, bool]:
        """Return the general keys used in a room, and whether a legal hold protects each."""
        found: dict[UUID, bool] = {}
        for after in range(await self._covered(rule), head, SPAN):
            rows = await self._fetch(_KEYS, rule.id, after, min(after + SPAN, head), _EXPIRING)
            found |= {row["key_id"]: row["held"] for row in rows}
        return found

    async def replace(self, keys: list[UUID]) -> list[str]:
        """Carry the texts under keys and destroy the keys; return the people whose keys this call destroyed."""
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
        """Record that a rule covers its room up to a seq, as far as the database confirms it."""
        await self._fetch(_REMEMBER, rule.room, seq)

    async def _verified(self, keys: list[UUID], after: int, upto: int) -> list[UUID]:
        """Return the keys of which the database confirms that all texts up to a position are carried."""
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
            carried = [text for row in rows if (text := await self._carried(row)) is not None]
            if carried:
                await self._fetch(_CARRY, *(list(column) for column in zip(*carried, strict=True)))
            after = rows[-1]["position"] if len(rows) == PAGE else span
            await asyncio.sleep(0)

    async def _carried(self, row: Any) -> tuple[int, UUID, str] | None:
        """Return the re-encrypted texts of an event; None if they are carried already, erased, or damaged."""
        try:
            key = await self._serializer.keys.of_person(row["person"], self._database, self._scope(row))
        except AccountErased:
            return None
        except InvalidTag:
            self.damaged.add(row["key_id"])  # nothing can be encrypted with it, so the old key stays
            return None
        try:
            before = msgspec.json.decode(row["pending"]).get(str(key.key_id))
            if before is not None and self._serializer.is_carried(row, key, before):
                return None
            words = self._serializer.carried(row, key)
        except (InvalidTag, *DECODE_ERRORS):
            advice = "its key is kept; run `onrecord audit verify`"
            log.error("words_damaged", extra={"position": row["position"], "advice": advice})  # noqa: TRY400 - no fault of the code
            self.damaged.add(row["key_id"])
            return None
        return row["position"], key.key_id, msgspec.json.encode(words).decode()

    def _scope(self, row: Any) -> str:
        if row["topic"] in _EXPIRING and (room := room_of(row["stream"])) in self._rooms:
            return earlier(room, _day(row["recorded_at"]))
        return NEXT

    async def _retire(self, key: UUID) -> tuple[str, str]:
        person = (await self._fetch(_WHOSE, key))[0]["person"]
        try:
            # Also creates the new key if no text was carried to it.
            await self._serializer.keys.of_person(person, self._database, NEXT)
        except AccountErased:
            return "gone", person
        except InvalidTag:
            self.damaged.add(key)
            return "damaged", person
        rows = await self._fetch(_REPLACE, key, self._by)
        self._serializer.keys.forget(person)
        return rows[0]["outcome"], person

    async def _covered(self, rule: RetentionRule) -> int:
        rows = await self._fetch(_COVERED, rule.id)
        return int(rows[0]["seq"]) if rows else 0

    async def _fetch(self, query: str, *arguments: object) -> list[Any]:
        return await retry_read(lambda: self._database.fetch(query, *arguments), self._deadline)


def _day(at: datetime) -> date:
    return at.astimezone(UTC).date()


_HEAD = "SELECT coalesce(max(originator_version), 0) AS seq FROM stored_events WHERE originator_id = $1"
_LAST = "SELECT coalesce(max(notification_id), 0) AS position FROM stored_events"
_WHOSE = "SELECT person FROM person_keys WHERE key_id = $1"
_COVERED = "SELECT seq FROM reached_back WHERE room_id = $1"
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
