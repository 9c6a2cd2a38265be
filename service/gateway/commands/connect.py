"""`connect`: what a client that comes back is told of its rooms, and where each of them goes on.

The rule: the head that is said of a room is the one after which it is heard, so nothing is missing and nothing is sent
twice. `service.realtime.hub` splices what was into what comes.
"""

import logging

from service.domain.room import visible_until
from service.errors import Banned, NotAMember, ProjectionBehind, RoomNotFound
from service.gateway.queries.views import Views
from service.gateway.services import Services
from service.gateway.session.session import Session
from service.protocol import commands as wire
from service.protocol.commands import PROTOCOL
from service.protocol.events import Connected, RoomHead, timestamp

log = logging.getLogger("onrecord.handlers")


class ConnectHandler:
    """Takes up sessions where their cursors are."""

    def __init__(self, services: Services, views: Views) -> None:
        self._s = services
        self._views = views

    async def connect(self, session: Session, frame: wire.Connect) -> None:
        """Answer `connect`: say of each room whether the cursor holds, then send what followed it, then go live."""
        starts: dict[str, int] = {}
        heads: dict[str, RoomHead] = {}
        same_epoch = frame.epoch is None or frame.epoch == self._s.readiness.epoch
        for room, cursor in frame.rooms.items():
            heads[room], start = await self._resume(session.user, room, cursor, same_epoch=same_epoch)
            if start is not None:
                starts[room] = start
        for room in starts:
            session.expect(room)
        self._s.attendance.begin(session)
        session.welcome(
            Connected(
                protocol=PROTOCOL,
                user_id=session.user,
                session=session.id,
                epoch=self._s.readiness.epoch,
                expires_at=timestamp(session.expires_at),
                ping_interval=self._s.settings.ping_interval,
                rooms=heads,
            )
        )
        for room, start in starts.items():
            if heads[room].reason != "not_a_member":
                await self._send_receipts(session, room)
            session.listen(room, start)
            await session.drained()

    async def _send_receipts(self, session: Session, room: str) -> None:
        self._s.hub.pre_subscribe(session, room)
        try:
            receipts = await self._views.receipts(room)
        except ProjectionBehind as error:
            # Coming back needs the log alone; receipts arrive again as people read on.
            log.warning("receipts_skipped", extra={"room": room, "behind": error.data["behind"]})
            return
        # Rooms before this one may have taken minutes, and the receipts some time.
        if self._s.hub.are_members(room, [session.user]):
            session.emit(receipts)

    async def _resume(
        self, user: str, room: str, cursor: int | None, *, same_epoch: bool
    ) -> tuple[RoomHead, int | None]:
        """Return what to say of a room at `connect`, and the seq to begin after (None: nothing is to be sent)."""
        try:
            until = await self._views.ask(visible_until, room, user)
        except RoomNotFound:
            return RoomHead(recovered=False, reason="room_not_found"), None
        except (NotAMember, Banned):
            # The last event that may be read, as below: there is none. How far the room is, is for its members.
            return RoomHead(recovered=False, head=0, reason="not_a_member"), None
        if until is not None:
            start = cursor if same_epoch and cursor is not None and cursor < until else None
            return RoomHead(recovered=False, head=until, reason="not_a_member"), start
        # Whoever is to hear the room from now on begins after the very head that is said here.
        head = (await self._s.hub.reach(room, cursor or 0)).head
        if not same_epoch:
            return RoomHead(recovered=False, head=head, reason="epoch_changed"), head
        if cursor is not None and cursor > head:
            return RoomHead(recovered=False, head=head, reason="ahead"), head
        return RoomHead(recovered=True, head=head), head if cursor is None else cursor
