"""How a command is answered when no decision of it is final, with a log that is scripted."""

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from rpds import HashTrieMap

from service.chat.pending import Limits
from service.chat.submit import MAX_DECISIONS, Chat
from service.domain.commands import AddReaction, PostMessage, RoomCommand, UpdateRoom
from service.domain.message import MessageSummary
from service.domain.room_state import Member, RoomState
from service.encryption.person_key import PersonKey
from service.errors import NotAllowed, OnRecordError, Overloaded
from service.eventstore.appender import Answer
from service.eventstore.entries import AppendRequest, AppendResult, Outcome

AT = datetime(2026, 1, 1, tzinfo=UTC)
WORD = PostMessage(room="general", content="a word", ref="ref")


class Scripted:
    """The node around `Chat`: one room, keys for all, and a log that gives `outcome` to each request."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.requests: list[AppendRequest] = []
        self.forgotten: list[str] = []
        self.held: asyncio.Event | None = None
        members = HashTrieMap({"alice": Member(role="member", since=1)})
        feed = SimpleNamespace(room="general", head=3, state=RoomState("general", 5, members=members))
        part: Any = self
        self.chat = Chat(
            part,
            part,
            part,
            part,
            part,
            part,
            now=lambda: AT,
            limits=Limits(100, 100),
        )
        self._feed = feed

    async def feed(self, _room: str) -> Any:
        return self._feed

    async def refresh(self, _room: str) -> Any:
        if self.held is not None:
            await self.held.wait()
        return self._feed

    async def of_person(self, _person: str, _database: Any, _scope: str) -> PersonKey:
        return PersonKey(uuid4(), bytes(32))

    async def about(self, *_asked: object, **_how: object) -> MessageSummary:
        """Return a message, during whose reading the room went on."""
        self._feed.head = 5
        return MessageSummary(author="bob")

    def fingerprint(self, sent: bytes) -> bytes:
        return sent

    def forget(self, person: str) -> None:
        self.forgotten.append(person)

    def place(self, request: AppendRequest, answer: Answer) -> None:
        self.requests.append(request)
        result = AppendResult(outcome=self.outcome, stream=request.stream, seq=4, at=AT)
        asyncio.get_running_loop().call_soon(answer, result)

    def offer(self, request: AppendRequest) -> "asyncio.Future[AppendResult]":
        self.requests.append(request)
        placed: asyncio.Future[AppendResult] = asyncio.get_running_loop().create_future()
        placed.set_result(AppendResult(outcome=self.outcome, stream=request.stream, seq=4, at=AT))
        return placed


@pytest.mark.parametrize(
    ("outcome", "command", "error"),
    [("key_gone", WORD, NotAllowed), ("stale", WORD, Overloaded), ("stale", None, Overloaded)],
)
async def test_the_last_outcome_is_the_answer_after_all_decisions(
    outcome: Outcome, command: RoomCommand | None, error: type[OnRecordError]
) -> None:
    node = Scripted(outcome)
    answer = await node.chat.submit(command or UpdateRoom(room="general"), "alice", "ref", b"")
    with pytest.raises(error):
        await answer
    assert len(node.requests) == MAX_DECISIONS
    assert node.forgotten == ["alice"] * (MAX_DECISIONS if outcome == "key_gone" else 0)


async def test_a_cancelled_command_gives_its_turn_to_the_next() -> None:
    node = Scripted("stale")
    node.held = asyncio.Event()
    first = await node.chat.submit(UpdateRoom(room="general"), "alice", "first", b"")
    while not node.chat._locks.busy(UpdateRoom(room="general")):
        await asyncio.sleep(0)
    second = await node.chat.submit(UpdateRoom(room="general"), "bob", "second", b"")
    first.cancel()
    node.held.set()
    with pytest.raises(Overloaded):
        await second
    assert [request.ref for request in node.requests].count("first") == 2
    assert [request.ref for request in node.requests].count("second") == MAX_DECISIONS


async def test_a_decision_on_a_message_holds_as_of_the_head_before_it_was_read() -> None:
    node = Scripted("appended")
    reaction = AddReaction(room="general", message=2, emoji="+1")
    await (await node.chat.submit(reaction, "alice", "ref", b""))
    assert [request.decided_on for request in node.requests] == [3]
