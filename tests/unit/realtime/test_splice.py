"""Feed and Hub as a state machine: every listener gets each seq after its cursor exactly once, ascending.

Events are delivered, dropped, doubled or late, and users join at any time. The log is in memory here, so that
thousands of orders can be tried; `tests/unit/realtime/test_two_nodes.py` has the real one.
"""

import asyncio
from typing import TYPE_CHECKING, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.domain import room
from service.domain.events import Event, MemberJoined, MemberLeft, MessagePosted, Recorded, RoomOpened
from service.domain.room import RoomState
from service.realtime import fanout, room_subscribers
from service.realtime.hub import Hub
from service.realtime.user_cache import UserCache
from tests.support.quick import examples
from tests.support.realtime.subscribers import STREAM, Ear, Log, number

if TYPE_CHECKING:
    from service.eventstore.reader import LogReader


class Splice(RuleBasedStateMachine):
    """One room on one node, whose news arrives as the world likes."""

    turn = 60.0
    """Seconds for which the hub writes before anything else may happen."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.log = Log()
        self.log.append(RoomOpened(name="General"))
        self.log.append(MemberJoined(user="alice", role="owner"))
        reader = cast("LogReader", self.log)
        self.hub = Hub(reader, UserCache(reader), {"number": number}, turn=self.turn)
        self.on_the_way: list[Recorded] = []
        self.ears: list[Ear] = []
        self.listening: list[asyncio.Task[None]] = []

    def teardown(self) -> None:
        self.settle()
        for ear in self.ears:
            assert ear.closing or ear.heard == self._due(ear), ear.after
            self.hub.subscriptions.unsubscribe(ear, "general")
            stretches = [(ear.heard[0], ear.heard[-1])] if ear.heard else []
            assert ear.stretches == stretches, "what is said to be written is what was written"
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
    def news_arrives(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.on_the_way) - 1))
        fate = data.draw(st.sampled_from(["delivered", "doubled", "lost"]))
        news = self.on_the_way.pop(index)
        if fate != "lost":
            self._do(lambda: self.hub.deliver({STREAM: [news]}))
        if fate == "doubled":
            self._do(lambda: self.hub.deliver({STREAM: [news, news]}))

    @rule(user=st.sampled_from(["alice", "alice", "bob", "carol"]), data=st.data())
    def listen(self, user: str, data: st.DataObject) -> None:
        ear = Ear(user, data.draw(st.integers(0, len(self.log.events))))
        ear.on_ending = lambda: self.hub.subscriptions.unsubscribe(ear, "general")
        self.ears.append(ear)
        self.listening.append(
            self.loop.create_task(self.hub.subscriptions.subscribe(ear, "general", ear.after))
        )

    @precondition(lambda self: self.ears)
    @rule(data=st.data())
    def cut(self, data: st.DataObject) -> None:
        ear = data.draw(st.sampled_from(self.ears))
        if data.draw(st.booleans()):
            ear.close()
        else:
            ear.takes = len(ear.heard) + data.draw(st.integers(1, 3))

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
    def nobody_hears_anything_twice_or_out_of_order(self) -> None:
        for ear in self.ears:
            assert ear.heard == list(range(ear.after + 1, ear.after + 1 + len(ear.heard)))

    def _do(self, work: object) -> None:
        async def run() -> None:
            work()  # type: ignore[operator] # a callable

        self.loop.run_until_complete(run())

    def _due(self, ear: Ear) -> list[int]:
        """What a listener has to have heard: to the head, or to the leave that took it out."""
        if not ear.out:
            return list(range(ear.after + 1, len(self.log.events) + 1))
        end = (ear.heard or [ear.after])[-1]
        ends = {
            one.seq
            for one in self.log.events
            if isinstance(one.event, MemberLeft) and one.event.user == ear.user
        }
        assert end in ends or end == ear.after
        return list(range(ear.after + 1, end + 1))


class SplicedBetweenWrites(Splice):
    """The same where anything may happen between two writes."""

    turn = 0.0

    def __init__(self) -> None:
        self.before, (room_subscribers.CHUNK, fanout.SHARE) = (room_subscribers.CHUNK, fanout.SHARE), (1, 0.0)
        super().__init__()

    def teardown(self) -> None:
        super().teardown()
        room_subscribers.CHUNK, fanout.SHARE = self.before


Splice.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=30, deadline=None)
TestSplice = Splice.TestCase
SplicedBetweenWrites.TestCase.settings = settings(
    max_examples=examples(150), stateful_step_count=40, deadline=None
)
TestSplicedBetweenWrites = SplicedBetweenWrites.TestCase
