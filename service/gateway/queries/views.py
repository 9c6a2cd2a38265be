"""What is shown of a room: members, receipts, pages of history, as payloads of the wire.

The one place where the doors ask the read models. The rule: nothing is refused, and nothing is missing, because this
node or the database was a moment behind.

Invariant: a payload never shows more of a room than this node's state of it has come to. A caller that looks at the
membership after it has the payload therefore sees every removal that precedes anything in the payload.
"""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from projections import messages, read_receipts
from projections.messages import MessageRow
from projections.read_receipts import ReceiptRow
from service.domain.room import RoomState
from service.errors import Refusal
from service.gateway.services import Services
from service.protocol.events import (
    History,
    MemberEntry,
    Members,
    Message,
    Reaction,
    Receipt,
    Receipts,
    timestamp,
)
from service.runtime.batch_loader import BatchLoader
from service.runtime.database_retry import retry_read

MAX_RECEIPTS = 1_000
"""Receipts in one `room:receipts`: the latest, so that the frame stays small in a very large room."""

MOST_ROOMS = 100
"""Rooms whose receipts are read at once."""

MAX_SHOWN_PER_EMOJI = 100
"""Users named under one emoji of a message; `count` has them all."""

T = TypeVar("T")


class Views:
    """Payloads over the node's services."""

    def __init__(self, services: Services) -> None:
        self._s = services
        self._receipts = BatchLoader(self._read_receipts, MOST_ROOMS)

    async def history(self, room: str, **which: int | None) -> History:
        """Return a page of messages; `which` as for `projections.messages.page`.

        Raises:
            ProjectionBehind, Unavailable: the read model cannot be asked now.
        """
        page = await self.read(messages.page, room, **which)
        await self._reach(room, max((row.changed_seq for row in page.messages), default=0))
        await self._s.people.load(row.user_id for row in page.messages)
        shown = list(map(self.message, page.messages))
        kept = _within(shown, self.budget, oldest=which.get("after") is not None)
        return History(room_id=room, messages=kept, has_more=page.has_more or len(kept) < len(shown))

    @property
    def budget(self) -> int:
        """Bytes of messages in one frame: a frame has to fit into the outbox with room to spare."""
        return self._s.settings.max_outbox // 2

    async def ask(self, rule: Callable[[RoomState, str, datetime], T], room: str, user: str) -> T:
        """Ask a rule about a user in a room; nothing is refused on a state that another node may have outdated."""
        try:
            return rule((await self._s.hub.feed(room)).state, user, self._s.now())
        except Refusal:
            return rule((await self._s.hub.refresh(room)).state, user, self._s.now())

    async def read(self, query: Callable[..., Coroutine[Any, Any, T]], *arguments: Any, **options: Any) -> T:
        """Ask a read model, again where the database has just restarted.

        Each try is a task of its own: `databases` ties a connection to the task, and one that broke inside a
        transaction stays broken for as long as that task lives, here as long as the client stays connected.
        """
        return await retry_read(
            lambda: asyncio.create_task(query(self._s.reads, self._s.serializer, *arguments, **options)),
            self._s.settings.database_timeout,
        )

    async def receipts(self, room: str) -> Receipts:
        """Return how far everybody has read.

        Raises:
            ProjectionBehind, Unavailable: the read model cannot be asked now.
        """
        found = (await self._receipts.load([room]))[room]
        await self._reach(room, max((row.message_id for row in found), default=0))
        latest = sorted(found, key=lambda row: row.at, reverse=True)[:MAX_RECEIPTS]
        return Receipts(
            room_id=room,
            receipts=[
                Receipt(user_id=row.user_id, message_id=row.message_id, at=timestamp(row.at))
                for row in latest
            ],
        )

    async def _read_receipts(self, wanted: list[str]) -> dict[str, list[ReceiptRow]]:
        return await self.read(read_receipts.of_rooms, wanted)

    async def _reach(self, room: str, seq: int) -> None:
        """Read the log where a read model shows a room further than this node has it; most often it does not."""
        if self._s.hub.lags(room, seq):
            await self._s.hub.reach(room, seq)

    async def members(self, room: str, after: str | None, limit: int) -> Members:
        """Return a page of members by user id, `after` exclusive."""
        state = (await self._s.hub.feed(room)).state
        users = sorted(user for user in state.members if after is None or user > after)
        page = users[:limit]
        await self._s.people.load(page)
        entries = [
            MemberEntry(
                user_id=user,
                name=self._s.people.name_of(user),
                role=state.members[user].role,
                status=self._s.presence.status(user),
                last_seen=self._s.presence.last_seen(user),
                **_muting(state, user, self._s.now()),
            )
            for user in page
        ]
        return Members(room_id=room, members=entries, has_more=len(users) > limit)

    def message(self, row: MessageRow) -> Message:
        """Return a message as pages show it."""
        return Message(
            room_id=row.room_id,
            message_id=row.id,
            seq=row.id,
            user_id=row.user_id,
            name=self._s.people.name_of(row.user_id),
            content=row.content,
            at=timestamp(row.created_at),
            edited_at=timestamp(row.edited_at) if row.edited_at else None,
            deleted_at=timestamp(row.deleted_at) if row.deleted_at else None,
            reply_to=row.reply_to,
            mentions=row.mentions,
            reactions=tuple(
                Reaction(emoji=emoji, count=len(users), user_ids=users[:MAX_SHOWN_PER_EMOJI])
                for emoji, users in row.reactions.items()
            ),
            pinned=row.pinned,
        )


def _muting(state: RoomState, user: str, at: datetime) -> dict[str, Any]:
    if not state.is_muted(user, at):
        return {}
    until = state.muted[user]
    return {"muted": True, **({"muted_until": timestamp(until)} if until else {})}


def _within(shown: list[Message], size: int, *, oldest: bool) -> list[Message]:
    """Return as many messages as `size` bytes hold, at least one."""
    kept: list[Message] = []
    for message in shown if oldest else reversed(shown):
        size -= len(msgspec.json.encode(message))
        if kept and size < 0:
            break
        kept.append(message)
    return kept if oldest else kept[::-1]
