"""The queries of commands and HTTP: rooms, members and history, limited to what the user may see."""

from dataclasses import dataclass
from typing import Protocol

from service.domain.room import require_member, visible_until
from service.errors import Malformed
from service.gateway.queries.room_list import RoomList
from service.gateway.queries.views import Views
from service.gateway.session.session import Session
from service.protocol import commands as wire
from service.protocol.acks import MessageHistoryAck, RoomListAck, RoomMembersAck
from service.protocol.events import History, Message


class Asker(Protocol):
    """The source of a query, such as a `Session`."""

    @property
    def user(self) -> str:
        """The user's id."""


@dataclass(frozen=True)
class Queries:
    """The handlers of read-only commands, which HTTP shares."""

    views: Views
    room_list: RoomList

    async def list_rooms(self, asker: Asker, frame: wire.RoomList) -> RoomListAck:
        """`room:list`."""
        page = await self.room_list.page(asker.user, frame.after)
        for summary in page.rooms:
            if summary.last_message is not None:
                note_page(asker, [summary.last_message])
        return page

    async def members(self, asker: Asker, frame: wire.RoomMembers) -> RoomMembersAck:
        """`room:members`."""
        await self.views.ask(require_member, frame.room_id, asker.user)
        page = await self.views.members(frame.room_id, frame.after, frame.limit)
        # The user may have left while names were read.
        await self.views.ask(require_member, frame.room_id, asker.user)
        return RoomMembersAck(members=page.members, has_more=page.has_more)

    async def history(self, asker: Asker, frame: wire.MessageHistory) -> MessageHistoryAck:
        """`message:history`."""
        until = await self.views.ask(visible_until, frame.room_id, asker.user)
        if frame.before is not None and frame.after is not None:
            raise Malformed(problem="Give before or after, not both - at '$'")
        history = await self._page(frame, until)
        # A user who was removed while the page was read may see less, so the page is read again within the new bound.
        while (now := await self.views.ask(visible_until, frame.room_id, asker.user)) != until:
            until = now
            history = await self._page(frame, until)
        note_page(asker, history.messages)
        return MessageHistoryAck(messages=history.messages, has_more=history.has_more)

    async def _page(self, frame: wire.MessageHistory, until: int | None) -> History:
        return await self.views.history(
            frame.room_id, before=frame.before, after=frame.after, limit=frame.limit, until=until
        )


def note_page(asker: object, messages: list[Message]) -> None:
    """Record that a page of consecutive messages is sent to the asker, if it is a session."""
    if messages and isinstance(asker, Session):
        asker.wrote(messages[0].room_id, messages[0].seq, messages[-1].seq)
