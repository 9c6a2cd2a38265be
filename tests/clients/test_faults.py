"""Every client against a real server behind a network that breaks; the drill's checker judges the wire."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from service.embedded.daemon import free_port
from tests.clients.wire import Dead, Recorder, recorded
from tests.drill.checker import judge
from tests.drill.evidence.history import History, Operation, Silence
from tests.drill.log import read_log
from tests.support.clients.native import client as native
from tests.support.drivers.driver import DRIVERS, Driver, Refused, driver
from tests.support.environment import environment, token
from tests.support.processes import processes
from tests.support.processes.failures import OUTAGE
from tests.support.servers.databases import Database
from tests.support.waiting import until

ROOM = "general"
HOUR = 3600.0


@dataclass
class Side:
    """A client in a process of its own, with its network."""

    driver: Driver
    proxy: Dead
    recorder: Recorder
    url: str

    async def level(self, contents: list[str]) -> None:
        """Wait until the client shows these messages, each once."""
        await self.driver.shows(ROOM, *contents)


@dataclass
class Chat:
    """A server on a database of its own, which can be killed and started again, and its clients."""

    name: str
    database: Database
    folder: Path
    stack: AsyncExitStack
    history: History = field(default_factory=History)
    port: int = field(default_factory=free_port)
    node: processes.Process | None = None

    @property
    def url(self) -> str:
        """The address of the server."""
        return f"ws://127.0.0.1:{self.port}/ws"

    async def start(self) -> None:
        """Start the server, and wait until it listens."""
        env = environment(self.database, ONRECORD_PORT=str(self.port))
        self.node = node = await processes.start(env, "serve")
        self.stack.push_async_callback(node.stop)
        self.collecting = asyncio.create_task(processes.collect(node))
        await processes.wait_for_address(node)

    async def kill(self) -> None:
        """End the server as a power cut would."""
        assert self.node is not None
        await self.node.kill()
        await self.collecting

    async def side(self, user: str, expires: int = 4_000_000_000) -> Side:
        """Return a process of a user, whose client has joined the room; `expires` as in `token`."""
        network = await self.stack.enter_async_context(recorded(self.url, self.history, user))
        return await self.joined(await self._process(token(user, expires), *network))

    async def again(self, side: Side) -> Side:
        """Return a new process for one that was killed, with its storage and address; its client is not connected."""
        user = side.recorder.process.rstrip("'")
        side.recorder.process += "'"  # to the checker it is another process, which begins without cursors
        return await self._process(token(user), side.proxy, side.url, side.recorder)

    async def joined(self, side: Side) -> Side:
        """Connect a client, and join the room."""
        await side.driver.ask("connect")
        await side.driver.ask("join", room=ROOM)
        return side

    async def _process(self, given: str, proxy: Dead, url: str, recorder: Recorder) -> Side:
        storage = self.folder / f"{recorder.process.rstrip(chr(39))}.storage"
        client = await self.stack.enter_async_context(driver(self.name, url, given, storage))
        return Side(client, proxy, recorder, url)

    async def judged(self, *, silence: bool = True) -> list[str]:
        """Check the history with the log; return the contents of the log's messages, in order."""
        if silence:
            self.history.add(Silence(began=self.history.now(), ended=self.history.now()))
        logs = await read_log(self.database, [ROOM])
        for events in logs.values():
            self.history.records.extend(events)
        # A client that asks to join again does so under a new ref.
        self.history.records = [one for one in self.history.records if not _is_unanswered_join(one)]
        assert judge(self.history.records) == []
        return [event.content or "" for event in logs[ROOM] if event.type == "MessagePosted"]


def _is_unanswered_join(one: object) -> bool:
    return isinstance(one, Operation) and one.op == "join" and one.outcome == "unknown"


@pytest.fixture(params=DRIVERS)
async def chat(request: pytest.FixtureRequest, database: Database, tmp_path: Path) -> AsyncIterator[Chat]:
    async with AsyncExitStack() as stack:
        running = Chat(request.param, database, tmp_path, stack)
        await running.start()
        yield running


@pytest.mark.timeout(300)
async def test_a_cut_right_after_a_send_left_is_one_message(chat: Chat) -> None:
    alice, bob = await chat.side("alice"), await chat.side("bob")
    words = [f"message {number}" for number in range(50)]
    for number, word in enumerate(words):
        sending = alice.driver.begin("send", room=ROOM, content=word)
        await until(partial(_has_left, alice, number + 1))
        alice.proxy.cut()
        await sending
    # The last ack may have come before the cut: what is sent now is acked over a connection that holds.
    words.append("the end")
    await alice.driver.ask("send", room=ROOM, content="the end")
    await alice.level(words)
    await bob.level(words)
    assert await chat.judged() == words


def _has_left(side: Side, messages: int) -> bool:
    return len({frame["ref"] for frame in side.recorder.commands("message:send")}) >= messages


def _is_stored(folder: Path, text: str) -> bool:
    for path in folder.rglob("*storage*"):
        with suppress(OSError):  # a file that is being replaced, or a directory
            if text in path.read_text():
                return True
    return False


@pytest.mark.parametrize("committed", [True, False], ids=["committed", "not-arrived"])
async def test_a_process_killed_before_the_ack_sends_one_message(chat: Chat, committed: bool) -> None:  # noqa: FBT001 - a parameter
    alice, bob = await chat.side("alice"), await chat.side("bob")
    alice.recorder.passes = lambda _frame: False
    if not committed:
        alice.proxy.hold()
    sending = alice.driver.begin("send", room=ROOM, content="hello")
    if committed:
        await bob.level(["hello"])
    else:
        await alice.driver.until(lambda: alice.driver.of("change"))
        await until(partial(_is_stored, chat.folder, "hello"))
    await alice.driver.kill()
    assert sending.cancelled()
    alice.recorder.passes = lambda _frame: True
    await alice.proxy.restore()
    alice.proxy.cut()
    again = await chat.again(alice)
    await again.driver.ask("connect")
    await bob.level(["hello"])
    await until(lambda: _acked(again.recorder))
    await chat.joined(again)
    await again.level(["hello"])
    await again.driver.kill()
    sent = len(again.recorder.commands("message:send"))
    third = await chat.joined(await chat.again(again))
    await third.level(["hello"])
    assert len(third.recorder.commands("message:send")) == sent
    assert await chat.judged(silence=False) == ["hello"]


def _acked(recorder: Recorder) -> bool:
    """Return whether the server has answered the message on a connection of the newest process."""
    refs = {frame["ref"] for frame in recorder.commands("message:send")}
    acked = [one for one in recorder.history.records if isinstance(one, Operation) and one.op == "send"]
    return bool(refs) and any(one.process == recorder.process and one.outcome == "ok" for one in acked)


async def test_after_an_hour_of_sleep_a_client_is_level_again(chat: Chat) -> None:
    alice, bob = await chat.side("alice", expires=int(time.time()) + 1800), await chat.side("bob")
    await bob.driver.ask("send", room=ROOM, content="before")
    await alice.level(["before"])
    alice.proxy.freeze()
    missed = [f"missed {number}" for number in range(120)]
    await asyncio.gather(*(bob.driver.begin("send", room=ROOM, content=word) for word in missed))
    await alice.driver.ask("token", token=token("alice"))
    await alice.driver.ask("clock", skip=HOUR)
    await alice.level(["before", *missed])
    assert alice.driver.of("reset") == []
    await alice.driver.ask("send", room=ROOM, content="after")
    words = ["before", *missed, "after"]
    await alice.level(words)
    await bob.level(words)
    assert await chat.judged() == words


@pytest.mark.logs(*OUTAGE)
async def test_a_killed_server_loses_and_repeats_nothing(chat: Chat) -> None:
    alice, bob = await chat.side("alice"), await chat.side("bob")
    words = [f"message {number}" for number in range(40)]
    sends = [alice.driver.begin("send", room=ROOM, content=word) for word in words]
    await until(lambda: len([each for each in sends if each.done()]) >= 10)
    await chat.kill()
    await alice.driver.until(lambda: "reconnecting" in alice.driver.states)
    await chat.start()
    await asyncio.gather(*sends)
    await alice.level(words)
    await bob.level(words)
    assert await chat.judged() == words


async def test_a_token_that_expires_is_replaced_without_a_hole(chat: Chat) -> None:
    alice = await chat.side("alice", expires=int(time.time()) + 8)
    bob = await chat.side("bob")
    await alice.driver.ask("token", token=token("alice"))
    await until(
        lambda: alice.recorder.commands("auth:refresh") or len(alice.recorder.commands("connect")) > 1
    )
    await bob.driver.ask("send", room=ROOM, content="hello")
    await alice.level(["hello"])
    assert await chat.judged() == ["hello"]


async def test_what_one_client_does_the_other_shows(chat: Chat) -> None:
    alice, bob = await chat.side("alice"), await chat.side("bob")
    sent = await alice.driver.ask("send", room=ROOM, content="helo", mentions=["bob"])
    await bob.level(["helo"])
    where = {"room": ROOM, "messageId": sent["messageId"]}
    await alice.driver.ask("edit", content="hello", **where)
    for side in (alice, bob):
        await side.level(["hello"])
    changes = len(alice.driver.of("change"))
    await bob.driver.ask("react", emoji="👍", **where)
    await alice.driver.until(lambda: len(alice.driver.of("change")) > changes)
    await bob.driver.ask("typing", room=ROOM)
    await alice.driver.until(lambda: alice.driver.of("typing"))
    await bob.driver.ask("read", **where)
    await alice.driver.until(lambda: alice.driver.of("receipt"))
    await alice.driver.ask("delete", **where)
    await until(partial(_is_deleted, bob))
    members = len(alice.driver.of("member"))
    async with native(chat.url, "carol") as carol:
        await carol.join(ROOM)
        await alice.driver.until(lambda: len(alice.driver.of("member")) > members)


async def _is_deleted(side: Side) -> bool:
    return [each["content"] for each in await side.driver.messages(ROOM)] == [None]


async def test_a_removed_member_is_told_and_may_not_send(chat: Chat) -> None:
    async with native(chat.url, "owner") as owner:
        await owner.join(ROOM)
        alice = await chat.side("alice")
        await owner.say("room:kick", roomId=ROOM, userId="alice")
        await alice.driver.until(lambda: alice.driver.of("reset"))
        with pytest.raises(Refused) as refused:
            await alice.driver.ask("send", room=ROOM, content="hello")
        assert refused.value.code == "not_a_member"


@pytest.mark.timeout(300)
@pytest.mark.logs(*OUTAGE)
@pytest.mark.parametrize("seed", [1, 2])
async def test_no_fault_of_the_network_breaks_a_promise(chat: Chat, seed: int) -> None:
    rng = random.Random(seed)
    sides = [await chat.side(user) for user in ("alice", "bob", "carol")]
    sends = []
    for number in range(60):
        side = rng.choice(sides)
        sends.append(side.driver.begin("send", room=ROOM, content=f"{number} by {sides.index(side)}"))
        await _break(chat, rng, rng.choice(sides).proxy)
    for side in sides:
        await side.proxy.restore()
        side.proxy.cut()  # what was held may never be noticed by a client that waits for nothing
    await asyncio.gather(*sends)
    logs = (await read_log(chat.database, [ROOM]))[ROOM]
    words = [event.content or "" for event in logs if event.type == "MessagePosted"]
    assert len(words) == 60
    for side in sides:
        await side.level(words[-50:] if len(await side.driver.messages(ROOM)) == 50 else words)
    await chat.judged()


async def _break(chat: Chat, rng: random.Random, proxy: Dead) -> None:
    """Break a connection in one way, or mend it."""
    match rng.choice(
        ["cut", "delay", "freeze", "hold", "refuse", "restore", "restore", "kill", "none", "none"]
    ):
        case "cut":
            proxy.cut()
        case "delay":
            proxy.delay(0.05)
        case "freeze":
            proxy.freeze()
            proxy.cut()
        case "hold":
            proxy.hold()
        case "refuse":
            proxy.refuse()
        case "restore":
            await proxy.restore()
        case "kill" if rng.random() < 0.3:
            await chat.kill()
            await chat.start()
        case _:
            await asyncio.sleep(rng.uniform(0.0, 0.1))
