"""When the Python client connects again, and when never."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onrecord_client.backoff import (
    COME_BACK,
    LONGEST_EARLY_S,
    LONGEST_S,
    STAY_AWAY,
    Backoff,
    Ended,
    closed,
    refused,
)
from tests.support.environment import ROOT

TABLE = (ROOT / "docs" / "reference" / "errors.md").read_text().split("## Error codes")[0]


@given(st.one_of(st.none(), st.integers(0, 4999)))
def test_a_close_code_is_final_only_if_it_says_so(code: int | None) -> None:
    assert closed(code).final == (code in STAY_AWAY)


def test_the_codes_are_those_of_the_reference() -> None:
    rows = [line.split("|")[1:4] for line in TABLE.splitlines() if line.startswith(("| 4", "| 1"))]
    table = {int(code): comes.strip() for code, _, comes in rows}
    assert {code for code, comes in table.items() if comes == "no"} == {*STAY_AWAY}
    assert {code for code, comes in table.items() if comes.startswith("yes")} == {*COME_BACK}


def test_the_first_retry_after_each_connection_comes_within_a_second() -> None:
    backoff = Backoff()
    for _ in range(10):
        assert backoff.delay(Ended("")) <= 1.0
        for _ in range(5):
            backoff.delay(Ended(""))
        backoff.reset()


@given(st.integers(0, 200), st.floats(0.0, 100.0))
def test_a_delay_grows_has_jitter_and_an_end(attempts: int, at_least: float) -> None:
    backoff = Backoff()
    delays = [backoff.delay(Ended("", at_least=at_least)) for _ in range(attempts + 1)]
    assert all(at_least < delay <= at_least + LONGEST_S for delay in delays)
    ceiling = min(LONGEST_S, 0.5 * 2.0**attempts)
    assert at_least + ceiling / 2 <= delays[-1] <= at_least + ceiling


@pytest.mark.parametrize(
    ("ended", "at_least", "final"),
    [
        (closed(4009), 5.0, False),
        (closed(4009, retry_after=12.0), 12.0, False),
        (closed(4002, retry_after=12.0), 12.0, False),
        (closed(4002, retry_after=1e9), LONGEST_EARLY_S, False),
        (closed(1006), 0.0, False),
        (refused(429, "7", connected_before=False), 7.0, False),
        (refused(429, None, connected_before=False), 5.0, False),
        (refused(503, None, connected_before=False), 0.0, False),
        (refused(403, None, connected_before=False), 0.0, True),
        (refused(403, None, connected_before=True), 0.0, False),
    ],
)
def test_the_server_may_ask_for_more_time(ended: Ended, at_least: float, final: bool) -> None:  # noqa: FBT001 - a row
    assert (ended.at_least, ended.final) == (at_least, final)
