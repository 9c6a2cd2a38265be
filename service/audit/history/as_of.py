"""Rooms as of a moment, and the changes of a room between two moments.

A moment is the seq of a room's event, a time, or now; all are inclusive. It resolves to a log position.
`service.eventstore.as_of_reader` reads up to that position and `service.audit.history.snapshot` folds the events, so
the same request always gives the same answer.

Documents are sent as pieces of JSON with their long list last, so a room of any length takes the same memory.
"""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime

import msgspec

from service.audit.history import snapshot
from service.audit.history.existence import WrongMoment
from service.audit.history.format import when
from service.domain.events import ReadMarkerMoved
from service.domain.room import RoomState
from service.domain.streams import reader_stream, room_stream
from service.errors import RoomNotFound, RoomNotOpen
from service.eventstore.as_of_reader import AsOfReader
from service.protocol.events import timestamp
from service.protocol.room_as_of import (
    MessageChange,
    MessageThen,
    Moment,
    RoomChanges,
    RoomThen,
    SettingsChange,
    SettingsThen,
    Standing,
    StandingChange,
    Standpoint,
)

PAGE = 200
"""Messages per read."""


class RoomAsOf(msgspec.Struct, frozen=True):
    """A room up to `position`; `at` is the time by which bans and mutes are judged.

    `settings` is None if the room did not exist. `unreadable` holds the seqs of events whose state cannot be decoded.
    """

    position: int
    at: datetime
    state: RoomState
    settings: SettingsThen | None
    standings: dict[str, Standing]
    unreadable: tuple[int, ...]


Writer = Callable[
    [msgspec.Struct, AsyncIterable[Sequence[msgspec.Struct]], Mapping[str, str]], AsyncIterator[bytes]
]
"""Writes a document whose last field is an empty list, with the items of that list; takes names by user id."""


class AsOf:
    """Reads rooms as of a moment; `write` makes pieces of JSON or of text."""

    def __init__(self, reader: AsOfReader, write: Writer | None = None) -> None:
        self._reader = reader
        self._write = write or json_pieces

    async def room(self, room: str, moment: Moment) -> AsyncIterator[bytes]:
        """Return a `RoomThen` in pieces.

        Raises:
            RoomNotFound: the room did not exist at that moment.
            Unavailable: the log cannot be read.
        """
        found = await self.at(room, moment)
        if found.settings is None:
            raise await self.missing(found)
        opened = await self._reader.event(room_stream(room), 1)
        assert opened is not None  # noqa: S101 - an existing room has a first event
        people = found.standings.values()
        document = RoomThen(
            room_id=room,
            **msgspec.structs.asdict(await self.standpoint(found)),
            opened_at=timestamp(opened.at),
            opened_by=opened.by,
            settings=found.settings,
            members=tuple(person for person in people if person.role),
            others=tuple(person for person in people if not person.role),
            messages=[],
        )
        return self._write(document, self._messages(found.state), snapshot.names_in(found.standings.values()))

    async def changes(self, room: str, begin: Moment, end: Moment) -> AsyncIterator[bytes]:
        """Return a `RoomChanges` in pieces.

        Raises:
            RoomNotFound: the room did not exist at the later moment.
            WrongMoment: the range ends before it begins.
            Unavailable: the log cannot be read.
        """
        before, after = await self.at(room, begin), await self.at(room, end)
        if (before.position, before.at) > (after.position, after.at):
            raise WrongMoment("This range ends before it begins.")
        if not after.state.exists:
            raise await self.missing(after)
        settings = SettingsChange(before=before.settings, after=after.settings)
        document = RoomChanges(
            room_id=room,
            from_=await self.standpoint(before),
            to=await self.standpoint(after),
            settings=settings if settings.before != settings.after else None,
            people=_changed_people(before.standings, after.standings),
            messages=[],
        )
        names = snapshot.names_in([*before.standings.values(), *after.standings.values()])
        return self._write(document, self._message_changes(before.state, after.state), names)

    async def at(self, room: str, moment: Moment) -> RoomAsOf:
        """Return a room at a moment.

        Raises:
            Unavailable: the log cannot be read.
        """
        position, time = await self._resolve(room, moment)
        head = await self._reader.seq_at(room_stream(room), position)
        events = await self._reader.about_room(room, head)
        state = snapshot.fold_room(room, events, head)
        users = snapshot.people_in(state)
        people = await self._reader.last_of_each_topic(users, position)
        readers = [reader_stream(room, user) for user in users]
        markers = await self._reader.last_of(readers, ReadMarkerMoved.TOPIC, position)
        return RoomAsOf(
            position=position,
            at=time,
            state=state,
            settings=snapshot.settings(state, events) if state.exists else None,
            standings=snapshot.standings(state, events, snapshot.fold_people(people, markers), time),
            unreadable=tuple(event.seq for event in events if event.undecoded),
        )

    async def _resolve(self, room: str, moment: Moment) -> tuple[int, datetime]:
        """Return the position and the time of a moment; a seq above the room's head means now."""
        if isinstance(moment, datetime):
            return await self._reader.position_at(moment), moment
        stream = room_stream(room)
        if moment is not None and moment <= await self._reader.head(stream):
            event = await self._reader.last_upto(stream, moment)  # the event itself may have been removed
            if event is not None:
                return event.position, event.at
        return await self._reader.position(), await self._reader.now()

    async def missing(self, found: RoomAsOf) -> RoomNotFound:
        """Return the refusal of a room that did not exist at a moment: it names a later opening."""
        room = found.state.room
        opened = await self._reader.event(room_stream(room), 1)
        if opened is None or opened.at <= found.at:
            return RoomNotFound(room=room)
        return RoomNotOpen(room=room, moment=when(timestamp(found.at)), opened=when(timestamp(opened.at)))

    async def standpoint(self, found: RoomAsOf) -> Standpoint:
        """Return the seq and the time of a room's last event at a moment."""
        state = found.state
        last = await self._reader.event(room_stream(state.room), state.head)
        at = timestamp(last.at) if last else None
        return Standpoint(seq=state.head, at=at, unreadable=found.unreadable)

    async def _messages(self, state: RoomState) -> AsyncIterator[list[MessageThen]]:
        numbers = [0]
        while numbers := await self._reader.posted(state.room, numbers[-1], state.head, PAGE):
            for part in await self._reader.portions(state.room, numbers):
                yield await self._messages_of(state, part)

    async def _messages_of(self, state: RoomState, numbers: Sequence[int]) -> list[MessageThen]:
        events = await self._reader.about_messages(state.room, numbers, state.head)
        return snapshot.messages(events, frozenset(state.pinned))

    async def _message_changes(
        self, before: RoomState, after: RoomState
    ) -> AsyncIterator[list[MessageChange]]:
        touched = await self._reader.changed_messages(after.room, before.head, after.head)
        numbers = sorted({*touched, *(set(before.pinned) ^ set(after.pinned))})
        for start in range(0, len(numbers), PAGE):
            for part in await self._reader.portions(after.room, numbers[start : start + PAGE]):
                yield _changed_messages(
                    await self._messages_of(before, part), await self._messages_of(after, part)
                )


async def json_pieces(
    document: msgspec.Struct, items: AsyncIterable[Sequence[msgspec.Struct]], _names: Mapping[str, str]
) -> AsyncIterator[bytes]:
    """Yield a document whose last field is an empty list, with `items` in that list, and a newline.

    The bytes equal those of the whole document encoded at once.
    """
    encoder, end, comma = msgspec.json.Encoder(), b"]}", b""
    yield encoder.encode(document).removesuffix(end)
    async for page in items:
        if page:
            yield comma + b",".join(map(encoder.encode, page))
            comma = b","
    yield end + b"\n"


def _changed_people(before: dict[str, Standing], after: dict[str, Standing]) -> tuple[StandingChange, ...]:
    changes = (
        StandingChange(user_id=user, before=before.get(user), after=after.get(user))
        for user in sorted(before.keys() | after.keys())
    )
    return tuple(change for change in changes if change.before != change.after)


def _changed_messages(before: list[MessageThen], after: list[MessageThen]) -> list[MessageChange]:
    """Return the messages that changed; `after` holds every message of `before`."""
    previous = {message.message_id: message for message in before}
    changes = (
        MessageChange(message_id=message.message_id, before=previous.get(message.message_id), after=message)
        for message in after
    )
    return [change for change in changes if change.before != change.after]
