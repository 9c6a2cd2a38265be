"""What a reaper forgets: the sessions whose closing is on the record, and no others."""

from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

from service.cluster.session_reaper import Reaper
from service.domain.events import SessionOpened
from service.domain.streams import session_subject

CLOSED, REFUSED, UNOPENED = (UUID(int=number) for number in range(1, 4))


class Record:
    """A log that takes the closing of one session only; `forgotten` are deleted from the work list."""

    def __init__(self) -> None:
        self.forgotten: list[UUID] = []

    async def fetch(self, _query: str, *arguments: Any) -> list[Any]:
        if len(arguments) == 1:
            return [(session, "alice", "node", uuid4()) for session in (CLOSED, REFUSED, UNOPENED)]
        opened = (session_subject(str(CLOSED)), session_subject(str(REFUSED)))
        return [(subject, 1, SessionOpened.TOPIC) for subject in opened]

    async def open(self, openings: list[Any]) -> list[Any]:
        return [None for _ in openings]

    async def close(self, closings: list[Any]) -> list[Any]:
        return [SimpleNamespace(seq=2) if event.session == str(CLOSED) else None for event, *_ in closings]

    async def forget(self, sessions: list[UUID]) -> None:
        self.forgotten += sessions


async def test_a_session_stays_on_the_work_list_until_its_closing_is_recorded() -> None:
    record: Any = Record()
    lease: Any = None
    assert await Reaper(record, lease)._reap_some() == 1
    assert record.forgotten == [CLOSED]
