"""The direct path of messages: it answers and delivers as the general path does, at a fixed number of calls."""

import asyncio
import json
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import count
from types import FrameType
from typing import Any

import pytest
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as connect_blocking

from service.gateway.commands.direct_posts import LONGEST, DirectPosts
from service.gateway.session.session import Session
from tests.support.clients.native import Client, Refused, client
from tests.support.clients.raw_websocket import TEXT, frame
from tests.support.environment import environment, token
from tests.support.processes.statement_counts import counted_node
from tests.support.servers.databases import Database
from tests.support.waiting import until

CALLS = 200
"""Python calls of a post that arrives among 20, its share of their commits and deliveries included. Without the direct
path there were 476 (CPython 3.11, which counts comprehensions; later versions do not)."""

BURST, ROUNDS = 20, 12

CONTENTS = (
    "hello",
    "",
    "   ",
    "a < b",
    "<script>",
    "`<b>`",
    "\u00fc \N{WAVING HAND SIGN}",
    "x" * 101,
    "\u200b",
    "a\nb",
)
EXTRAS: tuple[dict[str, Any], ...] = (
    {},
    {"replyTo": 1},
    {"replyTo": 4},
    {"replyTo": 10_000},
    {"mentions": ["bob"]},
    {"mentions": ["bob", "nobody", "bob"]},
    {"mentions": [f"user-{number}" for number in range(5)]},
    {"mentions": ["b c"]},
    {"more": 1},
)
GENERAL_FORM = "message\\u003asend"
"""An escape, which the direct path leaves to the general one; it is the same command."""


def _cases() -> Iterator[dict[str, Any]]:
    for number, content in enumerate(CONTENTS):
        yield {"content": content, "ref": f"content-{number}"}
    for number, extra in enumerate(EXTRAS):
        yield {"content": f"extra {number}", "ref": f"extra-{number}", **extra}
    yield {"content": "hello", "ref": "content-0"}
    yield {"content": "another", "ref": "content-0"}
    yield {"content": "no ref"}
    yield {"content": "bad ref", "ref": "a b"}
    yield {"content": 7, "ref": "number"}


async def _answer(author: Client, kind: str, room: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Send a message; return its answer without what differs between two rooms."""
    before = len(author.heard)
    body = json.dumps({"roomId": room, **fields}, ensure_ascii=False)
    await author.socket.send(f'{{"type":"{kind}",{body[1:]}')
    await author.until(lambda: any(event["type"] in ("ack", "error") for event in author.heard[before:]))
    (answer,) = [event for event in author.heard[before:] if event["type"] in ("ack", "error")]
    return {name: _alike(value, room) for name, value in answer.items() if name != "at"}


def _alike(value: object, room: str) -> object:
    return value.replace(room, "ROOM") if isinstance(value, str) else value


def _delivered(reader: Client, room: str) -> list[dict[str, Any]]:
    unequal = ("roomId", "at", "userId", "name")
    events = reader.events("message:new", roomId=room)
    return [{name: value for name, value in event.items() if name not in unequal} for event in events]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the frames that the direct path took."""
    frames: list[str] = []
    take = DirectPosts.take

    def watched(self: DirectPosts, session: Session, text: str) -> bool:
        if done := take(self, session, text):
            frames.append(text)
        return done

    monkeypatch.setattr(DirectPosts, "take", watched)
    return frames


async def test_both_paths_answer_and_deliver_alike(
    database: Database, monkeypatch: pytest.MonkeyPatch, taken: list[str]
) -> None:
    settings = environment(database, ONRECORD_MAX_CONTENT="100", ONRECORD_MAX_MENTIONS="4")
    async with (
        counted_node(settings, monkeypatch) as at,
        client(at.url, "ann") as ann,
        client(at.url, "gus") as gus,
        client(at.url, "bob") as bob,
    ):
        await ann.say("room:create", roomId="direct", name="Direct")
        await gus.say("room:create", roomId="general", name="General")
        for room in ("direct", "general"):
            await bob.join(room)
        for fields in _cases():
            direct = await _answer(ann, "message:send", "direct", fields)
            general = await _answer(gus, GENERAL_FORM, "general", fields)
            assert direct == general, fields
        for owner, room in ((ann, "direct"), (gus, "general")):
            await owner.say("room:mute", roomId=room, userId="bob")
        muted = [
            await _answer(bob, kind, room, {"content": "muted", "ref": f"muted-{room}"})
            for kind, room in (("message:send", "direct"), (GENERAL_FORM, "general"))
        ]
        assert [answer["code"] for answer in muted] == ["muted", "muted"]
        await ann.post("direct", "last")
        await gus.say("message:send", roomId="general", content="last")
        for room in ("direct", "general"):
            await bob.until(lambda room=room: bob.events("message:new", roomId=room, content="last"))  # type: ignore[misc]
        assert _delivered(bob, "direct") == _delivered(bob, "general")
    assert len(_delivered(bob, "direct")) >= 10
    assert not any(GENERAL_FORM in text for text in taken)
    assert {json.loads(text)["content"] for text in taken} >= {
        "hello",
        "extra 0",
        "extra 2",
        "extra 4",
        "last",
    }


async def test_the_direct_path_keeps_the_rate(
    database: Database, monkeypatch: pytest.MonkeyPatch, taken: list[str]
) -> None:
    settings = environment(database, ONRECORD_RATE_PER_SECOND="1", ONRECORD_RATE_BURST="5")
    async with counted_node(settings, monkeypatch) as at, client(at.url, "ann") as ann:
        await ann.say("room:create", roomId="direct", name="Direct")
        posts = [ann.post("direct", f"message {number}") for number in range(60)]
        answers = await asyncio.gather(*posts, return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, Refused)]
    assert refused
    assert {refusal.code for refusal in refused} == {"too_many_requests"}
    assert all(refusal.error["retryAfter"] > 0 for refusal in refused)
    assert 0 < len(taken) <= len(answers) - len(refused)


async def test_long_messages_and_busy_connections_take_the_general_path(
    database: Database, monkeypatch: pytest.MonkeyPatch, taken: list[str]
) -> None:
    async with counted_node(environment(database), monkeypatch) as at, client(at.url, "ann") as ann:
        await ann.say("room:create", roomId="direct", name="Direct")
        await ann.post("direct", "x" * LONGEST)
        assert taken == []
        # A command that is being carried out is before them, so the messages wait in line.
        commands = [
            ann.say("room:members", roomId="direct"),
            *(ann.post("direct", f"{n}") for n in range(150)),
        ]
        await asyncio.gather(*commands)
        seqs = [event["content"] for event in ann.events("message:new", roomId="direct")]
    assert seqs == ["x" * LONGEST, *(f"{number}" for number in range(150))]


class _Counter:
    """Counts the calls of Python functions in the thread of an event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.calls = 0

    def _count(self, _frame: FrameType, event: str, _argument: object) -> None:
        self.calls += event == "call"

    def switch(self, profile: Callable[..., None] | None) -> None:
        """Called from another thread: begin or end the count."""
        switched = threading.Event()
        self._loop.call_soon_threadsafe(sys.setprofile, profile)
        self._loop.call_soon_threadsafe(switched.set)
        switched.wait()

    def of(self, work: Callable[[], None]) -> int:
        """Return how many calls the loop makes while `work` is done in this thread."""
        self.calls = 0
        self.switch(self._count)
        try:
            work()
        finally:
            self.switch(None)
        return self.calls


def _burst(chat: ClientConnection, refs: Iterator[int]) -> None:
    """Send messages in one write, and wait for their acks."""
    texts = []
    for number in [next(refs) for _ in range(BURST)]:
        post = {"type": "message:send", "ref": f"{number}", "roomId": "direct", "content": f"hello {number}"}
        texts.append(frame(TEXT, json.dumps(post).encode()))
    chat.socket.sendall(b"".join(texts))
    left = BURST
    while left:
        event = json.loads(chat.recv(timeout=60))
        assert event["type"] != "error", event
        left -= event["type"] == "ack"


def _fewest_calls(url: str, counter: _Counter) -> float:
    refs = count()
    with connect_blocking(url) as chat:
        chat.send(json.dumps({"type": "connect", "protocol": 1, "token": token("ann")}))
        chat.send(json.dumps({"type": "room:create", "ref": "room", "roomId": "direct", "name": "Direct"}))
        while json.loads(chat.recv(timeout=60))["type"] != "ack":
            pass
        _burst(chat, refs)
        return min(counter.of(lambda: _burst(chat, refs)) for _ in range(ROUNDS)) / BURST


async def test_a_post_costs_few_calls_of_python(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = environment(database, ONRECORD_RATE_BURST="100000", ONRECORD_RATE_PER_SECOND="100000")
    async with counted_node(settings, monkeypatch) as at:
        await until(lambda: at.node.storage.readiness.ready)
        calls = await asyncio.to_thread(_fewest_calls, at.url, _Counter())
    assert calls < CALLS
