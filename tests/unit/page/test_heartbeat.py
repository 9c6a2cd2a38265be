"""A dead line is noticed within pingInterval + pingTimeout; a line with traffic costs no ping."""

import pytest

from tests.support.page.page_modules import PageModules

pytestmark = pytest.mark.needs("node")

CONNECTED = {"pingInterval": 25, "pingTimeout": 20}


def test_silence_is_asked_about_and_then_ends_the_connection(page: PageModules) -> None:
    page.line()
    page.heartbeat("start", CONNECTED)
    assert page.advance(24.9) == []
    assert page.advance(0.1) == ["ping"]
    assert page.advance(19.9) == []
    assert page.advance(0.1) == ["dead"]
    assert page.advance(1000) == []


def test_any_frame_is_an_answer(page: PageModules) -> None:
    page.line()
    page.heartbeat("start", CONNECTED)
    for _ in range(5):
        assert page.advance(26) == ["ping"]
        page.heartbeat("heard")
        assert page.advance(20) == []
        page.heartbeat("heard")
        page.advance(0)


def test_nothing_is_sent_while_frames_arrive(page: PageModules) -> None:
    page.line()
    page.heartbeat("start", CONNECTED)
    for _ in range(100):
        assert page.advance(20) == []
        page.heartbeat("heard")


@pytest.mark.parametrize("heard", range(0, 45, 5))
def test_the_last_frame_is_never_further_back_than_both_together(page: PageModules, heard: int) -> None:
    page.line()
    page.heartbeat("start", CONNECTED)
    page.advance(heard)
    page.heartbeat("heard")
    assert "dead" not in page.advance(44.9)
    assert page.advance(0.1) == ["dead"]


def test_a_closed_connection_is_left_alone(page: PageModules) -> None:
    page.line()
    page.heartbeat("start", CONNECTED)
    page.heartbeat("stop")
    assert page.advance(1000) == []


def test_a_server_that_names_no_timeout_has_the_default(page: PageModules) -> None:
    page.line()
    page.heartbeat("start", {"pingInterval": 1})
    assert page.advance(20.9) == ["ping"]
    assert page.advance(0.1) == ["dead"]
