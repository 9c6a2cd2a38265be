"""The page's outbox against a server that refuses by its rate, answers late, or not at all."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.page.page_modules import PageModules

pytestmark = pytest.mark.needs("node")


def refs(happened: list[Any]) -> list[str]:
    """Return the refs of the frames that were sent."""
    return [each["ref"] for each in happened if isinstance(each, dict) and "ref" in each]


def ack(ref: str, **fields: object) -> dict[str, object]:
    return {"type": "ack", "ref": ref, "seq": 1, **fields}


def refusal(ref: str, retry_after: float = 1.0, **fields: object) -> dict[str, object]:
    refused = {"code": "too_many_requests", "message": "Wait.", "retryable": True, "retryAfter": retry_after}
    return {"type": "error", "ref": ref, **refused, **fields}


def messages(page: PageModules, *names: str) -> list[str]:
    return [ref for name in names for ref in refs(page.add("message:send", name, content=name))]


def test_messages_are_sent_one_after_the_other(page: PageModules) -> None:
    page.line()
    page.outbox("resend")
    assert messages(page, "a", "b", "c") == ["a"]
    assert refs(page.outbox("answer", ack("a"))) == ["b"]
    assert refs(page.outbox("answer", ack("b"))) == ["c"]


def test_other_commands_do_not_wait_for_a_message(page: PageModules) -> None:
    page.line()
    page.outbox("resend")
    messages(page, "a")
    assert refs(page.add("message:read", "r", messageId=1)) == ["r"]


def test_all_waits_for_retry_after_and_is_then_sent_by_itself_in_order(page: PageModules) -> None:
    page.line()
    messages(page, "a", "b")
    assert refs(page.outbox("resend")) == ["a"]
    assert page.outbox("answer", refusal("a", 2.5)) == []
    assert refs(page.add("message:read", "r", messageId=1)) == []
    assert page.advance(2.4) == []
    assert refs(page.advance(0.1)) == ["a", "r"]
    happened = page.outbox("answer", ack("a", seq=7))
    assert refs(happened) == ["b"]
    assert happened[-1] == {"done": "a", "seq": 7}


@pytest.mark.parametrize("frame", [refusal("a", 3600.0), refusal("a", code="overloaded")])
def test_other_refusals_and_long_waits_are_the_answer(page: PageModules, frame: dict[str, object]) -> None:
    page.line()
    page.outbox("resend")
    messages(page, "a")
    assert page.outbox("answer", frame) == [{"failed": "a", "code": frame["code"], "retryable": True}]


def test_a_refused_typing_indicator_is_not_sent_later(page: PageModules) -> None:
    page.line()
    page.outbox("resend")
    page.add("typing:start", "t", roomId="a")
    assert page.outbox("answer", refusal("t"))[0]["failed"] == "t"


def test_a_new_connection_does_not_wait_for_the_last_ones_limit(page: PageModules) -> None:
    page.line()
    page.outbox("resend")
    messages(page, "a")
    page.outbox("answer", refusal("a", 20.0))
    page.outbox("pause")
    assert refs(page.outbox("resend")) == ["a"]
    assert page.advance(14) == []
    assert page.advance(1) == ["dead"]


@given(st.lists(st.sampled_from(["ack", "refuse", "wait", "cut"]), max_size=60), st.integers(1, 60))
def test_every_message_arrives_once_and_in_order(page: PageModules, answers: list[str], count: int) -> None:
    """Whatever the server answers, and whenever the connection is cut: after all of it, everything is sent."""
    page.line()
    names = [f"m{number}" for number in range(count)]
    messages(page, *names)
    under_way = refs(page.outbox("resend"))
    arrived: list[str] = []

    def answered(frame: dict[str, object]) -> list[str]:
        return refs(page.outbox("answer", frame))

    for answer in [*answers, *["wait", "ack"] * count]:
        assert len(under_way) <= 1
        if answer == "wait":
            under_way += refs(page.advance(1.0))
        elif answer == "cut":
            page.outbox("pause")
            under_way = refs(page.outbox("resend"))
        elif under_way and answer == "ack":
            arrived.append(under_way[0])
            under_way = answered(ack(under_way[0]))
        elif under_way:
            under_way = answered(refusal(under_way[0]))
    assert arrived == names
