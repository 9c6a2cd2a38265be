"""The user cache only becomes newer, in any order of updates."""

import asyncio
from typing import TYPE_CHECKING, cast

from service.domain.account import PersonState
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
