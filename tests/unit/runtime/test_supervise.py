"""Background work is restarted after every error, and logs it: trouble once, faults each time."""

import asyncio
from collections import Counter

import pytest

from service.errors import Unavailable
from service.runtime import supervise
from service.runtime.supervise import background, start_task


class Work:
    """Ends in the given ways, one after the other, and then goes on for ever."""

    def __init__(self, *ways: Exception | None) -> None:
        self._ways = iter(ways)
        self.well = asyncio.Event()

    async def __call__(self) -> None:
        for way in self._ways:
            if way is None:
                return
            raise way
        self.well.set()
        await asyncio.Event().wait()


async def said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, work: Work) -> list[str]:
    """Return what was logged until the work succeeded."""
    monkeypatch.setattr(supervise, "PAUSE", 0.0)
    async with background(work=work):
        await work.well.wait()
    return [record.message for record in caplog.records]


async def test_an_outage_is_said_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work(Unavailable(), ConnectionRefusedError(), TimeoutError())
    assert await said(caplog, monkeypatch, work) == ["task_waits"]


async def test_a_fault_is_said_each_time_with_its_place_also_in_an_outage(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work(Unavailable(), ValueError(), ValueError(), Unavailable())
    assert await said(caplog, monkeypatch, work) == ["task_waits", "task_failed", "task_failed"]
    assert [bool(record.exc_info) for record in caplog.records] == [False, True, True]


async def test_an_outage_after_a_long_time_without_one_is_said_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "WELL_AFTER", -1.0)
    work = Work(Unavailable(), Unavailable())
    assert await said(caplog, monkeypatch, work) == ["task_waits", "task_waits"]


async def test_work_that_ends_is_begun_again_and_that_is_said(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await said(caplog, monkeypatch, Work(None)) == ["task_ended"]


async def test_failures_are_counted_by_task_from_zero_and_outages_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervise, "PAUSE", 0.0)
    failures: Counter[str] = Counter()
    works = {"ends": Work(None), "fails": Work(ValueError(), KeyError()), "waits": Work(Unavailable())}
    async with background(failures, **works):
        assert failures == {"ends": 0, "fails": 0, "waits": 0}
        for work in works.values():
            await work.well.wait()
    assert dict(failures) == {"ends": 1, "fails": 2, "waits": 0}


async def test_a_failure_is_logged_with_the_name_of_the_task(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise ValueError

    running: set[asyncio.Task[None]] = set()
    start_task("notice", fail(), running)
    (task,) = running
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert running == set()
    assert [(line.message, vars(line)["task"]) for line in caplog.records] == [("task_failed", "notice")]
    assert isinstance(task.exception(), ValueError)


async def test_a_cancelled_task_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    running: set[asyncio.Task[None]] = set()
    start_task("notice", asyncio.sleep(3600), running)
    (task,) = running
    task.cancel()
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert (running, caplog.records) == (set(), [])
