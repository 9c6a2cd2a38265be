"""Starts and ends the sessions of all endpoints: presence, the record of the session, log lines.

`begin` is called before `connected` is sent. `end` is called once for every session, even if `begin` was not.
"""

import logging

from service.cluster.brief_sessions import Closing
from service.cluster.session_log import SessionLog
from service.gateway.session.registry import SessionRegistry
from service.gateway.session.session import Session
from service.presence.presence import Presence
from service.presence.typing import Typing
from service.protocol.close_codes import Close, reason_of

log = logging.getLogger("onrecord.door")


class SessionLifecycle:
    """Begins and ends sessions."""

    def __init__(
        self, sessions: SessionRegistry, presence: Presence, typing: Typing, session_log: SessionLog
    ) -> None:
        self._sessions = sessions
        self._presence = presence
        self._typing = typing
        self._session_log = session_log

    def begin(self, session: Session) -> None:
        """Register a session, without waiting."""
        session.connected = True
        self._presence.arrive(session.user, session.id)
        self._session_log.opened(session.id, session.user, session.address, session.client)
        log.info(
            "connected",
            extra={
                "session": session.id,
                "user": session.user,
                "door": session.door,
                "client": session.address,
            },
        )

    async def end(self, session: Session) -> None:
        """Unregister a session; its transport is closed or closing."""
        self._sessions.remove(session)
        self._typing.gone(session.id)
        await session.end()
        if not session.connected:
            return
        self._presence.depart(session.user, session.id)
        code, by_client = session.transport.ending or (None, False)
        reason = reason_of(code, by_client=by_client)
        written = session.written
        self._session_log.closed(session.id, Closing(reason, code, written.ranges(), written.at_least()))
        log.info(
            "disconnected",
            extra={"session": session.id, "user": session.user, "reason": reason, "code": code},
        )

    def fenced(self) -> None:
        """Close every connection: other nodes presumed this node dead and closed its sessions on the record."""
        self._presence.fenced()
        for session in self._sessions.all():
            session.close(Close.FENCED, "this node was taken for dead; come back")
