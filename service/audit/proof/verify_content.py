"""Verifies that texts on the record match their commitments, and that unreadable texts have a recorded reason.

Seals cover the stored events, which hold a commitment to each text. They do not cover people's keys (`person_keys`) and
the texts that retention re-encrypted (`carried_words`). Therefore every text is decrypted and compared with its
commitment, and a text without a key needs a reason on the record: its author was erased, or the messages of its room
and day have expired. So the silent removal of a key or a re-encrypted text is detected.

Invariant: the author and the time of a text come from the sealed event and not from a table of keys.

Before migration 0020 a text that was decided just before midnight (UTC) and recorded just after it was encrypted with
the key of the previous day, and expires with that day. So for events up to `key_days_since` that were recorded within
`PAST_MIDNIGHT` after midnight, the expiry of the previous day is a reason too.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from cryptography.exceptions import InvalidTag

from service.audit.proof.verify import Tampered
from service.domain.events import ContentExpired, MessageEdited, MessagePosted, PersonErased
from service.domain.streams import RETENTION, person_stream, room_of, room_subject, stream_id
from service.eventstore.serializer import DECODE_ERRORS, ROW, ROWS, EventSerializer

if TYPE_CHECKING:
    import asyncpg

PAGE = 200
"""Events per read."""

PAST_MIDNIGHT = timedelta(minutes=1)
"""The longest time after midnight in which the key of the previous day was used before migration 0020.

A command waits for its commit at most `ONRECORD_DATABASE_TIMEOUT` (default 5 seconds); this adds a margin.
"""

_EXPIRING = (MessagePosted.TOPIC, MessageEdited.TOPIC)


class ContentCounts(NamedTuple):
    """The number of events with readable texts, and of events with texts whose key is gone."""

    readable: int
    gone: int


async def verify_content(connection: "asyncpg.Connection[Any]", serializer: EventSerializer) -> ContentCounts:
    """Decrypt and verify every text.

    Raises:
        Tampered: a text differs from its commitment, or is gone without a recorded reason.
    """
    reasons, readable, gone, position = _Reasons(connection, serializer), 0, 0, 0
    while rows := await connection.fetch(_WITH_WORDS, position, PAGE):
        position = rows[-1]["notification_id"]
        for row in rows:
            if row["wrapped"] is not None:
                _verify(serializer, row)
                readable += 1
            elif await reasons.explain(row):
                gone += 1
            else:
                raise Tampered(
                    row["notification_id"],
                    "the key of the content here is gone, and the record gives no reason",
                )
    return ContentCounts(readable, gone)


def _verify(serializer: EventSerializer, row: Any) -> None:
    try:
        serializer.reveal(row)
    except (InvalidTag, *DECODE_ERRORS) as problem:
        message = "the content here differs from what was recorded, or its key was changed"
        raise Tampered(row["notification_id"], message) from problem


class _Reasons:
    """The recorded reasons for missing texts. Each is queried when first needed: it may be recorded during the run."""

    def __init__(self, connection: "asyncpg.Connection[Any]", serializer: EventSerializer) -> None:
        self._connection = connection
        self._serializer = serializer
        self._erased: set[str] = set()
        self._expired_until: dict[str, date] = {}
        self._key_days_since: int | None = None

    async def explain(self, row: Any) -> bool:
        """Return whether the record has a reason for the missing texts of an event."""
        return await self._is_erased(row["recorded_by"]) or await self._has_expired(row)

    async def _is_erased(self, person: str) -> bool:
        if person not in self._erased:
            stream = stream_id(person_stream(person))
            if await self._connection.fetchval(_ERASED, stream, PersonErased.TOPIC):
                self._erased.add(person)
        return person in self._erased

    async def _has_expired(self, row: Any) -> bool:
        if row["topic"] not in _EXPIRING:
            return False
        room = room_of(row["stream"])
        day = await self._day_of_key(row)
        until = self._expired_until.get(room, date.min)
        if until < day:
            until = self._expired_until[room] = await self._read_expired_until(room)
        return until >= day

    async def _day_of_key(self, row: Any) -> date:
        """Return the earliest day whose expiry explains that the texts of an event are gone."""
        at: datetime = row["recorded_at"].astimezone(UTC)
        midnight = datetime.combine(at.date(), time(), UTC)
        if at - midnight >= PAST_MIDNIGHT:
            return at.date()
        if self._key_days_since is None:
            self._key_days_since = int(await self._connection.fetchval(_KEY_DAYS_SINCE) or 0)
        before = row["notification_id"] <= self._key_days_since
        return at.date() - timedelta(days=1) if before else at.date()

    async def _read_expired_until(self, room: str) -> date:
        rows = await self._connection.fetch(
            _EXPIRED, stream_id(RETENTION), room_subject(room), ContentExpired.TOPIC
        )
        events = [self._serializer.read(row).event for row in rows]
        return max((event.until for event in events if isinstance(event, ContentExpired)), default=date.min)


_WITH_WORDS = f"""
    SELECT {ROW} FROM readable_events e LEFT JOIN open_keys k USING (key_id)
    WHERE e.notification_id > $1 AND e.key_id IS NOT NULL ORDER BY e.notification_id LIMIT $2
"""  # noqa: S608 - constants
_KEY_DAYS_SINCE = "SELECT position FROM key_days_since"
_ERASED = "SELECT EXISTS (SELECT FROM stored_events WHERE originator_id = $1 AND topic = $2)"
_EXPIRED = f"{ROWS} WHERE e.originator_id = $1 AND e.subject = $2 AND e.topic = $3"
