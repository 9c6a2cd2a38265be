"""Whether the words on the record are the ones that were said; and where they cannot be read, that the record says why.

The seals cover what is stored, and of words that is a commitment. What opens them is not sealed: people's keys
(`person_keys`), and words that retention carried over to other keys (`carried_words`). So every word is opened here and
held against its commitment, and one that no key opens needs a ground on the record: its author was erased, or what was
said in that room on that day has expired. A key or a carried word that somebody takes away in silence shows.

The rule: whose words they are, and when they were said, is believed of the sealed event and not of a table of keys.
"""

from datetime import UTC, date
from typing import TYPE_CHECKING, Any, NamedTuple

from cryptography.exceptions import InvalidTag

from service.audit.verify import Tampered
from service.domain.events import ContentExpired, MessageEdited, MessagePosted, PersonErased
from service.domain.streams import RETENTION, person_stream, room_of, room_subject, stream_id
from service.log.mapper import NOT_DECODED, ROW, ROWS, Mapper

if TYPE_CHECKING:
    import asyncpg

PAGE = 200
"""Events read at a time."""

_SAID = (MessagePosted.TOPIC, MessageEdited.TOPIC)


class Words(NamedTuple):
    """How many events hold words that can be read, and how many hold some that are gone."""

    readable: int
    gone: int


async def check_words(connection: "asyncpg.Connection[Any]", mapper: Mapper) -> Words:
    """Open every word.

    Raises:
        Tampered: the words at its position are not those that were said, or are gone without a ground.
    """
    grounds, readable, gone, position = _Grounds(connection, mapper), 0, 0, 0
    while rows := await connection.fetch(_WITH_WORDS, position, PAGE):
        position = rows[-1]["notification_id"]
        for row in rows:
            if row["wrapped"] is not None:
                _open(mapper, row)
                readable += 1
            elif await grounds.has(row):
                gone += 1
            else:
                raise Tampered(
                    row["notification_id"],
                    "the key of the words here is gone, and nothing on the record says why",
                )
    return Words(readable, gone)


def _open(mapper: Mapper, row: Any) -> None:
    try:
        mapper.reveal(row)
    except (InvalidTag, *NOT_DECODED) as problem:
        words = "the words here are not those that were said, or their key is not the one that it was"
        raise Tampered(row["notification_id"], words) from problem


class _Grounds:
    """What the record says of words that are gone; looked up when it is first needed, so that it may just have come."""

    def __init__(self, connection: "asyncpg.Connection[Any]", mapper: Mapper) -> None:
        self._connection = connection
        self._mapper = mapper
        self._erased: set[str] = set()
        self._over: dict[str, date] = {}

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
        day: date = row["recorded_at"].astimezone(UTC).date()
        over = self._over.get(room, date.min)
        if over < day:
            over = self._over[room] = await self._over_in(room)
        return over >= day

    async def _over_in(self, room: str) -> date:
        rows = await self._connection.fetch(
            _EXPIRED, stream_id(RETENTION), room_subject(room), ContentExpired.TOPIC
        )
        events = [self._mapper.read(row).event for row in rows]
        return max((one.until for one in events if isinstance(one, ContentExpired)), default=date.min)


_WITH_WORDS = f"""
    SELECT {ROW} FROM readable_events e LEFT JOIN person_keys k USING (key_id)
    WHERE e.notification_id > $1 AND e.key_id IS NOT NULL ORDER BY e.notification_id LIMIT $2
"""  # noqa: S608 - constants
_ERASED = "SELECT EXISTS (SELECT FROM stored_events WHERE originator_id = $1 AND topic = $2)"
_EXPIRED = f"{ROWS} WHERE e.originator_id = $1 AND e.subject = $2 AND e.topic = $3"
