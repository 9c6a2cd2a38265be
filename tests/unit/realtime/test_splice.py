"""Feed and Hub as a state machine: every subscriber receives each seq after its cursor once, ascending.

Events are delivered, dropped, doubled or late, and users join at any time. The log is in memory here, so that
thousands of orders can be tried; `tests/unit/realtime/test_two_nodes.py` has the real one.
"""

import asyncio
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.domain import room
from service.domain.events import Event, MemberJoined, MemberLeft, MessagePosted, Recorded, RoomOpened
from service.domain.room import RoomState
from service.gateway.transport import io_uring
from service.realtime import fanout
from service.realtime.hub import Hub
from service.realtime.user_cache import UserCache
from service.runtime.direct_sockets import DirectSockets
from tests.support.quick import examples
from tests.support.realtime.senders import sender
from tests.support.realtime.subscribers import STREAM, Log, Recorder, SocketRecorder, number, padded

if TYPE_CHECKING:
    from service.eventstore.reader import LogReader
    from service.realtime.encoded_event import Encoders


class Splice(RuleBasedStateMachine):
    """One room on one node, whose events arrive late, twice, or never."""

    turn = 60.0
    """The time slice of the fan-out in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.log = Log()
        self.log.append(RoomOpened(name="General"))
        self.log.append(MemberJoined(user="alice", role="owner"))
        reader = cast("LogReader", self.log)
        self.sockets = self.direct_sockets()
        encoders: Encoders = {"number": number, "padded": padded}
        self.hub = Hub(reader, UserCache(reader), encoders, "padded", self.sockets, turn=self.turn)
        self.on_the_way: list[Recorded] = []
        self.subscribers: list[Recorder] = []
        self.listening: list[asyncio.Task[None]] = []

    def direct_sockets(self) -> DirectSockets:
        return DirectSockets()

    def subscriber(self, user: str, after: int) -> Recorder:
        return Recorder(user, after)

    def teardown(self) -> None:
        self.settle()
        for subscriber in self.subscribers:
            subscriber.read()
            assert subscriber.closing or subscriber.received == self._due(subscriber), subscriber.after
            self.hub.subscriptions.unsubscribe(subscriber, "general")
            ranges = [(subscriber.received[0], subscriber.received[-1])] if subscriber.received else []
            assert subscriber.ranges == ranges, "the reported range is what was written"
        self.loop.run_until_complete(self.hub.close())
        # A read of names outlives the repair that asked for it, since others may wait for it too.
        for reading in asyncio.all_tasks(self.loop):
            self.loop.run_until_complete(reading)
        self.loop.close()

    @rule(author=st.sampled_from(["alice", "bob", "carol"]))
    def post(self, author: str) -> None:
        self.on_the_way.append(self.log.append(MessagePosted(author=author, content="x", ref="r")))

    @rule(user=st.sampled_from(["bob", "carol"]))
    def come_or_go(self, user: str) -> None:
        state = RoomState("general")
        for known in self.log.events:
            state = room.evolve(state, known)
        event: Event = MemberLeft(user=user) if user in state.members else MemberJoined(user=user)
        self.on_the_way.append(self.log.append(event))

    @precondition(lambda self: self.on_the_way)
    @rule(data=st.data())
    def an_event_arrives(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.on_the_way) - 1))
        fate = data.draw(st.sampled_from(["delivered", "doubled", "lost"]))
        event = self.on_the_way.pop(index)
        if fate != "lost":
            self._do(lambda: self.hub.deliver({STREAM: [event]}))
        if fate == "doubled":
            self._do(lambda: self.hub.deliver({STREAM: [event, event]}))

    @rule(user=st.sampled_from(["alice", "alice", "bob", "carol"]), data=st.data())
    def listen(self, user: str, data: st.DataObject) -> None:
        subscriber = self.subscriber(user, data.draw(st.integers(0, len(self.log.events))))
        subscriber.on_ending = lambda: self.hub.subscriptions.unsubscribe(subscriber, "general")
        self.subscribers.append(subscriber)
        self.listening.append(
            self.loop.create_task(self.hub.subscriptions.subscribe(subscriber, "general", subscriber.after))
        )

    @precondition(lambda self: self.subscribers)
    @rule(data=st.data())
    def cut(self, data: st.DataObject) -> None:
        subscriber = data.draw(st.sampled_from(self.subscribers))
        if data.draw(st.booleans()):
            subscriber.close()
        else:
            subscriber.takes = len(subscriber.received) + data.draw(st.integers(1, 3))

    @rule(steps=st.integers(0, 6))
    def time_passes(self, steps: int) -> None:
        for _ in range(steps):
            self.loop.run_until_complete(asyncio.sleep(0))

    @rule()
    def settle(self) -> None:
        """Everything comes to rest: what was lost is read again, as after a RESYNC."""
        for task in self.listening:
            self.loop.run_until_complete(task)
        self.listening.clear()
        self.on_the_way.clear()
        self.loop.run_until_complete(self.hub.feeds.refresh("general"))
        while self.hub.waiting:
            self.loop.run_until_complete(asyncio.sleep(0))

    @invariant()
    def each_event_is_received_once_and_in_order(self) -> None:
        for subscriber in self.subscribers:
            assert subscriber.received == list(
                range(subscriber.after + 1, subscriber.after + 1 + len(subscriber.received))
            )

    def _do(self, work: object) -> None:
        async def run() -> None:
            work()  # type: ignore[operator] # a callable

        self.loop.run_until_complete(run())

    def _due(self, subscriber: Recorder) -> list[int]:
        """Return what a subscriber has to receive: up to the head, or to the leave that removed it."""
        if not subscriber.out:
            return list(range(subscriber.after + 1, len(self.log.events) + 1))
        end = (subscriber.received or [subscriber.after])[-1]
        ends = {
            one.seq
            for one in self.log.events
            if isinstance(one.event, MemberLeft) and one.event.user == subscriber.user
        }
        assert end in ends or end == subscriber.after
        return list(range(subscriber.after + 1, end + 1))


class SplicedBetweenWrites(Splice):
    """The same with other steps between any two writes."""

    turn = 0.0

    def __init__(self) -> None:
        self.before, fanout.SHARE = fanout.SHARE, 0.0
        super().__init__()

    def direct_sockets(self) -> DirectSockets:
        sockets = super().direct_sockets()
        sockets.chunk = 1
        return sockets

    def teardown(self) -> None:
        super().teardown()
        fanout.SHARE = self.before


class SplicedSockets(SplicedBetweenWrites):
    """The same with sockets of small buffers that are written directly, a few at a time; their peers read sometimes."""

    sender = "send"

    def __init__(self) -> None:
        self.fewest, io_uring.FEWEST = io_uring.FEWEST, 1
        super().__init__()

    def direct_sockets(self) -> DirectSockets:
        sockets = sender(self.sender)
        sockets.chunk = 3
        return sockets

    def subscriber(self, user: str, after: int) -> Recorder:
        return SocketRecorder(user, after, self.sockets)

    @precondition(lambda self: self.subscribers)
    @rule(data=st.data())
    def a_peer_reads(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.subscribers)).read()

    @rule(count=st.integers(1, 8))
    def post_many(self, count: int) -> None:
        for _ in range(count):
            event = self.log.append(MessagePosted(author="alice", content="x", ref="r"))
            self._do(lambda event=event: self.hub.deliver({STREAM: [event]}))

    def teardown(self) -> None:
        super().teardown()
        for subscriber in self.subscribers:
            subscriber.close()
        self.sockets.close()
        io_uring.FEWEST = self.fewest


class SplicedByUring(SplicedSockets):
    """The same by io_uring."""

    sender = "uring"


Splice.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=30, deadline=None)
TestSplice = Splice.TestCase
SplicedBetweenWrites.TestCase.settings = settings(
    max_examples=examples(150), stateful_step_count=40, deadline=None
)
SplicedSockets.TestCase.settings = SplicedByUring.TestCase.settings = settings(
    max_examples=examples(60), stateful_step_count=40, deadline=None
)
TestSplicedBetweenWrites = SplicedBetweenWrites.TestCase
TestSplicedSockets = SplicedSockets.TestCase
TestSplicedByUring = pytest.mark.needs("io_uring")(SplicedByUring.TestCase)
