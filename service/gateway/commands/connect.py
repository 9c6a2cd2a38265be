"""Answers `connect` with the state of each room, and resumes delivery from the client's cursors.

Invariant: delivery of a room starts directly after the client's cursor, or without one after the reported head, so no
event is missing and none is sent twice. `service.realtime` joins past events with new ones.
"""

import logging
from dataclasses import dataclass

from service.domain.room import visible_until
from service.errors import Banned, NotAMember, ProjectionBehind, RoomNotFound, TooManyRooms
from service.eventstore.readiness import Readiness
from service.gateway.queries.views import Views
from service.gateway.session.lifecycle import SessionLifecycle
from service.gateway.session.rooms import RoomLimits, was_added
from service.gateway.session.session import Session
from service.protocol import commands as wire
from service.protocol.commands import PROTOCOL
from service.protocol.events import Connected, RoomHead, RoomUnsubscribed, timestamp
from service.realtime.hub import Hub

log = logging.getLogger("onrecord.handlers")


@dataclass(frozen=True)
class ConnectHandler:
    """Resumes sessions; `ping_interval` and `ping_timeout` in seconds are reported to clients."""

    views: Views
    hub: Hub
    readiness: Readiness
    lifecycle: SessionLifecycle
    ping_interval: float
    ping_timeout: float
    limits: RoomLimits

    async def connect(self, session: Session, frame: wire.Connect) -> None:
        """Answer `connect` with the state of each room, send the events after its cursor, then go live.

        Raises:
            TooManyRooms: the user chose more of the rooms than a connection may subscribe to.
        """
        starts: dict[str, int] = {}
        heads: dict[str, RoomHead] = {}
        same_epoch = frame.epoch is None or frame.epoch == self.readiness.epoch
        for room, cursor in frame.rooms.items():
            heads[room], start = await self._resume(session.user, room, cursor, same_epoch=same_epoch)
            if start is not None:
                starts[room] = start
        added = [room for room in frame.rooms if was_added(self.hub.feeds.state(room), session.user)]
        if len(frame.rooms) - len(added) > self.limits.chosen:
            raise TooManyRooms(limit=self.limits.chosen)
        given_up = [room for room in added[self.limits.added :] if starts.pop(room, None) is not None]
        for room in starts:
            session.expect(room, added=room in added)
        self.lifecycle.begin(session)
        session.welcome(
            Connected(
                protocol=PROTOCOL,
                user_id=session.user,
                session=session.id,
                epoch=self.readiness.epoch,
                expires_at=timestamp(session.expires_at),
                ping_interval=self.ping_interval,
                ping_timeout=self.ping_timeout,
                rooms=heads,
            )
        )
        for room in given_up:
            session.emit(RoomUnsubscribed(room_id=room))
        for room, start in starts.items():
            if heads[room].reason != "not_a_member":
                await self._send_receipts(session, room)
            session.listen(room, start, added=room in added)
            await session.drained()

    async def _send_receipts(self, session: Session, room: str) -> None:
        self.hub.subscriptions.pre_subscribe(session, room)
        try:
            markers = await self.views.markers(room)
        except ProjectionBehind as error:
            # A reconnect must not depend on read models; receipts arrive again as members read on.
            log.warning("receipts_skipped", extra={"room": room, "behind": error.data["behind"]})
            return
        # Earlier rooms may have taken minutes, in which the user may have left this one.
        if self.hub.audience.are_members(room, [session.user]):
            for event in (markers.receipts, *markers.unread_of(session.user)):
                session.emit(event)

    async def _resume(
        self, user: str, room: str, cursor: int | None, *, same_epoch: bool
    ) -> tuple[RoomHead, int | None]:
        """Return the state of a room to report, and the seq after which to send events (None: send nothing)."""
        try:
            until = await self.views.ask(visible_until, room, user)
        except RoomNotFound:
            return RoomHead(recovered=False, reason="room_not_found"), None
        except (NotAMember, Banned):
            # `head` is the last seq that the user may read, here none; the room's head is shown to members only.
            return RoomHead(recovered=False, head=0, reason="not_a_member"), None
        if until is not None:
            start = cursor if same_epoch and cursor is not None and cursor < until else None
            return RoomHead(recovered=False, head=until, reason="not_a_member"), start
        # Without a cursor, delivery starts after the head that is reported.
        head = (await self.hub.feeds.feed_up_to(room, cursor or 0)).head
        if not same_epoch:
            return RoomHead(recovered=False, head=head, reason="epoch_changed"), head
        if cursor is not None and cursor > head:
            return RoomHead(recovered=False, head=head, reason="ahead"), head
        return RoomHead(recovered=True, head=head), head if cursor is None else cursor
