"""How the appender answers the entries of a batch that is split, with a connection that is scripted."""

import asyncio
from contextlib import suppress
from functools import partial
from typing import Any, cast

from service.errors import OnRecordError
from service.eventstore.appender import Appender
from service.eventstore.entries import AppendRequest, AppendResult

STREAM = "room:general"


class Connection:
    """Refuses every batch of several entries, appends `first`, and never answers about `second`."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def is_closed(self) -> bool:
        return False

    def terminate(self) -> None: ...

    async def fetch(self, _query: str, *sent: Any) -> list[tuple[Any, ...]]:
        refs = sent[3]
        self.asked.append(refs)
        if "\x1f" in refs:
            raise ValueError("one of them is faulty")
        if refs == "second":
            await asyncio.Event().wait()
        return [(1, "nothing", 7, None, None, STREAM, *[None] * 6)]


def entry(ref: str) -> AppendRequest:
    return AppendRequest(stream=STREAM, user="alice", ref=ref, fingerprint=b"", decided_on=0, guard=())


async def test_entries_of_a_split_batch_are_answered_once() -> None:
    connection = Connection()

    async def connect() -> Connection:
        return connection

    answers: list[tuple[str, str]] = []

    def answer(ref: str, result: AppendResult | OnRecordError) -> None:
        answers.append((ref, result.outcome if isinstance(result, AppendResult) else result.code))

    appender = Appender(
        connect, cast("Any", None), known_head=lambda _: None, on_commit=lambda _: None, deadline=20
    )
    for ref in ("first", "second", "third"):
        appender.place(entry(ref), partial(answer, ref))
    early = appender.offer(entry("fourth"))
    running = asyncio.create_task(appender.run())
    while "second" not in connection.asked:
        await asyncio.sleep(0)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert answers == [("first", "nothing"), ("second", "unavailable"), ("third", "unavailable")]
    assert getattr(early.exception(), "code", None) == "unavailable"
    assert appender.unavailable == 3
