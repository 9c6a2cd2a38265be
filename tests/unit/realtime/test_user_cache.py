"""The user cache only becomes newer, in any order of updates."""

import asyncio
from typing import TYPE_CHECKING, cast

import pytest
from rpds import HashTrieSet

from service.domain.account import PersonState, decide
from service.domain.commands import NamePerson
from service.realtime import user_cache
from service.realtime.user_cache import UserCache

if TYPE_CHECKING:
    from service.eventstore.reader import LogReader

NAMED, ERASED = PersonState(1, "Alice"), PersonState(2, erased=True)


class Log:
    """A log whose answers can be held after they were read."""

    def __init__(self) -> None:
        self.state = NAMED
        self.asked = 0
        self.open = asyncio.Event()
        self.open.set()

    async def persons(self, users: list[str]) -> dict[str, PersonState]:
        self.asked += 1
        found = dict.fromkeys(users, self.state)
        await self.open.wait()
        return found


def people() -> tuple[Log, UserCache]:
    log = Log()
    return log, UserCache(cast("LogReader", log))


async def test_stale_answer_arriving_after_an_erasure_changes_nothing() -> None:
    log, known = people()
    log.open.clear()
    loading = asyncio.create_task(known.load(["alice"]))
    while not log.asked:
        await asyncio.sleep(0)
    log.state = ERASED
    refreshing = asyncio.create_task(known.refresh({"alice"}))
    await asyncio.sleep(0)
    log.open.set()
    await loading
    await refreshing
    assert known.account("alice") == ERASED
    known.update("alice", NAMED)
    assert known.account("alice") == ERASED
    assert known.name_of("alice") == "alice"


async def test_a_refresh_reads_only_users_in_the_cache() -> None:
    log, known = people()
    await known.refresh({"alice"})
    assert log.asked == 0
    assert not known.knows("alice")
    assert known.account("alice") == PersonState()


def test_accounts_with_many_blocks_evict_each_other_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_cache, "MAX_BLOCKED", 10)
    _log, known = people()
    known.update("quiet", NAMED)
    for number in range(5):
        blocked = HashTrieSet({f"user{each}" for each in range(4)})
        known.update(f"loud{number}", PersonState(1, blocked=blocked))
    assert [user for user in ("quiet", *(f"loud{number}" for number in range(5))) if known.knows(user)] == [
        "quiet",
        "loud3",
        "loud4",
    ]
    known.update("loud4", PersonState(2))
    known.update("huge", PersonState(1, unblocked=HashTrieSet({f"user{each}" for each in range(20)})))
    assert [known.knows(user) for user in ("quiet", "loud3", "loud4", "huge")] == [True, False, True, True]


@pytest.mark.parametrize("name", ["\u200b\u200b", "\u00ad\u2060\ufeff", "\u2800", "\u3164", " "])
def test_a_recorded_name_that_shows_nothing_counts_as_none(name: str) -> None:
    _, known = people()
    known.update("alice", PersonState(1, name))
    assert known.account("alice") == PersonState(1, None)
    assert known.name_of("alice") == "alice"


def test_a_recorded_name_is_cleaned_and_given_again_is_not_recorded_again() -> None:
    _, known = people()
    known.update("alice", PersonState(1, "\u202eA\u200bnn  Lee"))
    assert known.name_of("alice") == "Ann Lee"
    assert not decide(known.account("alice"), NamePerson(name="Ann Lee"), "alice")
