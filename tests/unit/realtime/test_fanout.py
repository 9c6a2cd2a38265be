"""How rooms are written: directly to sockets or by their transports, in turns, and what waits together in one piece."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime

import pytest

from service.domain.events import MessagePosted, Recorded
from service.gateway.transport import io_uring
from service.protocol.events import MessageNew, Outgoing
from service.realtime import encoded_event, fanout
from service.realtime.encoded_event import EncodedEvent, WriteBatch
from service.realtime.fanout import FanoutScheduler
from service.realtime.room_subscribers import RoomSubscribers
from service.realtime.subscriber import DeliveredRange
from service.runtime.direct_sockets import NOWHERE, DirectSockets
from tests.support.realtime.senders import SENDERS, sender

AT = datetime(2026, 11, 27, tzinfo=UTC)


def words(outgoing: Outgoing) -> bytes:
    assert isinstance(outgoing, MessageNew)
    assert outgoing.content is not None
    own = f"({outgoing.ref})" if isinstance(outgoing.ref, str) else ""
    return f"{outgoing.seq}{own}{outgoing.content[1:]} ".encode()


def item(seq: int, author: str = "alice", content: str = "x") -> EncodedEvent:
    event = MessagePosted(author=author, content=content, ref="own")
    recorded = Recorded("room:general", seq, seq, event.subject, AT, author, event)
    return EncodedEvent(recorded, lambda user: user, {"words": words, "other": words})


class SocketSubscriber:
    """A subscriber with a real socket; `waits` holds what is written through the transport."""

    wire_format = "words"

    def __init__(self, sockets: DirectSockets, stack: ExitStack, user: str = "bob") -> None:
        self.user = user
        self.turn = asyncio.Lock()
        self.closing = False
        self.here, self.there = (stack.enter_context(one) for one in socket.socketpair())
        self.here.setblocking(False)
        self.there.settimeout(30)
        self.descriptor = self.here.fileno()
        sockets.deny(self.descriptor)
        self.waits = b""

    def write(self, frame: bytes) -> None:
        self.waits += frame

    def received(self) -> bytes:
        """Return what was written directly to the socket."""
        self.there.setblocking(False)
        try:
            return self.there.recv(1 << 20)
        except BlockingIOError:
            return b""

    def left(self, _room: str) -> None: ...

    def wrote(self, _room: str, _first: int, _last: int) -> None: ...

    async def drained(self) -> None: ...


class Scene:
    """Rooms, and a fan-out that records what each subscriber has."""

    def __init__(self, stack: ExitStack, sockets: DirectSockets, turn: float = 60.0) -> None:
        self.sockets = sockets
        self.stack = stack
        self.written: list[tuple[str, list[int]]] = []
        self.fanout = FanoutScheduler(self._note, turn)

    def room(self, name: str, level: int = 0) -> RoomSubscribers:
        return RoomSubscribers(name, level, self.sockets, "words")

    def subscriber(
        self, room: RoomSubscribers, user: str = "bob", after: int = 0, *, direct: bool = True
    ) -> SocketSubscriber:
        subscriber = SocketSubscriber(self.sockets, self.stack, user)
        if direct:
            self.sockets.allow(subscriber.descriptor, subscriber.here.send)
        room.add(subscriber, DeliveredRange(after))
        return subscriber

    def put(self, room: RoomSubscribers, *items: EncodedEvent) -> None:
        room.put(items)
        self.fanout.add(room)

    def _note(self, room: RoomSubscribers, batch: WriteBatch) -> None:
        self.written.append((room.room, [one.recorded.seq for one in batch.items]))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(params=SENDERS)
def sockets(
    request: pytest.FixtureRequest, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> DirectSockets:
    """Each way to write to sockets, in chunks of a size that is convenient to test."""
    monkeypatch.setattr(io_uring, "FEWEST", 1)
    found = sender(request.param)
    stack.callback(found.close)
    found.chunk = 32
    return found


@pytest.fixture
def scene(stack: ExitStack, sockets: DirectSockets) -> Scene:
    return Scene(stack, sockets)


def test_direct_sockets_bypass_the_transport_and_others_do_not(scene: Scene) -> None:
    room = scene.room("general")
    quick, busy = scene.subscriber(room), scene.subscriber(room, direct=False)
    other = scene.subscriber(room)
    other.wire_format, other.descriptor = "other", NOWHERE
    scene.put(room, item(1), item(2))
    scene.fanout.start()
    assert (quick.received(), quick.waits) == (b"1 2 ", b"")
    assert (busy.received(), busy.waits) == (b"", b"1 2 ")


def test_only_authors_receive_their_own_refs(scene: Scene) -> None:
    room = scene.room("general")
    author, second, other = (
        scene.subscriber(room, "alice"),
        scene.subscriber(room, "alice"),
        scene.subscriber(room),
    )
    scene.put(room, item(1), item(2, "carol"))
    scene.fanout.start()
    assert author.waits == second.waits == b"1(own) 2 "
    assert other.received() == b"1 2 "
    room.remove(author)
    scene.put(room, item(3))
    scene.fanout.start()
    assert second.waits == b"1(own) 2 3(own) "
    assert author.waits == b"1(own) 2 "


def test_what_the_kernel_does_not_take_is_left_to_the_transport(scene: Scene) -> None:
    room = scene.room("general")
    part, none, broken, whole = (scene.subscriber(room) for _ in range(4))
    for subscriber in (part, none):
        subscriber.here.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    filled = 0
    with suppress(BlockingIOError):
        while True:
            filled += none.here.send(bytes(100))
    broken.there.close()
    scene.put(room, item(1, content="x" * 20_000), item(2))
    scene.fanout.start()
    everything = b"1" + b"x" * 19_999 + b" 2 "
    accepted = part.received()
    assert 0 < len(accepted) < len(everything)
    assert accepted + part.waits == everything
    assert (none.received(), none.waits) == (bytes(filled), everything)
    assert broken.waits == everything  # whose transport finds out
    assert (whole.received(), whole.waits) == (everything, b"")


def test_a_write_that_ends_another_subscriber_leaves_its_range_exact(scene: Scene) -> None:
    room = scene.room("general")
    first, second, whole = (scene.subscriber(room) for _ in range(3))
    ranges = {}
    for subscriber in (first, second):
        scene.sockets.allow(subscriber.descriptor, lambda _frame: 0)
        subscriber.here.shutdown(socket.SHUT_WR)

    def remove_both(_frame: bytes) -> None:
        for subscriber in (first, second):
            ranges[subscriber] = room.remove(subscriber).delivered_up_to

    first.write = remove_both  # type: ignore[assignment,method-assign] # as a transport that ends above its limit
    scene.put(room, item(1))
    scene.fanout.start()
    assert ranges == {first: 1, second: 0}
    assert second.waits == b""
    assert whole.received() == b"1 "


def test_a_descriptor_that_is_another_connection_by_now_is_not_written_to(scene: Scene) -> None:
    old, new = scene.room("old"), scene.room("new")
    gone = scene.subscriber(old)
    scene.put(old, item(1))
    old.remove(gone)
    scene.sockets.deny(gone.descriptor)
    gone.here.close()
    subscriber = scene.subscriber(new)
    assert subscriber.descriptor == gone.descriptor
    scene.fanout.start()
    assert subscriber.received() == b""


async def test_a_small_room_does_not_wait_for_a_large_one(
    stack: ExitStack, sockets: DirectSockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "SHARE", 0.0)
    scene = Scene(stack, sockets, turn=0.0)
    large, small = scene.room("large"), scene.room("small")
    many = [scene.subscriber(large) for _ in range(3 * sockets.chunk)]
    few = scene.subscriber(small)
    scene.put(large, item(1))
    scene.put(small, item(1))
    scene.fanout.start()
    assert few.received() == b""
    await asyncio.sleep(0)
    assert few.received() == b"1 "
    assert many[-1].received() == b""
    while scene.fanout.busy:
        await asyncio.sleep(0)
    assert all(subscriber.received() == b"1 " for subscriber in many)
    assert scene.written == [("small", [1]), ("large", [1])]


async def test_what_comes_while_a_room_waits_goes_out_together(
    stack: ExitStack, sockets: DirectSockets
) -> None:
    scene = Scene(stack, sockets, turn=0.0)
    room = scene.room("general")
    subscribers = [scene.subscriber(room) for _ in range(2 * sockets.chunk)]
    scene.put(room, item(1))
    scene.fanout.start()  # to the first of them
    for seq in (2, 3, 4):
        scene.put(room, item(seq))
        scene.fanout.start()
    while scene.fanout.busy:
        await asyncio.sleep(0)
    assert scene.written == [("general", [1]), ("general", [2, 3, 4])]
    assert all(subscriber.received() == b"1 2 3 4 " for subscriber in subscribers)


async def test_a_subscriber_removed_during_a_batch_has_received_it_or_not(
    stack: ExitStack, sockets: DirectSockets
) -> None:
    scene = Scene(stack, sockets, turn=0.0)
    room = scene.room("general")
    subscribers = [scene.subscriber(room) for _ in range(sockets.chunk + 2)]
    scene.put(room, item(1))
    scene.fanout.start()
    last, following = subscribers[sockets.chunk - 1], subscribers[sockets.chunk]
    assert room.remove(last).delivered_up_to == 1
    assert room.remove(following).delivered_up_to == 0
    assert scene.sockets[following.descriptor]
    while scene.fanout.busy:
        await asyncio.sleep(0)
    assert (last.received(), following.received(), subscribers[-1].received()) == (b"1 ", b"", b"1 ")
    assert not following.waits


async def test_who_comes_while_something_waits_is_not_written_it_again(
    stack: ExitStack, sockets: DirectSockets
) -> None:
    scene = Scene(stack, sockets, turn=0.0)
    room = scene.room("general")
    for _ in range(2 * sockets.chunk):
        scene.subscriber(room)
    scene.put(room, item(1))
    scene.fanout.start()
    scene.put(room, item(2))
    late = scene.subscriber(room, after=2)
    scene.put(room, item(3))
    while scene.fanout.busy:
        await asyncio.sleep(0)
    scene.put(room, item(4))
    scene.fanout.finish()
    assert late.waits + late.received() == b"3 4 "
    assert room.remove(late).delivered_up_to == 4


def test_what_goes_out_together_is_bounded(scene: Scene) -> None:
    room = scene.room("general")
    subscriber = scene.subscriber(room)
    content = "x" * 1000
    count = 2 * encoded_event.MOST_TOGETHER // len(content)
    scene.put(room, *(item(seq, content=content) for seq in range(1, count + 1)))
    scene.fanout.start()
    assert len(scene.written) > 1
    assert [seq for _, seqs in scene.written for seq in seqs] == list(range(1, count + 1))
    assert len(subscriber.received().split()) == count


def test_more_than_may_wait_is_written_before_anything_else(stack: ExitStack, sockets: DirectSockets) -> None:
    scene = Scene(stack, sockets, turn=0.0)
    room = scene.room("general")
    subscriber = scene.subscriber(room)
    for seq in range(1, fanout.MOST_WAITING + 1):
        scene.put(room, item(seq))
    assert subscriber.received() == b""
    scene.put(room, item(fanout.MOST_WAITING + 1))
    assert not scene.fanout.busy
    assert len(subscriber.received().split()) == fanout.MOST_WAITING + 1


def test_every_named_descriptor_has_a_slot_and_no_socket_has_none() -> None:
    sockets = DirectSockets()
    assert sockets[NOWHERE] is None
    sockets.deny(40)
    sockets.allow(7, len)
    sockets.allow(NOWHERE, len)
    assert [sockets[one] for one in (7, 8, 40, NOWHERE)] == [len, None, None, None]
    sockets.allow(40, len)
    sockets.deny(7)
    assert [sockets[one] for one in (7, 40, NOWHERE)] == [None, len, None]
