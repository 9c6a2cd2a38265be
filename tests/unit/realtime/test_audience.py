"""Ephemeral events reach only members, by the room's state at the moment of the write, and are encoded once."""

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest

from service.domain.events import (
    Event,
    MemberBanned,
    MemberJoined,
    MemberLeft,
    MemberMuted,
    MemberRemoved,
    MessagePosted,
    RoomArchived,
    RoomOpened,
    RoomRenamed,
)
from service.gateway.native.endpoint import native_frame
from service.gateway.notices.receipts import MARKER, MarkerNotices
from service.presence.presence import Presence
from service.presence.roster import Change
from service.protocol.contract import examples, schemas
from service.protocol.contract.schemas import events
from service.protocol.events import MessageReadBy, Outgoing, TypingStarted, TypingStopped
from service.realtime import room_memory
from service.realtime.audience import MOST_HELD, EphemeralBatch
from service.realtime.hub import Hub
from service.realtime.user_cache import UserCache
from tests.support.realtime.subscribers import AT, STREAM, Log, Recorder

if TYPE_CHECKING:
    from service.eventstore.reader import LogReader

START, STOP = (kind(room_id="general", user_id="alice") for kind in (TypingStarted, TypingStopped))


class Listener(Recorder):
    """A subscriber that records the types of the events that it receives outside the order of the room."""

    def __init__(self, user: str) -> None:
        super().__init__(user, 0)
        self.types: list[str] = []

    def write(self, frame: bytes) -> None:
        if not frame.startswith(b"#"):
            self.types.append(frame.decode())


def encode(outgoing: Outgoing) -> bytes:
    return b"#" if getattr(outgoing, "seq", None) else str(outgoing.__struct_config__.tag).encode()


class World:
    """A node with a room of alice, bob and carol."""

    def __init__(self) -> None:
        self.log = Log()
        self.log.append(RoomOpened(name="General"))
        for user in ("alice", "bob", "carol"):
            self.log.append(MemberJoined(user=user))
        reader = cast("LogReader", self.log)
        self.people = UserCache(reader)
        self.hub = Hub(reader, self.people, {"number": encode})

    async def listener(self, user: str) -> Listener:
        one = Listener(user)
        await self.hub.subscriptions.subscribe(one, "general", None)
        return one

    def kick(self, user: str) -> None:
        self.hub.deliver({STREAM: [self.log.append(MemberRemoved(user=user))]})


@pytest.fixture
async def world() -> World:
    made = World()
    await made.people.load(["alice", "bob", "carol"])
    return made


async def test_who_only_arrived_and_is_removed_receives_nothing(world: World) -> None:
    bob, carol = Listener("bob"), Listener("carol")
    await world.hub.feeds.feed("general")
    for one in (bob, carol):
        world.hub.subscriptions.pre_subscribe(one, "general")
    world.kick("bob")
    world.hub.audience.broadcast("general", START)
    assert (bob.types, carol.types) == ([], ["typing:start"])
    assert [len(listeners) for _, listeners in world.hub.audience.rooms_with_members_under(200)] == [1]
    await world.hub.close()


async def test_a_removal_counts_before_everyone_was_written_it(world: World) -> None:
    bob = await world.listener("bob")
    world.hub._fanout.start = lambda: None  # type: ignore[method-assign] # the event of the removal waits
    world.kick("bob")
    assert world.hub.waiting
    world.hub.audience.broadcast("general", START)
    assert bob.types == []
    await world.hub.close()


async def test_a_frame_of_a_node_that_is_ahead_waits_for_the_removal_between(world: World) -> None:
    bob, carol = [await world.listener(user) for user in ("bob", "carol")]
    missed = world.log.append(MemberRemoved(user="bob"))
    world.hub.audience.broadcast("general", START, but="alice", seen=missed.seq)
    world.hub.audience.broadcast("general", STOP, but="alice")
    assert carol.types == [], "a stop does not overtake its start"
    world.hub.deliver({STREAM: [missed]})
    assert (bob.types, carol.types) == ([], ["typing:start", "typing:stop"])
    world.hub.audience.broadcast("general", START, but="carol", seen=missed.seq)
    assert carol.types == ["typing:start", "typing:stop"]
    await world.hub.close()


async def test_a_removal_that_waits_for_a_name_counts_already(world: World) -> None:
    bob, carol = [await world.listener(user) for user in ("bob", "carol")]
    world.people.clear()
    world.kick("bob")
    assert world.hub.feeds.state("general").role("bob") == "member"  # type: ignore[union-attr] # it is in memory
    world.hub.audience.broadcast("general", START)
    assert (bob.types, carol.types) == ([], [])
    async with asyncio.timeout(30):
        while not carol.types:
            await asyncio.sleep(0)
    assert (bob.types, carol.types) == ([], ["typing:start"])
    await world.hub.close()


async def test_held_frames_are_bounded_and_go_with_the_room(world: World) -> None:
    carol = await world.listener("carol")
    missed = world.log.append(RoomRenamed(name="Other"))
    for _ in range(MOST_HELD + 50):
        world.hub.audience.broadcast("general", START, seen=missed.seq)
    world.hub.deliver({STREAM: [missed]})
    assert len(carol.types) == MOST_HELD
    world.hub.audience.broadcast("general", START, seen=missed.seq + 1)
    world.hub.reset()
    assert world.hub.audience._held == {}
    await world.hub.close()


async def test_a_room_with_a_listener_that_catches_up_stays_in_memory(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room_memory, "MAX_IDLE_FEEDS", 0)
    bob = Listener("bob")
    world.hub.subscriptions.pre_subscribe(bob, "general")
    await world.hub.feeds.feed("general")
    assert world.hub.audience.are_members("general", ["bob", "carol"])
    world.hub.audience.broadcast("general", START)
    assert bob.types == ["typing:start"]
    world.hub.subscriptions.cancel(bob)
    assert not world.hub.feeds.by_room
    assert not world.hub.audience.are_members("general", ["bob"])
    await world.hub.close()


async def test_presence_is_not_sent_where_the_shared_room_ended_in_between(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    listeners = {user: await world.listener(user) for user in ("alice", "bob", "carol")}
    presence = Presence.__new__(Presence)
    presence._audience, presence._people = world.hub.audience, world.people
    mail = world.hub.audience.batch

    def removed_first() -> Any:
        world.kick("bob")  # after the letters are begun, before they are sent
        return mail()

    monkeypatch.setattr(world.hub.audience, "batch", removed_first)
    changes = {user: Change(user, "online", "away", None, returns=False) for user in ("alice", "bob")}
    await presence._notify(changes)
    received = {user: listener.types for user, listener in listeners.items()}
    assert received == {"alice": ["presence:changed"], "bob": [], "carol": ["presence:changed"]}
    await world.hub.close()


async def test_nodes_of_both_versions_read_each_other_s_markers(world: World) -> None:
    sent: list[bytes] = []

    class Bus:
        def publish_to_room(self, _room: str, kind: str, payload: bytes) -> None:
            assert kind == MARKER
            sent.append(payload)

    carol = await world.listener("carol")
    notices = MarkerNotices(world.hub.audience, cast("Any", Bus()))
    at = world.log.events[0].at
    notices.marker_moved("general", "alice", 3, at)
    before = msgspec.json.decode(sent[0], type=MessageReadBy)
    assert (before.user_id, before.message_id) == ("alice", 3), (
        "an earlier version passes over what it does not know"
    )
    assert msgspec.json.decode(sent[0])["seen"] == 4
    notices.marker_moved_elsewhere("general", msgspec.json.encode(before))
    assert carol.types == ["message:read"], "a marker that is not past the last one is not sent again"
    notices.marker_moved_elsewhere(
        "general", msgspec.json.encode(msgspec.structs.replace(before, message_id=4))
    )
    assert carol.types == ["message:read"] * 2
    notices.marker_moved("general", "alice", 2, at)
    assert len(carol.types) == 2, "of two nodes that move it, the later one went first"
    assert len(sent) == 2, "each node judges for itself"
    world.log.append(MessagePosted(author="alice", content="x", ref="r"))
    last = msgspec.structs.replace(before, message_id=5)
    notices.marker_moved_elsewhere("general", msgspec.json.encode({**msgspec.to_builtins(last), "seen": 5}))
    assert len(carol.types) == 2, "it waits for what it follows"
    world.hub.deliver({STREAM: world.log.events[4:]})
    await asyncio.sleep(0)
    assert len(carol.types) == 3
    await world.hub.close()


@pytest.mark.parametrize("kind", events(), ids=lambda kind: kind.__name__)
def test_every_event_is_encoded_once_for_all_listeners(kind: type[Outgoing]) -> None:
    frames: list[bytes] = []
    encoded: list[Outgoing] = []

    def encode(outgoing: Outgoing) -> bytes:
        encoded.append(outgoing)
        return native_frame(outgoing)

    outgoing = msgspec.convert(examples.events(schemas.event_name(kind))[0], kind)
    batch = EphemeralBatch({"native": encode}, concatenable=None)
    for _ in range(2):
        batch.send(cast("Any", SimpleNamespace(wire_format="native", write=frames.append)), [outgoing])
    assert frames == [native_frame(outgoing)] * 2
    assert encoded == [outgoing]


SILENCED: list[tuple[Event, str | None]] = [
    (MemberMuted(user="bob"), "bob"),
    (MemberRemoved(user="bob"), "bob"),
    (MemberBanned(user="bob"), "bob"),
    (MemberLeft(user="bob"), "bob"),
    (RoomArchived(), None),
]


@pytest.mark.parametrize(("event", "user"), SILENCED, ids=lambda value: type(value).__name__)
async def test_who_may_post_no_more_is_reported_when_the_event_is_applied(
    world: World, event: Event, user: str | None
) -> None:
    silenced: list[tuple[str, str | None]] = []
    world.hub.on_silence = lambda room, who: silenced.append((room, who))
    await world.listener("carol")
    assert world.hub.audience.may_post("general", "bob")
    world.hub.deliver({STREAM: [world.log.append(RoomRenamed(name="x")), world.log.append(event)]})
    assert silenced == [("general", user)]
    audience = world.hub.audience
    assert not audience.may_post("general", "bob")
    assert audience.may_post("general", "carol") is (user is not None)
    assert audience.may_post("general", "bob", seen=len(world.log.events) + 1), (
        "the room is not known up to there"
    )
    assert audience.may_post("elsewhere", "bob"), "not in memory"
    await world.hub.close()


async def test_an_ended_mute_silences_no_one(world: World) -> None:
    await world.listener("carol")
    world.hub.deliver({STREAM: [world.log.append(MemberMuted(user="bob", until=AT))]})
    assert world.hub.audience.may_post("general", "bob")
    await world.hub.close()


async def test_a_pair_is_a_direct_room_of_two(world: World) -> None:
    await world.listener("carol")
    assert not world.hub.audience.is_pair("general", "alice", "bob")
    feed = world.hub.feeds.by_room["general"]
    feed.state = msgspec.structs.replace(feed.state, visibility="direct")
    assert not world.hub.audience.is_pair("general", "alice", "bob"), "three are in it"
    world.kick("carol")
    assert world.hub.audience.is_pair("general", "bob", "alice")
    assert not world.hub.audience.is_pair("elsewhere", "bob", "alice")
    await world.hub.close()
