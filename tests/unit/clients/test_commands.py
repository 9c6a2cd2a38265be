"""Which commands the Python client sends when, and what their answers do."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onrecord_client.commands import MAX_WAITING, UNDER_WAY, Command, Commands
from onrecord_client.errors import OUTBOX_FULL, OnRecordError

LOOP = asyncio.new_event_loop()
"""The loop of answers that no test waits for; it never runs."""


def command(kind: str, ref: str, room: str = "general", **fields: Any) -> Command:
    return Command(kind, {"roomId": room, **fields}, ref, answer=LOOP.create_future())


def commands(*given: Command) -> Commands:
    made = Commands(lambda: None)
    for each in given:
        made.add(each)
    return made


def taken(made: Commands, now: float = 0.0) -> list[str]:
    return [each.ref for each in made.take(now)]


def refusal(ref: str, code: str = "too_many_requests", after: float | None = None) -> dict[str, Any]:
    more = {} if after is None else {"retryAfter": after}
    return {"type": "error", "ref": ref, "code": code, "message": code, "retryable": True, **more}


def test_messages_of_a_room_go_one_after_the_other_and_all_else_together() -> None:
    made = commands(
        command("message:send", "a1"), command("message:send", "a2"), command("message:send", "b1", "other"),
        command("message:react", "r"),
    )  # fmt: skip
    assert taken(made) == ["a1", "b1", "r"]
    assert taken(made) == []
    made.answer({"type": "ack", "ref": "a1"}, 0.0)
    assert taken(made) == ["a2"]


def test_a_refused_message_is_sent_again_before_the_next() -> None:
    made = commands(command("message:send", "a1"), command("message:send", "a2"))
    assert taken(made) == ["a1"]
    made.answer(refusal("a1", after=2.0), 0.0)
    assert (taken(made, 1.9), made.next_at()) == ([], 2.0)
    assert taken(made, 2.0) == ["a1"]


def test_a_long_refusal_holds_the_others_back_for_a_while_only() -> None:
    made = commands(command("message:send", "a1"), command("message:read", "r"))
    made.take(0.0)
    made.answer(refusal("a1", after=36_000.0), 0.0)
    made.add(command("message:edit", "e"))
    assert taken(made, 4.9) == []
    assert taken(made, 5.0) == ["e"]


def test_a_read_model_that_is_behind_holds_back_its_reader_alone() -> None:
    made = commands(command("room:list", "l"), command("message:send", "a1"))
    made.take(0.0)
    for wait in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 32.0):
        made.answer(refusal("l", "projection_behind"), 0.0)
        made.add(command("message:react", f"r {wait}"))
        assert taken(made, wait - 0.5) == [f"r {wait}"]
        assert taken(made, wait) == ["l"]
        made.answer({"type": "ack", "ref": f"r {wait}"}, 0.0)


def test_a_command_other_than_a_message_does_not_wait_for_long() -> None:
    edit = command("message:edit", "e")
    made = commands(edit)
    made.take(0.0)
    made.answer(refusal("e", after=36_000.0), 0.0)
    assert isinstance(edit.answer.exception(), OnRecordError)


def test_after_a_loss_everything_goes_again_in_order_with_the_same_refs() -> None:
    made = commands(command("message:react", "r"), command("room:join", "j"), command("message:send", "a1"))
    made.take(0.0)
    made.disconnected()
    first, second, third = taken(made)
    assert (first, third) == ("r", "a1")
    assert second != "j"


def test_too_many_commands_are_refused_at_once() -> None:
    made = commands(*(command("message:react", str(number)) for number in range(MAX_WAITING)))
    with pytest.raises(OnRecordError) as refused:
        made.add(command("message:react", "one more"))
    assert (refused.value.code, refused.value.retryable) == (OUTBOX_FULL, True)
    assert len(taken(made)) == UNDER_WAY


def test_an_answer_to_nothing_is_ignored() -> None:
    made = commands(command("message:send", "a1"))
    made.answer({"type": "ack"}, 0.0)
    made.answer({"type": "ack", "ref": "other"}, 0.0)
    made.answer({"type": "error", "ref": 5}, 0.0)
    assert len(made) == 1


@given(
    steps=st.lists(st.tuples(st.sampled_from(["send", "ack", "retry", "refuse", "lose"]), st.integers(0, 2)))
)
def test_messages_of_a_room_are_answered_in_the_order_of_sending(steps: list[tuple[str, int]]) -> None:
    """Whatever is answered, refused for now or lost: a message is settled once, and never before an earlier one."""
    settled: list[int] = []
    made, now, sent = Commands(lambda: None), 0.0, 0
    under_way: list[str] = []
    for step, number in steps:
        now += 1.0
        if step == "send":
            each = command("message:send", f"ref {sent}", number=sent)
            each.settle = lambda _outcome, place=sent: settled.append(place)
            made.add(each)
            sent += 1
        elif step == "lose":
            made.disconnected()
            under_way = []
        elif under_way:
            ref = under_way.pop(number % len(under_way))
            bad = {"type": "error", "ref": ref, "code": "muted", "message": "", "retryable": False}
            answers = {"ack": {"type": "ack", "ref": ref}, "retry": refusal(ref, after=0.5), "refuse": bad}
            made.answer(answers[step], now)
        under_way += taken(made, now)
        assert len(under_way) <= 1
    assert settled == [*range(len(settled))]
