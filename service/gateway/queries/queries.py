"""What is asked of a chat: rooms, members and history, for a command and for a read over HTTP alike.

The rule: everybody is shown the same through every door, and no more than the room's rules let them see.
"""

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
    """Who asks to see something, through whichever door; a `Session` is one."""

    @property
    def user(self) -> str:
        """The user's id."""


class Queries:
    """The commands that ask, over what is shown of rooms."""

    def __init__(self, views: Views, listing: RoomList) -> None:
        self._views = views
        self._listing = listing

    async def list_rooms(self, asker: Asker, frame: wire.RoomList) -> RoomListAck:
        """`room:list`."""
        page = await self._listing.page(asker.user, frame.after)
        for summary in page.rooms:
            if summary.last_message is not None:
                note_page(asker, [summary.last_message])
        return page

    async def members(self, asker: Asker, frame: wire.RoomMembers) -> RoomMembersAck:
        """`room:members`."""
        await self._views.ask(require_member, frame.room_id, asker.user)
        page = await self._views.members(frame.room_id, frame.after, frame.limit)
        await self._views.ask(require_member, frame.room_id, asker.user)  # names were waited for
        return RoomMembersAck(members=page.members, has_more=page.has_more)

    async def history(self, asker: Asker, frame: wire.MessageHistory) -> MessageHistoryAck:
        """`message:history`."""
        until = await self._views.ask(visible_until, frame.room_id, asker.user)
        if frame.before is not None and frame.after is not None:
            raise Malformed(problem="Give before or after, not both - at '$'")
        history = await self._page(frame, until)
        # A removal while the page was read bounds what may be shown of it, so the page is read again by that bound.
        while (now := await self._views.ask(visible_until, frame.room_id, asker.user)) != until:
            until = now
            history = await self._page(frame, until)
        note_page(asker, history.messages)
        return MessageHistoryAck(messages=history.messages, has_more=history.has_more)

    async def _page(self, frame: wire.MessageHistory, until: int | None) -> History:
        return await self._views.history(
            frame.room_id, before=frame.before, after=frame.after, limit=frame.limit, until=until
        )


def note_page(asker: object, messages: list[Message]) -> None:
    """Note, for the record of a session, that it is sent a page of messages, which has no hole."""
    if messages and isinstance(asker, Session):
        asker.wrote(messages[0].room_id, messages[0].seq, messages[-1].seq)
