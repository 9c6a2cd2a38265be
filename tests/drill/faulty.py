"""A node with one deliberate bug: `python -m tests.drill.faulty BUG serve`. The checker has to catch each.

A bug is planted at start, by replacing a function of the program, which itself is unchanged. The bugs are
also a list of the mistakes that the log's design prevents.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from service.chat.submit import Chat
from service.cli import main
from service.domain import room
from service.domain.events import MessagePosted
from service.eventstore import entries as batches
from service.eventstore.appender import Appender
from service.realtime.log_tailer import LogTailer
from service.realtime.room_feed import RoomFeed

if TYPE_CHECKING:
    from tests.drill.cluster import Cluster


@dataclass(frozen=True)
class Bug:
    """A deliberate bug: the function that plants it, its preparation of the database, and the fault that exposes it.

    `rule` is the rule of the checker that has to find it; others may find it too.
    """

    name: str
    plant: Callable[[], None]
    fault: str
    rule: str
    prepare: "Callable[[Cluster], Awaitable[None]] | None" = None

    @property
    def meaning(self) -> str:
        """What is wrong, in a sentence."""
        return (self.plant.__doc__ or "").strip()


def ack_before_commit() -> None:
    """A message is acknowledged when its statement has run, and is committed afterwards."""

    async def commit(self: Appender, batch: list[Any]) -> None:
        entries = [waiting.entry for waiting in batch]
        try:
            connection = await self._connected()
            transaction = connection.transaction()
            await transaction.start()
            rows = await connection.fetch(batches.APPEND, *batches.arguments(entries, self._known_head))
            for waiting, placed in zip(
                batch, batches.read_batch(entries, rows, self._serializer).results, strict=True
            ):
                if waiting.entry.events and isinstance(waiting.entry.events[0], MessagePosted):
                    waiting.answer(placed)
                    waiting.answer = lambda _result: None
            await transaction.commit()
        except Exception:  # noqa: BLE001 - the bug is not to care
            self._drop_connection()
            self._fail(batch)
        else:
            self._settle(batch, rows)

    Appender._append = commit  # type: ignore[method-assign] # the bug


def deliver_before_commit() -> None:
    """Subscribers receive events before they are committed."""

    async def commit(self: Appender, entries: list[batches.AppendRequest]) -> list[Any]:
        connection = await self._connected()
        async with connection.transaction():
            rows = await connection.fetch(batches.APPEND, *batches.arguments(entries, self._known_head))
            self._on_commit(batches.read_batch(entries, rows, self._serializer))
        return rows

    Appender._commit = commit  # type: ignore[method-assign] # the bug


def refs_ignored() -> None:
    """A command is recorded under a ref that the server makes up, so a retry is another command."""
    original = Chat.submit

    async def submit(self: Chat, command: Any, by: str, _ref: str, *sent: Any) -> Any:
        return await original(self, command, by, str(uuid4()), *sent)

    Chat.submit = submit  # type: ignore[assignment, method-assign] # the bug


def no_tail() -> None:
    """No node reads the log's tail: events that the bus loses before a silence are never delivered."""

    async def run(_self: LogTailer) -> None:
        await asyncio.Event().wait()

    LogTailer.run = run  # type: ignore[assignment, method-assign] # the bug


def numbers_before_commit() -> None:
    """Numbers come from a sequence, outside the lock, and readers rely on the last number that they saw."""

    def accept(self: RoomFeed, events: Any) -> list[Any]:
        following = sorted((one for one in events if one.seq > self.head), key=lambda one: one.seq)
        for one in following:
            self.state = room.evolve(self.state, one)
        return following

    RoomFeed.accept = accept  # type: ignore[method-assign] # the bug


async def number_by_sequences(cluster: "Cluster") -> None:
    """Let `chat_append` number the hot rooms by sequences, without its lock, and sometimes take a while to commit."""
    from tests.drill.load import ROOMS  # noqa: PLC0415 - a node has no need of it

    async with cluster.owner() as owner:
        found = await owner.execute("SELECT pg_get_functiondef('chat_append'::regproc)")
        source = (await found.fetchone() or ("",))[0]
        for old, new in _BY_SEQUENCE.items():
            assert old in source, f"chat_append has no {old!r} any more"
            source = source.replace(old, new)
        for name in ROOMS:
            await owner.execute(
                f'CREATE SEQUENCE "drill_room:{name}"; GRANT USAGE ON SEQUENCE "drill_room:{name}" TO onrecord_definer'
            )
        await owner.execute(source)


_BY_SEQUENCE = {
    "PERFORM pg_advisory_xact_lock(7236109);": "",
    "IF appended <= log_ended.position THEN": "IF false THEN",
    "UPDATE public.log_end SET position = appended, recorded_at = now_at;": "",
    "stream_head := stream_head + 1;": """
        IF to_regclass(format('%I', 'drill_' || streams[i])) IS NULL THEN
            stream_head := stream_head + 1;
        ELSE
            stream_head := nextval(format('%I', 'drill_' || streams[i])::regclass);
            IF random() < 0.2 THEN
                PERFORM pg_sleep(random() * 0.2);
            END IF;
        END IF;
    """,
}

BUGS: dict[str, Bug] = {
    bug.name: bug
    for bug in (
        Bug("ack-before-commit", ack_before_commit, "commits", "lost"),
        Bug("deliver-before-commit", deliver_before_commit, "commits", "told-wrong"),
        Bug("refs-ignored", refs_ignored, "cuts", "twice"),
        Bug("no-tail", no_tail, "redis-silence", "unheard"),
        Bug("numbers-before-commit", numbers_before_commit, "none", "order", number_by_sequences),
    )
}
"""Every bug by its name on the command line."""


if __name__ == "__main__":
    BUGS[sys.argv[1]].plant()
    sys.exit(main(sys.argv[2:]))
