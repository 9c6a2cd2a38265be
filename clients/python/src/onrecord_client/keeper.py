"""Keeps the list of rooms current: asks for it on each connection and when it is stale, and receives its rooms.

Invariant: a list that stays stale is asked for less and less often.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Any

from onrecord_client.errors import OnRecordError

if TYPE_CHECKING:
    from onrecord_client.engine import Engine
    from onrecord_client.messages import Frame, Message

log = logging.getLogger("onrecord_client")

FOLLOWED = 50
"""Rooms of the list that are received without having been joined, at most."""

BETWEEN_JOINS_S = 0.1
"""Seconds between the joins of followed rooms, which stays under the server's rate."""

STALE_S, LONGEST_STALE_S = 1.0, 60.0
"""Seconds, on average, until a stale list is asked for again: at first, and at most."""


class Keeper:
    """The upkeep of one client's list; `follows` says that the rooms in it are received."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.follows = False

    async def run(self) -> None:
        """Keep the list, during one connection."""
        wait = 0.0
        while True:
            await self._engine.stale.wait()
            # Clients whose counts become stale at the same time ask at different times.
            await asyncio.sleep(wait * random.uniform(0.5, 1.5))  # noqa: S311 - no secret depends on it
            self._engine.stale.clear()
            try:
                await self._list_rooms()
                if self.follows:
                    await self._follow_listed()
            except OnRecordError as error:
                log.warning("the list of rooms cannot be had: %s", error)
                self._engine.stale.set()
            except (KeyError, TypeError, ValueError):
                log.exception("the list of rooms is not as the protocol has it")
            wait = min(max(2 * wait, STALE_S), LONGEST_STALE_S) if self._engine.stale.is_set() else STALE_S

    async def _list_rooms(self) -> None:
        rooms: list[Frame] = []
        fields: dict[str, Any] = {}
        while True:
            page = await self._engine.command("room:list", fields)
            rooms += page["rooms"]
            ids = [each["roomId"] for each in (*page["rooms"], *page.get("invitations", ()))]
            if not page["hasMore"] or not ids:
                break
            fields = {"after": max(ids)}
        self._engine.directory.listed(rooms, self._engine.user_id, self._arrived_after)
        self._engine.emitter.emit("rooms", None)

    def _arrived_after(self, room_id: str, seq: int) -> list[Message]:
        room = self._engine.rooms.get(room_id)
        return [] if room is None else room.feed.arrived_after(seq)

    async def _follow_listed(self) -> None:
        received = {room.id for room in self._engine.rooms.values() if room.joined}
        ids = [each.id for each in self._engine.directory.summaries() if each.id not in received]
        for room_id in ids[: max(0, FOLLOWED - len(received))]:
            try:
                await self._engine.join(room_id)
            except OnRecordError as error:
                log.info("%s is not received: %s", room_id, error)
            await asyncio.sleep(BETWEEN_JOINS_S)
