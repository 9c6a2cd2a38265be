"""Dispatches commands to their handlers and answers them.

Invariant: commands of one connection are begun in the order in which they arrive, each is answered, and a command that
fails ends neither the connection nor another command.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from service.chat import CommandResult
from service.domain.streams import room_stream
from service.errors import OnRecordError, TooManyRequests, Unavailable
from service.gateway.auth.charges import Charges
from service.gateway.auth.prices import price_of_answer, price_of_bytes, price_of_command
from service.gateway.commands.handlers import Handler
from service.gateway.commands.reply import Later, Reply, Then
from service.gateway.session.counters import UNREAD, Counters, outcome
from service.gateway.session.session import Session
from service.presence.presence import Presence
from service.protocol.acks import Ack
from service.protocol.close_codes import Close, Violation
from service.protocol.commands import Frame, MessageRead, MessageUnread, RoomFrame
from service.runtime.turns import Turns

if TYPE_CHECKING:
    from service.tracing import Traces

MAX_REFUSED = 100
"""Units that the rate limit refuses a connection beyond those that it admits, before it is closed with 4009."""

REFUSED_PAUSE, LONGEST_PAUSE = 0.02, 0.2
"""Seconds for which a connection is not read after the rate limit refused a command: for each unit that it refused the
connection beyond those that it admitted, and at most.

Without the pause, connections that send as fast as they can would be refused as fast as the node can, and every other
connection would wait for that.
"""

_OF_READERS = (MessageRead.TYPE, MessageUnread.TYPE)
"""Commands whose events are in the streams of readers."""

log = logging.getLogger("onrecord.door")


@dataclass(frozen=True)
class Dispatcher:
    """Carries out the commands of all endpoints; `handlers` are by wire name."""

    handlers: Mapping[str, Handler]
    charges: Charges
    presence: Presence
    counters: Counters
    turns: Turns
    traces: "Traces | None"

    async def dispatch(
        self, session: Session, tag: Callable[[], str | None], decode: Callable[[], Frame], size: int
    ) -> None:
        """Carry out one command of a frame of `size` bytes, and answer it; the bytes are charged before `decode`.

        Raises:
            Violation: from `decode`.
        """
        began, kind, price = monotonic(), UNREAD, price_of_bytes(size)
        try:
            self.charges.take(session.user, session.source, price)
            frame = decode()
            kind = frame.type
            if more := price_of_command(frame):
                self.charges.take(session.user, session.source, more)
                price += more
            self.admitted(session, frame, price)
            await self._ready(session, price)
            reply = await self.handlers[kind](session, frame)
            self.charges.owe(
                session.user, price_of_answer(frame, reply.ack if isinstance(reply, Then) else reply)
            )
            _answer(session, tag(), reply)
        except OnRecordError as error:
            self.answered(kind, began, error)
            session.refuse(tag(), error)
            if isinstance(error, TooManyRequests):
                await self._slow_down(session, price)
        except Violation:
            raise
        except Exception as error:
            self.answered(kind, began, error)
            log.exception("command_failed", extra={"session": session.id})
            session.refuse(tag(), Unavailable())
        else:
            if isinstance(reply, Later):
                reply.answer.add_done_callback(partial(self._answered_later, kind, began))
            else:
                self.answered(kind, began, None, reply.result if isinstance(reply, Then) else None)

    def admitted(self, session: Session, frame: Frame, price: int) -> None:
        """Note a command that was charged `price`."""
        if frame.ACTIVITY:
            self.presence.touch(session.user, session.id)
        if session.refused:
            session.refused = max(0, session.refused - price)
        if isinstance(frame, RoomFrame):
            session.use(frame.room_id)

    def _answered_later(self, kind: str, began: float, answer: "asyncio.Future[CommandResult]") -> None:
        error = Unavailable() if answer.cancelled() else answer.exception()
        self.answered(kind, began, error, None if error else answer.result())

    def answered(
        self, kind: str, began: float, error: BaseException | None, result: CommandResult | None = None
    ) -> None:
        """Count and trace a command that began at a time of the loop and is answered now."""
        self.counters.answered(kind, error, began)
        if self.traces is None:
            return
        place, fresh = None, False
        if result is not None and kind not in _OF_READERS:
            place, fresh = (room_stream(result.room), result.seq, result.at), result.fresh
        self.traces.command(kind, outcome(error), began, place, fresh=fresh)

    async def _ready(self, session: Session, price: int) -> None:
        """Wait until a command may begin, and for the user's turn if it costs more than an ordinary one."""
        await session.pending.ready()
        if price > 1:
            await self.turns.turn(session.user)

    @staticmethod
    async def _slow_down(session: Session, price: int) -> None:
        session.refused += price
        if session.refused > MAX_REFUSED:
            session.close(Close.TOO_MANY_REQUESTS, "too many requests")
        else:
            await asyncio.sleep(
                max(REFUSED_PAUSE * price, min(REFUSED_PAUSE * session.refused, LONGEST_PAUSE))
            )


def _answer(session: Session, tag: str | None, reply: Reply) -> None:
    if isinstance(reply, Later):
        session.pending.add(session, tag, reply.answer, reply.ack)
    elif isinstance(reply, Then):
        session.ack(tag, reply.ack)
        reply.after()
    elif reply is not None:
        session.ack(tag, reply)
    elif tag is not None:
        session.ack(tag, Ack())
