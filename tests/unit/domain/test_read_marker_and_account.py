"""Read markers only move forward; a person has the name of their newest token."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain import account, read_marker
from service.domain.account import PersonState
from service.domain.commands import MarkUnread, MoveReadMarker, NamePerson, SetBlock
from service.domain.events import (
    Event,
    MemberLeft,
    PersonErased,
    PersonNamed,
    PersonRestored,
    PersonSuspended,
    ReadMarkerMoved,
    UnreadMarkerMoved,
    UserBlocked,
    UserUnblocked,
)
from service.domain.read_marker import ReaderState
from service.domain.streams import person_stream, reader_stream
from service.errors import AccountErased, AccountSuspended, NotAllowed
from tests.support.oracles.memory_log import Log


def moved(*messages: int) -> list[Event]:
    return [ReadMarkerMoved(user="alice", message=message) for message in messages]


def back(message: int, marker: int) -> list[Event]:
    return [UnreadMarkerMoved(user="alice", message=message, marker=marker)]


def named(*names: str | None) -> list[Event]:
    return [PersonNamed(user="alice", name=name) for name in names]


def reader_of(events: list[Event]) -> ReaderState:
    log = Log(reader_stream("general", "alice"))
    for event in events:
        log.add(event, "alice")
    return log.fold(read_marker.evolve, ReaderState())


def person_of(events: list[Event]) -> PersonState:
    log = Log(person_stream("alice"))
    for event in events:
        log.add(event, "alice")
    return log.fold(account.evolve, PersonState())


@pytest.mark.parametrize(
    ("given", "message", "then"),
    [
        ([], 1, moved(1)),
        ([], 900, moved(900)),
        (moved(5), 6, moved(6)),
        (moved(5), 5, []),
        (moved(5), 4, []),
        (moved(5, 9), 7, []),
    ],
)
def test_a_marker_moves_forward_or_not_at_all(given: list[Event], message: int, then: list[Event]) -> None:
    command = MoveReadMarker(room="general", message=message)
    assert read_marker.decide(reader_of(given), command, "alice") == then


@given(st.lists(st.integers(1, 100)))
def test_a_marker_stands_at_the_furthest_message_read(messages: list[int]) -> None:
    log = Log(reader_stream("general", "alice"))
    for message in messages:
        state = log.fold(read_marker.evolve, ReaderState())
        facts = read_marker.decide(state, MoveReadMarker(room="general", message=message), "alice")
        assert log.append(facts, "alice", state.head, read_marker.guard("alice"))
    assert log.fold(read_marker.evolve, ReaderState()) == ReaderState(
        head=log.head, marker=max(messages, default=0)
    )
    recorded = [row.event.message for row in log.rows if isinstance(row.event, ReadMarkerMoved)]
    assert recorded == sorted(set(recorded)), "each recorded move is a move forward"


@given(st.lists(st.integers(1, 100)))
def test_a_marker_never_moves_back_even_where_the_log_says_so(messages: list[int]) -> None:
    assert reader_of(moved(*messages)).marker == max(messages, default=0)


@pytest.mark.parametrize(
    ("given", "name", "then"),
    [
        ([], "Alice", named("Alice")),
        (named("Alice"), "Alice", []),
        (named("Alice"), "alice", named("alice")),
        (named("Alice", "Al"), "Alice", named("Alice")),
        (named(None), "Alice", named("Alice")),
        (named("Alice", "\u200b"), "Alice", named("Alice")),
    ],
)
def test_a_person_is_named_where_the_name_is_another(
    given: list[Event], name: str, then: list[Event]
) -> None:
    assert account.decide(person_of(given), NamePerson(name=name), "alice") == then


@pytest.mark.parametrize(
    ("given", "message", "then"),
    [
        ([], 4, []),  # never read, so unread already
        (moved(9), 4, back(3, 9)),
        (moved(9), 1, back(0, 9)),
        (moved(9), 9, back(8, 9)),
        (moved(9), 10, []),
        (moved(9), 12, []),
        ([*moved(9), *back(3, 9)], 4, []),
        ([*moved(9), *back(3, 9)], 3, back(2, 9)),
        ([*moved(9), *back(3, 9)], 6, back(5, 9)),
        ([*moved(9), *back(3, 9)], 12, back(9, 9)),
        ([*moved(9), *back(3, 9), *moved(10)], 4, back(3, 10)),
    ],
)
def test_unread_begins_before_a_message_and_never_after_what_was_read(
    given: list[Event], message: int, then: list[Event]
) -> None:
    command = MarkUnread(room="general", message=message)
    assert read_marker.decide(reader_of(given), command, "alice") == then


@pytest.mark.parametrize(
    ("given", "message", "then"),
    [
        ([*moved(9), *back(3, 9)], 3, []),
        ([*moved(9), *back(3, 9)], 5, back(5, 9)),
        ([*moved(9), *back(3, 9)], 9, back(9, 9)),
        ([*moved(9), *back(3, 9)], 10, moved(10)),
        ([*moved(9), *back(9, 9)], 9, []),
    ],
)
def test_a_read_up_to_the_read_marker_moves_the_unread_marker_alone(
    given: list[Event], message: int, then: list[Event]
) -> None:
    command = MoveReadMarker(room="general", message=message)
    assert read_marker.decide(reader_of(given), command, "alice") == then


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 30))))
def test_reads_and_mark_unread_in_any_order_follow_a_model(wishes: list[tuple[bool, int]]) -> None:
    log, marker, position = Log(reader_stream("general", "alice")), 0, 0
    for unread, message in wishes:
        state = log.fold(read_marker.evolve, ReaderState())
        if unread:
            position = min(message - 1, marker)
        else:
            marker, position = max(marker, message), max(position, message)
        command = (MarkUnread if unread else MoveReadMarker)(room="general", message=message)
        facts = read_marker.decide(state, command, "alice")
        assert log.append(facts, "alice", state.head, read_marker.guard("alice"))
        now = log.fold(read_marker.evolve, ReaderState())
        assert (now.marker, now.position) == (marker, position)
        if log.rows:  # the newest event alone gives the state
            assert read_marker.evolve(ReaderState(), log.rows[-1]) == now
    recorded = [row.event.message for row in log.rows if isinstance(row.event, ReadMarkerMoved)]
    assert recorded == sorted(set(recorded)), "receipts never go back"


def issued(second: int | None) -> datetime | None:
    return None if second is None else datetime.fromtimestamp(second, UTC)


@pytest.mark.parametrize(
    ("known", "given", "taken"),
    [
        (None, None, True),
        (None, 5, True),
        (5, None, False),
        (5, 4, False),
        (5, 5, False),
        (5, 6, True),
    ],
)
def test_the_name_of_the_newest_token_wins(known: int | None, given: int | None, *, taken: bool) -> None:
    state = person_of([PersonNamed(user="alice", name="Alice", issued_at=issued(known))])
    events = account.decide(state, NamePerson(name="Al", issued_at=issued(given)), "alice")
    assert events == ([PersonNamed(user="alice", name="Al", issued_at=issued(given))] if taken else [])


@given(st.lists(st.tuples(st.sampled_from(["Alice", "Al"]), st.integers(1, 9)), max_size=5), st.data())
def test_devices_with_tokens_of_different_names_settle(
    tokens: list[tuple[str, int]], data: st.DataObject
) -> None:
    """However often and in whatever order devices connect, each token changes the name at most once."""
    log = Log(person_stream("alice"))
    for name, second in data.draw(st.lists(st.sampled_from(tokens), max_size=30)) if tokens else []:
        state = log.fold(account.evolve, PersonState())
        command = NamePerson(name=name, issued_at=issued(second))
        assert log.append(account.decide(state, command, "alice"), "alice", state.head, account.GUARD)
    times = [row.event.issued_at for row in log.rows if isinstance(row.event, PersonNamed)]
    assert times == sorted(set(times), key=lambda at: at.timestamp())  # type: ignore[union-attr] # all are given


@pytest.mark.parametrize(
    ("given", "then"),
    [
        ([], PersonState()),
        (named("Alice"), PersonState(1, "Alice")),
        (named("Alice", "Al"), PersonState(2, "Al")),
        (named("Alice", None), PersonState(2, None)),
        ([*named("Alice"), MemberLeft(user="alice")], PersonState(2, "Alice")),
        ([*named("Alice"), PersonSuspended(user="alice")], PersonState(2, "Alice", suspended=True)),
        ([PersonSuspended(user="alice"), PersonRestored(user="alice")], PersonState(2)),
        ([*named("Alice"), PersonErased(user="alice", ground="g")], PersonState(2, erased=True)),
    ],
)
def test_a_person_is_called_what_was_said_last(given: list[Event], then: PersonState) -> None:
    assert person_of(given) == then


@pytest.mark.parametrize(
    ("state", "refusal"),
    [
        (PersonState(suspended=True), AccountSuspended),
        (PersonState(erased=True), AccountErased),
        (PersonState(suspended=True, erased=True), AccountErased),
    ],
)
def test_whoever_is_suspended_or_erased_may_not_come_in(state: PersonState, refusal: type[Exception]) -> None:
    with pytest.raises(refusal):
        account.require_standing(state)
    account.require_standing(PersonState(1, "Alice"))


def test_an_event_of_another_kind_moves_a_readers_head_alone() -> None:
    assert reader_of([*moved(3), MemberLeft(user="alice")]) == ReaderState(head=2, marker=3)


def test_a_marker_relies_on_its_user_and_an_account_on_all_of_its_stream() -> None:
    assert read_marker.guard("alice") == ("user:alice",)
    assert account.GUARD == ("*",)


def blocks(*users: str) -> list[Event]:
    return [UserBlocked(user=user) for user in users]


@pytest.mark.parametrize(
    ("given", "user", "blocked", "then"),
    [
        ([], "mallory", True, blocks("mallory")),
        (blocks("mallory"), "mallory", True, []),
        (blocks("mallory"), "mallory", False, [UserUnblocked(user="mallory")]),
        ([], "mallory", False, []),
        ([*blocks("mallory"), UserUnblocked(user="mallory")], "mallory", True, blocks("mallory")),
        (blocks("a", "b"), "c", True, NotAllowed),
        ([*blocks("a", "b"), UserUnblocked(user="a")], "c", True, NotAllowed),
        ([*blocks("a", "b"), UserUnblocked(user="a")], "a", True, blocks("a")),
        ([], "alice", True, NotAllowed),
    ],
)
def test_blocks_are_changes_and_at_most_two(given: list[Event], user: str, blocked: bool, then: Any) -> None:  # noqa: FBT001 - a row
    command = SetBlock(user=user, blocked=blocked)
    if then is NotAllowed:
        with pytest.raises(NotAllowed):
            account.decide_block(person_of(given), command, "alice", 2)
    else:
        assert account.decide_block(person_of(given), command, "alice", 2) == then


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c", "d"]), st.booleans()), max_size=30))
def test_the_last_event_about_each_user_says_whether_they_are_blocked(
    changes: list[tuple[str, bool]],
) -> None:
    """The reader relies on it: it reads no others."""
    events: list[Event] = []
    state = PersonState()
    for user, blocked in changes:
        command = SetBlock(user=user, blocked=blocked)
        try:
            decided = account.decide_block(state, command, "alice", 3)
        except NotAllowed:
            continue
        if decided:
            state = account.with_block(state, command, state.head + 1)
        events += decided
        assert person_of(events) == state
        assert len(state.blocked) + len(state.unblocked) <= 3
    last = {event.subject: event for event in events}
    assert set(state.blocked) == {event.user for event in last.values() if isinstance(event, UserBlocked)}


def test_the_blocks_of_an_erased_person_end() -> None:
    erased = [*blocks("a"), PersonErased(user="alice", ground="g")]
    assert person_of(erased) == PersonState(2, erased=True)
