"""Wire payloads built from the read models and the hub: members, receipts and pages of history of a room.

Endpoints, commands and HTTP share one `Views` per node, so requests that arrive together share one query.

Invariant: a payload never shows events of a room that this node's state does not include. So a caller that checks the
membership after it has the payload sees every removal that precedes an event in the payload.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import UNSET

from projections import messages, read_receipts
from projections.messages import MessageRow
from projections.read_receipts import RoomMarkers
from projections.unread_markers import UnreadMarkerRow
from service.domain.content.reactions import merged
from service.domain.room import RoomState
from service.domain.streams import room_stream
from service.errors import Refusal
from service.eventstore.read_database import ReadModels
from service.eventstore.reader import LogReader
from service.presence.presence import Presence
from service.protocol.events import (
    History,
    InvitedEntry,
    MemberEntry,
    Members,
    Message,
    Outgoing,
    PinnedMessage,
    Reaction,
    Receipt,
    Receipts,
    UnreadFrom,
    timestamp,
)
from service.realtime.room_feeds import RoomFeeds
from service.realtime.user_cache import UserCache
from service.runtime.batch_loader import BatchLoader

MAX_RECEIPTS = 1_000
"""Receipts in one `room:receipts`, the latest ones, so that the frame stays small in a very large room."""

MAX_ROOMS_PER_QUERY = 100
"""Rooms whose markers one query reads."""

MAX_SHOWN_PER_EMOJI = 100
"""Users listed under one emoji of a message; `count` counts all."""

MAX_INVITED = 200
"""Users with an open invitation in a list."""

ID_LENGTH = 128
"""Characters of a user id for which lists of ids have room; a list of longer ids has fewer of them."""

T = TypeVar("T")
M = TypeVar("M", bound=Message)


class Markers(NamedTuple):
    """The receipts of a room, and the unread markers of its members, of which each may see only their own."""

    receipts: Receipts
    unread: Mapping[str, UnreadMarkerRow]

    def unread_of(self, user: str) -> list[Outgoing]:
        """Return what only the user receives: nothing, unless the user has marked messages as unread."""
        if (row := self.unread.get(user)) is None:
            return []
        return [UnreadFrom(room_id=row.room_id, last_read=row.message_id, at=timestamp(row.at))]


class Views:
    """Builds payloads; a page of messages has at most `budget` bytes."""

    def __init__(
        self,
        models: ReadModels,
        log: LogReader,
        feeds: RoomFeeds,
        people: UserCache,
        presence: Presence,
        now: Callable[[], datetime],
        budget: int,
    ) -> None:
        self._models = models
        self._log = log
        self._feeds = feeds
        self._people = people
        self._presence = presence
        self._now = now
        self._budget = budget
        self._markers = BatchLoader(self._read_markers, MAX_ROOMS_PER_QUERY)

    async def history(self, room: str, user: str, **bounds: int | None) -> History:
        """Return a page of messages as `user` sees it; `bounds` as in `projections.messages.page`.

        Raises:
            ProjectionBehind, Unavailable: the read model cannot be queried now.
        """
        page = await self._models.read(messages.page, room, **bounds)
        await self._reach(room, max((row.changed_seq for row in page.messages), default=0))
        entries = await self.messages(page.messages, user)
        kept = _within(entries, self._budget, oldest=bounds.get("after") is not None)
        return History(room_id=room, messages=kept, has_more=page.has_more or len(kept) < len(entries))

    async def pins(self, room: str, user: str, pins: Mapping[int, int]) -> list[PinnedMessage]:
        """Return pinned messages as `user` sees them; `pins` maps their numbers to the seqs of their pins.

        They are as many as fit into the budget, in the order of `pins`; a message that cannot be read is left out.

        Raises:
            ProjectionBehind, Unavailable: the read model or the log cannot be queried now.
        """
        rows = {row.id: row for row in await self._models.read(messages.numbered, room, list(pins))}
        await self._reach(room, max((row.changed_seq for row in rows.values()), default=0))
        pinned = await self._log.events_at(room_stream(room), list(pins.values()))
        entries = [
            PinnedMessage(
                **{**msgspec.structs.asdict(message), "pinned": True},
                pin_seq=pins[message.message_id],
                pinned_by=pinned[pins[message.message_id]].by,
                pinned_at=timestamp(pinned[pins[message.message_id]].at),
            )
            for message in await self.messages([rows[number] for number in pins if number in rows], user)
        ]
        return _within(entries, self._budget, oldest=True)

    async def ask(self, rule: Callable[[RoomState, str, datetime], T], room: str, user: str) -> T:
        """Return the result of a permission rule; if it refuses, ask again with the room's state read from the log."""
        try:
            return rule((await self._feeds.feed(room)).state, user, self._now())
        except Refusal:
            return rule((await self._feeds.refresh(room)).state, user, self._now())

    async def markers(self, room: str) -> Markers:
        """Return how far each member has read, and where unread counts begin that were set back.

        Raises:
            ProjectionBehind, Unavailable: the read models cannot be queried now.
        """
        found = (await self._markers.load([room]))[room]
        await self._reach(room, max((row.message_id for row in found.receipts), default=0))
        latest = _shortened(
            sorted(found.receipts, key=lambda row: row.at, reverse=True),
            MAX_RECEIPTS,
            lambda row: row.user_id,
        )
        receipts = Receipts(
            room_id=room,
            receipts=[
                Receipt(user_id=row.user_id, message_id=row.message_id, at=timestamp(row.at))
                for row in latest
            ],
        )
        return Markers(receipts, found.unread)

    async def _read_markers(self, rooms: list[str]) -> dict[str, RoomMarkers]:
        return await self._models.read(read_receipts.of_rooms, rooms)

    async def _reach(self, room: str, seq: int) -> None:
        """Bring this node's state of a room to a seq, if a read model is ahead of it, which is rare."""
        if self._feeds.lags(room, seq):
            await self._feeds.feed_up_to(room, seq)

    async def members(self, room: str, after: str | None, limit: int) -> Members:
        """Return a page of members by user id, `after` exclusive."""
        state = (await self._feeds.feed(room)).state
        users = sorted(user for user in state.members if after is None or user > after)
        page = users[:limit]
        await self._people.load(page)
        entries = [
            MemberEntry(
                user_id=user,
                name=self._people.name_of(user),
                role=state.members[user].role,
                status=self._presence.status(user),
                last_seen=self._presence.last_seen(user),
                **_muting(state, user, self._now()),
            )
            for user in page
        ]
        return Members(
            room_id=room,
            members=entries,
            has_more=len(users) > limit,
            invited=await self._invited(state) if state.invited and after is None else UNSET,
        )

    async def _invited(self, state: RoomState) -> tuple[InvitedEntry, ...]:
        page = _shortened(sorted(state.invited), MAX_INVITED, str)
        await self._people.load(page)
        return tuple(
            InvitedEntry(user_id=user, name=self._people.name_of(user), by=state.invited[user])
            for user in page
        )

    async def messages(self, rows: Sequence[MessageRow], user: str) -> list[Message]:
        """Return the payloads of messages as `user` sees them: without mentions of them that do not count.

        The read model does not say which mentions count. The log is read for those by authors that `user` ever blocked.

        Raises:
            Unavailable: the log cannot be read.
        """
        await self._people.load([user, *(row.user_id for row in rows)])
        account = self._people.account(user)
        doubtful = [
            (row.room_id, row.id)
            for row in rows
            if user in row.mentions and (row.user_id in account.blocked or row.user_id in account.unblocked)
        ]
        silenced = await self._log.silenced(doubtful, user) if doubtful else set()
        return [self._message(row, user, silenced=(row.room_id, row.id) in silenced) for row in rows]

    def _message(self, row: MessageRow, user: str, *, silenced: bool) -> Message:
        """Return the payload of a message for a user, without the mention of the user if it is `silenced`."""
        return Message(
            room_id=row.room_id,
            message_id=row.id,
            seq=row.id,
            user_id=row.user_id,
            name=self._people.name_of(row.user_id),
            content=row.content,
            at=timestamp(row.created_at),
            edited_at=timestamp(row.edited_at) if row.edited_at else None,
            deleted_at=timestamp(row.deleted_at) if row.deleted_at else None,
            reply_to=row.reply_to,
            mentions=tuple(each for each in row.mentions if not silenced or each != user),
            reactions=tuple(
                _reaction(emoji, users, mine=user in users) for emoji, users in merged(row.reactions).items()
            ),
            pinned=row.pinned,
        )


def _reaction(emoji: str, users: tuple[str, ...], *, mine: bool) -> Reaction:
    shown = tuple(_shortened(users, MAX_SHOWN_PER_EMOJI, str))
    return Reaction(emoji=emoji, count=len(users), user_ids=shown, mine=mine)


def _shortened(entries: Sequence[T], most: int, id_of: Callable[[T], str]) -> Sequence[T]:
    """Return the first `most` entries, or fewer if their user ids have more than `ID_LENGTH` characters on average."""
    shown = entries[:most]
    sizes = accumulate(len(id_of(entry)) for entry in shown)
    return shown[: sum(size <= most * ID_LENGTH for size in sizes)]


def _muting(state: RoomState, user: str, at: datetime) -> dict[str, Any]:
    if not state.is_muted(user, at):
        return {}
    until = state.muted[user]
    return {"muted": True, **({"muted_until": timestamp(until)} if until else {})}


def _within(entries: list[M], size: int, *, oldest: bool) -> list[M]:
    """Return as many messages as fit into `size` bytes, at least one, from the first or from the last on."""
    kept: list[M] = []
    for message in entries if oldest else reversed(entries):
        size -= len(msgspec.json.encode(message))
        if kept and size < 0:
            break
        kept.append(message)
    return kept if oldest else kept[::-1]
