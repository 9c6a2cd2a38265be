"""Names of people and rooms, for texts that show them beside ids."""

from collections.abc import Iterable

from service.audit.history import snapshot
from service.audit.history.format import titled, who
from service.domain.events import Recorded
from service.domain.streams import room_stream
from service.eventstore.as_of_reader import AsOfReader

MOST = 10_000
"""Names that are remembered; then all are looked up again."""


class Names:
    """Looks up the names that people had at a position."""

    def __init__(self, reader: AsOfReader, position: int) -> None:
        self._reader = reader
        self._position = position
        self._known: dict[str, str | None] = {}

    async def of(self, users: Iterable[str]) -> dict[str, str]:
        """Return the names of those users who have one.

        Raises:
            Unavailable: the log cannot be read.
        """
        wanted = set(users)
        if missing := sorted(wanted - self._known.keys()):
            if len(self._known) > MOST:
                self._known.clear()
                missing = sorted(wanted)
            people = snapshot.fold_people(await self._reader.last_of_each_topic(missing, self._position), [])
            self._known |= {user: people.names.get(user) for user in missing}
        return {user: name for user in wanted if (name := self._known[user])}

    async def in_events(self, events: Iterable[Recorded]) -> dict[str, str]:
        """Return the names of the users who recorded events or whom they are about."""
        return await self.of(user for recorded in events for user in (recorded.by, *_about(recorded)))


def _about(recorded: Recorded) -> list[str]:
    user = getattr(recorded.event, "user", None)
    return [user] if isinstance(user, str) else []


class Titles:
    """Returns ids with the present names before them; without a reader the ids alone."""

    def __init__(self, reader: AsOfReader | None) -> None:
        self._reader = reader

    async def person(self, user: str) -> str:
        """Return a user id with the person's name before it."""
        if self._reader is None:
            return user
        return who(user, await Names(self._reader, await self._reader.position()).of([user]))

    async def room(self, room: str) -> str:
        """Return a room id with the room's name before it."""
        if self._reader is None:
            return room
        head = await self._reader.head(room_stream(room))
        state = snapshot.fold_room(room, await self._reader.about_member(room, "", head), head)
        return titled(state.name, room)
