"""The splice: for any order of arrival, a feed gives out each of a room's events once and in order."""

from datetime import UTC, datetime

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from service.domain import room
from service.domain.events import (
    Event,
    MemberJoined,
    MemberMuted,
    MessageDeleted,
    MessageEdited,
    MessagePosted,
    Recorded,
    RoomOpened,
    RoomTopicChanged,
)
from service.domain.room import RoomState
from service.protocol.native import encode
from service.realtime.encoded_event import EncodedEvent
from service.realtime.room_feed import RoomFeed
from service.realtime.room_memory import (
    MAX_PARKED,
    PARKED_SHARE,
    PARKED_SIZE,
    RING,
    RING_BYTES,
    RING_SIZE,
    RingMemory,
)

AT = datetime(2026, 11, 24, tzinfo=UTC)


def recorded(seq: int, event: Event | None = None) -> Recorded:
    happened = event or MessagePosted(author="alice", content=f"message {seq}", ref=f"ref-{seq}")
    return Recorded("room:general", seq, seq * 10, happened.subject, AT, "alice", happened)


def item(seq: int) -> EncodedEvent:
    return EncodedEvent(recorded(seq), lambda user: user.title(), {"native": encode})


def empty_feed(head: int = 0) -> RoomFeed:
    return RoomFeed(RoomState("general", head=head), RingMemory(RING_BYTES))


def long_message(seq: int) -> EncodedEvent:
    event = MessagePosted(author="alice", content="x" * 10_000, ref="r")
    return EncodedEvent(recorded(seq, event), str, {"native": encode})


@given(st.lists(st.integers(1, 30), max_size=120), st.integers(0, 10))
def test_whatever_arrives_comes_out_contiguous_and_once(arrivals: list[int], start: int) -> None:
    feed = empty_feed(start)
    out: list[int] = []
    for seq in arrivals:
        out += [one.seq for one in feed.accept([recorded(seq)])]
    assert out == list(range(start + 1, start + 1 + len(out)))
    assert feed.head == start + len(out)
    assert feed.gap == any(seq > feed.head for seq in arrivals)


@given(st.permutations(range(1, 25)))
def test_whatever_the_order_everything_comes_out_in_the_end(order: list[int]) -> None:
    feed = empty_feed()
    out = [one.seq for seq in order for one in feed.accept([recorded(seq)])]
    assert out == list(range(1, 25))
    assert not feed.gap


def test_the_state_is_the_fold_of_what_came_out() -> None:
    events = [RoomOpened(name="General"), MemberJoined(user="alice", role="owner"), MemberJoined(user="bob")]
    feed = empty_feed()
    expected = RoomState("general")
    for seq, event in enumerate(events, 1):
        feed.accept([recorded(seq, event)])
        expected = room.evolve(expected, recorded(seq, event))
    assert feed.state == expected
    assert sorted(feed.state.members) == ["alice", "bob"]


def test_events_waiting_for_a_gap_are_bounded_and_the_next_is_accepted() -> None:
    feed = empty_feed()
    feed.accept(recorded(seq) for seq in range(2, MAX_PARKED * 2))
    feed.accept([recorded(1)])
    assert feed.head == MAX_PARKED + 1


def mention_all(seq: int) -> Recorded:
    """Return a message whose mentions take most of its memory."""
    mentions = tuple(f"{number}-" + "u" * 124 for number in range(100))
    return recorded(seq, MessagePosted(author="alice", content="hi", ref="r", mentions=mentions))


def test_events_waiting_for_a_gap_are_bounded_in_memory_too() -> None:
    feed = empty_feed()
    feed.accept(mention_all(seq) for seq in range(2, MAX_PARKED))
    feed.accept([recorded(1)])
    assert PARKED_SIZE // 30_000 < feed.head < PARKED_SIZE // 15_000
    assert feed.ring._memory.held == 0


def test_waiting_events_of_all_rooms_share_the_memory_of_rings() -> None:
    """They are counted with the rings, which give way to them, and they give way to no ring."""
    memory = RingMemory(4 * RING_SIZE)
    feeds = [RoomFeed(RoomState(f"room{number}"), memory) for number in range(20)]
    for number in range(1, 5):
        for seq in range(1, 100):
            feeds[-number].ring.append(long_message(seq))
    assert memory.held > 3 * RING_SIZE
    for feed in feeds:
        feed.accept(mention_all(seq) for seq in range(2, 12))
    assert 0.8 * RING_SIZE < memory.reserved <= 4 * RING_SIZE // PARKED_SHARE
    assert memory.held == memory.reserved + sum(feed.ring.size for feed in feeds) <= 4 * RING_SIZE
    assert feeds[0].gap
    assert not feeds[-1].gap
    feeds[-1].accept([recorded(1)])
    assert feeds[-1].head == 1, "the next one is never refused"
    for feed in feeds:
        feed.close()
    assert (memory.reserved, memory.held) == (0, 0)


@given(st.lists(st.tuples(st.integers(1, 12), st.booleans()), max_size=60))
def test_what_waits_is_counted_exactly_while_it_waits(arrivals: list[tuple[int, bool]]) -> None:
    feed = empty_feed()
    for seq, large in arrivals:
        feed.accept([mention_all(seq) if large else recorded(seq)])
        assert set(feed._parking._sizes) == set(feed._parked)
        assert feed.ring._memory.held == feed._parking.size == sum(feed._parking._sizes.values())
    feed.drop_parked()
    assert feed.ring._memory.held == 0


@given(st.integers(1, RING * 2), st.integers(0, RING * 2))
def test_recent_events_are_all_or_none(head: int, after: int) -> None:
    feed = empty_feed()
    for seq in range(1, head + 1):
        for one in feed.accept([recorded(seq)]):
            feed.remember(item(one.seq))
    recent = feed.recent(after)
    expected = list(range(after + 1, head + 1))
    if len(expected) > RING:
        assert recent is None
    else:
        assert recent is not None
        assert [one.recorded.seq for one in recent] == expected


def test_what_a_feed_remembers_is_bounded_in_size_too() -> None:
    feed = empty_feed()
    for seq in range(1, 200):
        feed.accept([recorded(seq)])
        feed.remember(long_message(seq))
    kept = RING_SIZE // long_message(99).memory
    assert feed.recent(199 - kept) is not None
    assert feed.recent(199 - kept - 1) is None


def test_a_message_is_encoded_once_and_its_ref_is_for_its_author() -> None:
    made = []

    def encoder(outgoing: object) -> bytes:
        made.append(outgoing)
        return encode(outgoing)  # type: ignore[arg-type] # every outgoing event is one

    message = EncodedEvent(recorded(7), lambda user: user.title(), {"native": encoder})
    others = [message.frame("native", user) for user in ("bob", "carol", "dave")]
    own = [message.frame("native", "alice") for _ in range(2)]
    assert len(made) == 2
    assert others[0] is others[1] is others[2]
    assert own[0] is own[1]
    assert b"ref-7" in own[0]
    assert b"ref" not in others[0]
    assert b'"name":"Alice"' in others[0]


def words_of(feed: RoomFeed) -> list[object]:
    return [getattr(one.recorded.event, "content", None) for one in feed.recent(0) or []]


def feed_of(*events: tuple[str, Event]) -> RoomFeed:
    feed = empty_feed()
    for seq, (by, event) in enumerate(events, 1):
        happened = msgspec.structs.replace(recorded(seq, event), by=by)
        feed.accept([happened])
        feed.remember(EncodedEvent(happened, NAMES.__getitem__, {"native": encode}))
    return feed


NAMES = {"alice": "Alice L.", "bob": "Bob"}


def test_a_deletion_takes_the_content_of_its_message_out_of_the_ring() -> None:
    feed = feed_of(
        ("alice", MessagePosted(author="alice", content="a secret", ref="r")),
        ("bob", MessagePosted(author="bob", content="of bob", ref="r")),
        ("alice", MessageDeleted(message=1)),
    )
    assert words_of(feed) == [None, "of bob", None]


def test_feed_forgets_content_and_name_of_one_person_only() -> None:
    feed = feed_of(
        ("alice", MessagePosted(author="alice", content="a secret", ref="r")),
        ("bob", MessagePosted(author="bob", content="of alice", ref="r")),
        ("alice", MessageEdited(message=1, content="another secret")),
        ("alice", RoomTopicChanged(topic="her topic")),
        ("bob", MemberMuted(user="alice", reason="bob's reason")),
        ("alice", MemberMuted(user="bob", reason="her reason")),
        ("bob", MemberJoined(user="alice")),
    )
    before = feed.ring.size
    NAMES["alice"] = "alice"
    feed.forget("alice")
    after = feed.ring.size
    sent = [one.frame("native", "bob").decode() for one in feed.recent(0) or []]
    NAMES["alice"] = "Alice L."
    for gone in ("secret", "her topic", "her reason", "Alice L."):
        assert gone not in "".join(sent)
    for kept in ("of alice", "bob's reason"):
        assert kept in "".join(sent)
    assert words_of(feed)[:3] == [None, "of alice", None]
    assert feed.state.topic is None
    assert after < before
    assert feed.ring.size == sum(one.memory for one in feed.ring.items)


def test_a_topic_of_somebody_else_stays() -> None:
    feed = feed_of(("alice", RoomTopicChanged(topic="hers")), ("bob", RoomTopicChanged(topic="his")))
    feed.forget("alice")
    assert feed.state.topic == "his"


def test_what_waits_for_a_missing_event_is_forgotten_too() -> None:
    feed = empty_feed()
    feed.accept([recorded(2)])
    feed.forget("alice")
    assert [
        one.event.content for one in feed.accept([recorded(1)]) if isinstance(one.event, MessagePosted)
    ] == [
        "message 1",
        None,
    ]


def after_restart(head: int, live: int) -> RoomFeed:
    """Return a feed that was loaded at a head and has received a number of events since."""
    feed = empty_feed(head)
    for seq in range(head + 1, head + live + 1):
        feed.accept([recorded(seq)])
        feed.remember(item(seq))
    return feed


@given(st.integers(1, RING * 2), st.integers(0, RING), st.data())
def test_recalled_events_equal_events_received_live(head: int, live: int, data: st.DataObject) -> None:
    feed = after_restart(head, live)
    for _ in range(3):
        after = data.draw(st.integers(0, head + live))
        known = feed.recent(after)
        assert feed.can_backfill(after) == (known is None and after >= head + live - RING)
        if feed.can_backfill(after):
            feed.backfill([item(seq) for seq in range(after + 1, feed.first)])
            known = feed.recent(after)
        if known is not None:
            assert [one.recorded.seq for one in known] == list(range(after + 1, head + live + 1))
    assert feed.ring.size == sum(one.memory for one in feed.ring.items)


def test_feed_keeps_the_latest_events_of_a_long_history() -> None:
    feed = after_restart(100, 0)
    feed.backfill([long_message(seq) for seq in range(1, 101)])
    kept = RING_SIZE // long_message(99).memory
    assert feed.recent(100 - kept) is not None
    assert feed.recent(100 - kept - 1) is None
    assert not feed.can_backfill(0)
    feed.forget_past()
    assert feed.can_backfill(0)


def test_what_does_not_join_what_is_remembered_is_not_recalled() -> None:
    feed = after_restart(10, 5)
    feed.backfill([item(seq) for seq in range(1, 9)])
    assert feed.first == 11
    assert feed.recent(8) is None
    assert not feed.can_backfill(8), "or it would be read for ever"


def test_what_was_deleted_while_the_past_was_read_says_nothing() -> None:
    feed = after_restart(2, 0)
    past = [item(1), item(2)]
    deleted = recorded(3, MessageDeleted(message=1))
    feed.accept([deleted])
    feed.remember(EncodedEvent(deleted, str, {"native": encode}))
    feed.backfill(past)
    assert words_of(feed) == [None, "message 2", None]


def test_a_feed_counts_how_often_it_forgot() -> None:
    feed = after_restart(1, 0)
    feed.forget("alice")
    feed.forget_past()
    assert feed.removals == 2
