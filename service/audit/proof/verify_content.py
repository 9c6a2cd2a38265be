"""Whether the words on the record are the ones that were said; and where they cannot be read, that the record says why.

The seals cover what is stored, and of words that is a commitment. What opens them is not sealed: people's keys
(`person_keys`), and words that retention carried over to other keys (`carried_words`). So every word is opened here and
held against its commitment, and one that no key opens needs a ground on the record: its author was erased, or what was
said in that room on that day has expired. A key or a carried word that somebody takes away in silence shows.

Invariant: the author and the time of words come from the sealed event and not from a table of keys.

Versions before 0020 did not hold the day of a key against the day of the record: what was decided just before midnight
(UTC) and recorded just after it is under the key of the day before, and expires with that day. Of events up to
`key_days_since`, words of the first `PAST_MIDNIGHT` of a day therefore have a ground once the day before has expired.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from cryptography.exceptions import InvalidTag

from service.audit.proof.verify import Tampered
from service.domain.events import ContentExpired, MessageEdited, MessagePosted, PersonErased
from service.domain.streams import RETENTION, person_stream, room_of, room_subject, stream_id
from service.eventstore.serializer import NOT_DECODED, ROW, ROWS, EventSerializer

if TYPE_CHECKING:
    import asyncpg

PAGE = 200
"""Events read at a time."""

PAST_MIDNIGHT = timedelta(minutes=1)
"""How long after midnight versions before 0020 recorded words under the key of the day before, at most.

A command waits for its commit no longer than `ONRECORD_DATABASE_TIMEOUT` (5 seconds unless it is set); with a margin.
"""

_SAID = (MessagePosted.TOPIC, MessageEdited.TOPIC)


class ContentCounts(NamedTuple):
    """How many events hold words that can be read, and how many hold some that are gone."""

    readable: int
    gone: int


async def verify_content(connection: "asyncpg.Connection[Any]", serializer: EventSerializer) -> ContentCounts:
    """Open every word.

    Raises:
        Tampered: the words at its position are not those that were said, or are gone without a ground.
    """
    grounds, readable, gone, position = _Grounds(connection, serializer), 0, 0, 0
    while rows := await connection.fetch(_WITH_WORDS, position, PAGE):
        position = rows[-1]["notification_id"]
        for row in rows:
            if row["wrapped"] is not None:
                _open(serializer, row)
                readable += 1
            elif await grounds.has(row):
                gone += 1
            else:
                raise Tampered(
                    row["notification_id"],
                    "the key of the words here is gone, and nothing on the record says why",
                )
    return ContentCounts(readable, gone)


def _open(serializer: EventSerializer, row: Any) -> None:
    try:
        serializer.reveal(row)
    except (InvalidTag, *NOT_DECODED) as problem:
        words = "the words here are not those that were said, or their key is not the one that it was"
        raise Tampered(row["notification_id"], words) from problem


class _Grounds:
    """What the record says of words that are gone; looked up when it is first needed, so that it may just have come."""

    def __init__(self, connection: "asyncpg.Connection[Any]", serializer: EventSerializer) -> None:
        self._connection = connection
        self._serializer = serializer
        self._erased: set[str] = set()
        self._over: dict[str, date] = {}
        self._key_days_since: int | None = None

    async def has(self, row: Any) -> bool:
        """Return whether the record says why the words of an event are gone."""
        return await self._is_erased(row["recorded_by"]) or await self._has_expired(row)

    async def _is_erased(self, person: str) -> bool:
        if person not in self._erased:
            stream = stream_id(person_stream(person))
            if await self._connection.fetchval(_ERASED, stream, PersonErased.TOPIC):
                self._erased.add(person)
        return person in self._erased

    async def _has_expired(self, row: Any) -> bool:
        if row["topic"] not in _SAID:
            return False
        room = room_of(row["stream"])
        day = await self._day_of_key(row)
        over = self._over.get(room, date.min)
        if over < day:
            over = self._over[room] = await self._over_in(room)
        return over >= day

    async def _day_of_key(self, row: Any) -> date:
        """Return the first day with which the words of an event may have expired."""
        at: datetime = row["recorded_at"].astimezone(UTC)
        midnight = datetime.combine(at.date(), time(), UTC)
        if at - midnight >= PAST_MIDNIGHT:
            return at.date()
        if self._key_days_since is None:
            self._key_days_since = int(await self._connection.fetchval(_KEY_DAYS_SINCE) or 0)
        before = row["notification_id"] <= self._key_days_since
        return at.date() - timedelta(days=1) if before else at.date()

    async def _over_in(self, room: str) -> date:
        rows = await self._connection.fetch(
            _EXPIRED, stream_id(RETENTION), room_subject(room), ContentExpired.TOPIC
        )
        events = [self._serializer.read(row).event for row in rows]
        return max((one.until for one in events if isinstance(one, ContentExpired)), default=date.min)


_WITH_WORDS = f"""
    SELECT {ROW} FROM readable_events e LEFT JOIN open_keys k USING (key_id)
    WHERE e.notification_id > $1 AND e.key_id IS NOT NULL ORDER BY e.notification_id LIMIT $2
"""  # noqa: S608 - constants
_KEY_DAYS_SINCE = "SELECT position FROM key_days_since"
_ERASED = "SELECT EXISTS (SELECT FROM stored_events WHERE originator_id = $1 AND topic = $2)"
_EXPIRED = f"{ROWS} WHERE e.originator_id = $1 AND e.subject = $2 AND e.topic = $3"
