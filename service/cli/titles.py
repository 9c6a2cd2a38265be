"""Names of rooms and people beside their ids, in the texts that commands print for people."""

import argparse
from typing import TYPE_CHECKING

from service.audit.history import snapshot
from service.audit.history.format import printable, who
from service.audit.history.names import Names
from service.cli.output import form_of
from service.domain.streams import room_stream
from service.eventstore.as_of_reader import AsOfReader
from service.eventstore.serializer import EventSerializer

if TYPE_CHECKING:
    from service.cli.connection import Connection


class Titles:
    """Looks up the present names of rooms and people; for JSON, which has ids alone, nothing is looked up."""

    def __init__(
        self, args: argparse.Namespace, connection: "Connection", serializer: EventSerializer, deadline: float
    ) -> None:
        self._needed = form_of(args) == "text"
        self._reader = AsOfReader(connection, serializer, deadline)

    async def person(self, user: str) -> str:
        """Return a user id with the person's name before it."""
        if not self._needed:
            return user
        return who(user, await Names(self._reader, await self._reader.position()).of([user]))

    async def room(self, room: str) -> str:
        """Return a room id with the room's name before it."""
        if not self._needed:
            return room
        head = await self._reader.head(room_stream(room))
        state = snapshot.fold_room(room, await self._reader.about_member(room, "", head), head)
        return room if state.name in ("", room) else f"{printable(state.name)} ({room})"
