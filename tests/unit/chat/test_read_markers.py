"""Read markers that wait for the next commit, with a log that does not answer."""

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from rpds import HashTrieMap

from service.chat.read_markers import MAX_WAITING, ReadMarkers
from service.domain.commands import MoveReadMarker
from service.domain.room_state import Member, RoomState
from service.errors import Overloaded, Unavailable

if TYPE_CHECKING:
    from service.chat.result import CommandResult

AT = datetime(2026, 1, 1, tzinfo=UTC)
MEMBERS = HashTrieMap({"alice": Member(role="member", since=1)})


class Held:
    """The node around `ReadMarkers`: one room, and a log whose reads never end."""

    def __init__(self) -> None:
        part: Any = self
        self.keys = self
        self.offer = None  # no read ends, so nothing is appended
        self.reading = asyncio.Event()
        self.markers = ReadMarkers(part, part, part, part, lambda *_: None, now=lambda: AT)

    async def feed(self, _room: str) -> Any:
        return SimpleNamespace(state=RoomState("general", 9, members=MEMBERS))

    async def message_exists(self, _room: str, _message: int) -> bool:
        return True

    def fingerprint(self, sent: bytes) -> bytes:
        return sent

    async def reader(self, _room: str, _user: str) -> Any:
        self.reading.set()
        await asyncio.Event().wait()

    async def move(self, message: int) -> "asyncio.Future[CommandResult]":
        command = MoveReadMarker(room="general", message=message)
        return await self.markers.move(command, "alice", f"ref-{message}", b"")


async def test_a_node_that_stops_answers_the_reads_that_wait_too() -> None:
    node = Held()
    first = await node.move(1)
    await node.reading.wait()
    waiting = await node.move(2)
    await node.markers.close()
    for answer in (first, waiting):
        assert answer.done()
        with pytest.raises(Unavailable):
            await answer


async def test_the_reads_of_one_reader_that_wait_are_bounded() -> None:
    node = Held()
    answers = [await node.move(1)]
    await node.reading.wait()
    answers += [await node.move(2 + number) for number in range(MAX_WAITING)]
    with pytest.raises(Overloaded):
        await node.move(9)
    await node.markers.close()
    found = await asyncio.gather(*answers, return_exceptions=True)
    assert all(isinstance(error, Unavailable) for error in found)
