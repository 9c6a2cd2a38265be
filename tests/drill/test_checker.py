"""Each rule of the checker finds the breach that it is for, in a small history, and nothing in one that is whole."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.drill.checker import judge
from tests.drill.evidence.history import (
    Closed,
    Delivery,
    Head,
    History,
    Logged,
    Op,
    Operation,
    Record,
    Said,
    Silence,
    Snapshot,
    load,
)
from tests.drill.rules import RULES

Breach = Callable[[list[Record]], None]


def at(seq: int) -> str:
    return f"2026-01-01T00:00:0{seq}.000000Z"


def operation(
    user: str, op: Op, time: float, *, connection: str | None = None, **fields: object
) -> Operation:
    told: dict[str, Any] = {
        "op": op,
        "outcome": "ok",
        "completed": time + 0.05,
        "ref": f"{op}-{user}-{time}",
        **fields,
    }
    node = 0 if user == "ann" else 1
    return Operation(
        process=f"p-{user}",
        user=user,
        connection=connection or f"{user}/1",
        node=node,
        invoked=time,
        **told,
    )


def heard(connection: str, seq: int, time: float, **fields: Any) -> Delivery:
    return Delivery(connection=connection, time=time, room="r", seq=seq, at=at(seq), **fields)


def whole_history() -> list[Record]:
    """Ann opens a room, Bob joins it, receives a message, loses his connection and comes back, and receives another."""
    return [
        operation("ann", "connect", 0.1),
        operation("bob", "connect", 0.2),
        operation("ann", "join", 0.3, room="r", seq=2, at=at(2), head=2, after=0),
        heard("ann/1", 1, 0.41, type="room:created"),
        heard("ann/1", 2, 0.42, type="room:user_joined", user="ann"),
        operation("bob", "join", 0.5, room="r", seq=3, at=at(3), head=3),
        Snapshot(connection="bob/1", time=0.61, room="r", page=[], more=False),
        heard("ann/1", 3, 0.62, type="room:user_joined", user="bob"),
        heard("bob/1", 3, 0.63, type="room:user_joined", user="bob"),
        operation("ann", "send", 0.7, room="r", ref="one", content="Hello", seq=4, at=at(4)),
        heard("ann/1", 4, 0.81, type="message:new", user="ann", content="Hello", ref="one"),
        heard("bob/1", 4, 0.82, type="message:new", user="ann", content="Hello"),
        operation("bob", "history", 0.9, room="r", limit=50, page=[Said(4, "ann", "Hello", at(4))]),
        Closed(connection="bob/1", time=1.0, code=1006),
        operation("bob", "connect", 1.1, connection="bob/2", cursors={"r": 4}, heads={"r": Head(True, 4)}),
        operation("ann", "send", 1.3, room="r", ref="two", content="Still there?", seq=5, at=at(5)),
        heard("ann/1", 5, 1.41, type="message:new", user="ann", content="Still there?", ref="two"),
        heard("bob/2", 5, 1.42, type="message:new", user="ann", content="Still there?"),
        Silence(began=1.5, ended=2.0),
        Logged(room="r", seq=1, type="RoomOpened", by="ann", at=at(1)),
        Logged(room="r", seq=2, type="MemberJoined", by="ann", at=at(2), user="ann"),
        Logged(room="r", seq=3, type="MemberJoined", by="bob", at=at(3), user="bob"),
        Logged(
            room="r", seq=4, type="MessagePosted", by="ann", at=at(4), user="ann", content="Hello", ref="one"
        ),
        Logged(
            room="r",
            seq=5,
            type="MessagePosted",
            by="ann",
            at=at(5),
            user="ann",
            content="Still there?",
            ref="two",
        ),
    ]


def logged(history: list[Record], seq: int) -> Logged:
    return next(one for one in history if isinstance(one, Logged) and one.seq == seq)


def sent(history: list[Record], ref: str) -> Operation:
    return next(one for one in history if isinstance(one, Operation) and one.ref == ref)


def delivered(history: list[Record], connection: str, seq: int) -> Delivery:
    return next(
        one for one in history if isinstance(one, Delivery) and (one.connection, one.seq) == (connection, seq)
    )


def read(history: list[Record]) -> Operation:
    return next(one for one in history if isinstance(one, Operation) and one.op == "history")


def back(history: list[Record]) -> Operation:
    return next(one for one in history if isinstance(one, Operation) and one.connection == "bob/2")


def lose_an_acknowledged_message(history: list[Record]) -> None:
    history.remove(logged(history, 5))


def record_a_retry_again(history: list[Record]) -> None:
    again = logged(history, 5)
    history.append(
        Logged(room="r", seq=6, type=again.type, by="ann", at=at(6), content=again.content, ref="two")
    )


def record_what_nobody_sent(history: list[Record]) -> None:
    history.append(Logged(room="r", seq=6, type="MessagePosted", by="eve", at=at(6), content="Boo", ref="x"))


def leave_a_number_out(history: list[Record]) -> None:
    history.append(Logged(room="r", seq=7, type="RoomRenamed", by="ann", at=at(7)))


def turn_the_clock_back(history: list[Record]) -> None:
    logged(history, 3).at = at(0)


def answer_a_retry_otherwise(history: list[Record]) -> None:
    history.append(
        operation("ann", "send", 1.45, room="r", ref="two", content="Still there?", seq=5, at=at(6))
    )


def record_in_the_wrong_order(history: list[Record]) -> None:
    for one, seq in ((sent(history, "one"), 5), (sent(history, "two"), 4)):
        event = logged(history, seq)
        one.seq, one.at, event.content, event.ref = seq, at(seq), one.content, one.ref


def refuse_a_member(history: list[Record]) -> None:
    history.append(
        operation("bob", "send", 1.45, room="r", content="Me too", outcome="refused", code="not_a_member")
    )


def never_answer(history: list[Record]) -> None:
    history.append(operation("ann", "send", 1.45, room="r", content="?", outcome="unknown", completed=None))


def leave_a_delivery_out(history: list[Record]) -> None:
    history.remove(delivered(history, "ann/1", 4))


def deliver_twice(history: list[Record]) -> None:
    history.append(heard("ann/1", 5, 1.43, type="message:new", user="ann", content="Still there?", ref="two"))


def withhold_what_a_joiner_is_owed(history: list[Record]) -> None:
    history.remove(delivered(history, "bob/1", 3))


def deliver_other_words(history: list[Record]) -> None:
    delivered(history, "bob/2", 5).content = "Good bye"


def show_a_ref_to_others(history: list[Record]) -> None:
    delivered(history, "bob/2", 5).ref = "two"


def deliver_before_it_was_sent(history: list[Record]) -> None:
    delivered(history, "bob/2", 5).time = 1.25


def begin_too_late_on_the_next_connection(history: list[Record]) -> None:
    history.remove(delivered(history, "bob/1", 4))


def stay_silent(history: list[Record]) -> None:
    history.remove(delivered(history, "bob/2", 5))


def never_come_back(history: list[Record]) -> None:
    history.remove(back(history))
    history.remove(delivered(history, "bob/2", 5))


def tell_somebody_who_left(history: list[Record]) -> None:
    history += [
        operation("bob", "leave", 1.43, room="r", seq=6, at=at(6), connection="bob/2"),
        Logged(room="r", seq=6, type="MemberLeft", by="bob", at=at(6), user="bob"),
        Logged(room="r", seq=7, type="RoomRenamed", by="ann", at=at(7)),
        heard("bob/2", 6, 1.45, type="room:user_left", user="bob"),
        heard("bob/2", 7, 1.46, type="room:updated"),
    ]


def deny_the_recovery(history: list[Record]) -> None:
    back(history).heads["r"] = Head(recovered=False, head=4, reason="ahead")


def blame_the_client(history: list[Record]) -> None:
    history.append(Closed(connection="ann/1", time=1.95, code=4501))


def show_a_page_with_a_hole(history: list[Record]) -> None:
    read(history).page = []


def show_other_words_on_a_page(history: list[Record]) -> None:
    read(history).page = [Said(4, "ann", "Hell", at(4))]


BREACHES: list[tuple[str, Breach]] = [
    ("lost", lose_an_acknowledged_message),
    ("twice", record_a_retry_again),
    ("invented", record_what_nobody_sent),
    ("hole", leave_a_number_out),
    ("clock", turn_the_clock_back),
    ("retry", answer_a_retry_otherwise),
    ("real-time", record_in_the_wrong_order),
    ("refused", refuse_a_member),
    ("unanswered", never_answer),
    ("order", leave_a_delivery_out),
    ("order", deliver_twice),
    ("order", withhold_what_a_joiner_is_owed),
    ("told-wrong", deliver_other_words),
    ("told-wrong", show_a_ref_to_others),
    ("too-early", deliver_before_it_was_sent),
    ("skipped", begin_too_late_on_the_next_connection),
    ("unheard", stay_silent),
    ("absent", never_come_back),
    ("leak", tell_somebody_who_left),
    ("unrecovered", deny_the_recovery),
    ("closed", blame_the_client),
    ("page", show_a_page_with_a_hole),
    ("page-wrong", show_other_words_on_a_page),
]


def test_nothing_is_found_in_a_whole_history() -> None:
    assert judge(whole_history()) == []


@pytest.mark.parametrize(("rule", "breach"), BREACHES)
def test_a_rule_finds_its_breach(rule: str, breach: Breach) -> None:
    history = whole_history()
    breach(history)
    assert rule in {finding.rule for finding in judge(history)}


def test_every_rule_has_its_breach() -> None:
    assert {rule for rule, _ in BREACHES} == set(RULES)


def test_a_join_that_changed_nothing_is_not_taken_for_another_in_its_batch() -> None:
    """Seen in a drill: Ann's second device joins in the same commit as Bob, and so gets Bob's seq and time."""
    history = whole_history()
    again = operation("ann", "join", 0.55, connection="ann/2", room="r", seq=3, at=at(3), head=3)
    history += [
        operation("ann", "connect", 0.15, connection="ann/2"),
        again,
        heard("ann/2", 4, 0.83, type="message:new", user="ann", content="Hello", ref="one"),
        heard("ann/2", 5, 1.43, type="message:new", user="ann", content="Still there?", ref="two"),
    ]
    assert judge(history) == []


def test_a_kept_history_is_judged_like_the_one_that_ran(tmp_path: Path) -> None:
    history = History(whole_history())
    lose_an_acknowledged_message(history.records)
    path = tmp_path / "history.ndjson"
    history.save(path)
    assert judge(load(path).records) == judge(history.records) != []
