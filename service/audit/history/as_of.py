"""A room as it stood at any moment, and what is different between two.

A moment of a room is the seq of an event, a time, or now; all inclusive. It comes down to a position of the log, which
`service.eventstore.as_of_reader` reads up to and `service.audit.history.snapshot` folds; so the answer is the same
whenever it is asked for.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

import msgspec

from service.audit.history import snapshot
from service.audit.history.json_stream import json_stream
from service.domain.room import RoomState
from service.domain.streams import person_stream, reader_stream, room_stream
from service.errors import RoomNotFound
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
"""Messages read at a time."""


class Then(msgspec.Struct, frozen=True):
    """A room at a moment: everything up to `position`; `at` is the time by which bans and mutes are judged.

    `settings` is None where it was not there. `unreadable` are the seqs of facts whose state cannot be decoded.
    """

    position: int
    at: datetime
    state: RoomState
    settings: SettingsThen | None
    standings: dict[str, Standing]
    unreadable: tuple[int, ...]


class AsOf:
    """Rooms as they stood."""

    def __init__(self, past: AsOfReader) -> None:
        self._past = past

    async def room(self, room: str, moment: Moment) -> AsyncIterator[bytes]:
        """Return a `RoomThen` as pieces of JSON.

        Raises:
            RoomNotFound: there was no such room.
            Unavailable: the log cannot be read.
        """
        then = await self.then(room, moment)
        if then.settings is None:
            raise RoomNotFound(room=room)
        opened = await self._past.event(room_stream(room), 1)
        assert opened is not None  # noqa: S101 - a room that is there was opened
        people = then.standings.values()
        document = RoomThen(
            room_id=room,
            **msgspec.structs.asdict(await self.standpoint(then)),
            opened_at=timestamp(opened.at),
            opened_by=opened.by,
            settings=then.settings,
            members=tuple(one for one in people if one.role),
            others=tuple(one for one in people if not one.role),
            messages=[],
        )
        return json_stream(document, self._messages(then.state))

    async def changes(self, room: str, begin: Moment, end: Moment) -> AsyncIterator[bytes]:
        """Return a `RoomChanges` as pieces of JSON; the moments in either order.

        Raises:
            RoomNotFound: there was no such room at the later moment.
            Unavailable: the log cannot be read.
        """
        before, after = sorted(
            [await self.then(room, begin), await self.then(room, end)], key=lambda then: then.position
        )
        if not after.state.exists:
            raise RoomNotFound(room=room)
        was, is_now = before.settings, after.settings
        document = RoomChanges(
            room_id=room,
            from_=await self.standpoint(before),
            to=await self.standpoint(after),
            settings=SettingsChange(before=was, after=is_now) if was != is_now else None,
            people=_people(before.standings, after.standings),
            messages=[],
        )
        return json_stream(document, self._message_changes(before.state, after.state))

    async def then(self, room: str, moment: Moment) -> Then:
        """Return a room at a moment.

        Raises:
            Unavailable: the log cannot be read.
        """
        position, at = await self._resolved(room, moment)
        head = await self._past.seq_at(room_stream(room), position)
        facts = await self._past.about_room(room, head)
        state = snapshot.folded(room, facts, head)
        settings = snapshot.settings(state, facts) if state.exists else None
        users = snapshot.known_in(state)
        people = await self._past.all_of([person_stream(user) for user in users], position)
        readers = await self._past.last_of([reader_stream(room, user) for user in users], position)
        standings = snapshot.standings(state, snapshot.crowd(people, readers), at)
        unreadable = tuple(fact.seq for fact in facts if fact.undecoded)
        return Then(position, at, state, settings, standings, unreadable)

    async def _resolved(self, room: str, moment: Moment) -> tuple[int, datetime]:
        """Return the position and the time of a moment; a seq that is still to come means now."""
        if isinstance(moment, datetime):
            return await self._past.position_at(moment), moment
        if moment is not None and (event := await self._past.event(room_stream(room), moment)):
            return event.position, event.at
        return await self._past.position(), await self._past.now()

    async def standpoint(self, then: Then) -> Standpoint:
        """Return the last event of a room at a moment."""
        state = then.state
        last = await self._past.event(room_stream(state.room), state.head)
        at = timestamp(last.at) if last else None
        return Standpoint(seq=state.head, at=at, unreadable=then.unreadable)

    async def _messages(self, state: RoomState) -> AsyncIterator[list[MessageThen]]:
        numbers = [0]
        while numbers := await self._past.posted(state.room, numbers[-1], state.head, PAGE):
            yield await self._as_read(state, numbers)

    async def _as_read(self, state: RoomState, numbers: Sequence[int]) -> list[MessageThen]:
        facts = await self._past.about_messages(state.room, numbers, state.head)
        return snapshot.messages(facts, state.pinned)

    async def _message_changes(
        self, before: RoomState, after: RoomState
    ) -> AsyncIterator[list[MessageChange]]:
        touched = await self._past.touched(after.room, before.head, after.head)
        numbers = sorted({*touched, *(before.pinned ^ after.pinned)})
        for start in range(0, len(numbers), PAGE):
            some = numbers[start : start + PAGE]
            yield _changed(await self._as_read(before, some), await self._as_read(after, some))


def _people(before: dict[str, Standing], after: dict[str, Standing]) -> tuple[StandingChange, ...]:
    changes = (
        StandingChange(user_id=user, before=before.get(user), after=after.get(user))
        for user in sorted(before.keys() | after.keys())
    )
    return tuple(change for change in changes if change.before != change.after)


def _changed(before: list[MessageThen], after: list[MessageThen]) -> list[MessageChange]:
    """Return what became of messages; what is there before is there after."""
    was = {one.message_id: one for one in before}
    changes = (
        MessageChange(message_id=one.message_id, before=was.get(one.message_id), after=one) for one in after
    )
    return [change for change in changes if change.before != change.after]
