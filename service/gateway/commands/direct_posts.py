"""Posts a message within the call that receives it: no task, and no future until it is answered.

Most messages take this path. Anything unusual is left to `Dispatcher`: a frame that needs the strict parser, a sender
without allowance, a room or key that is not in memory, content with markup, any refusal.

Invariant: a message that this path takes has the effects and answers that `Dispatcher` would give it, and one that it
does not take has had no effect.
"""

import logging
from dataclasses import dataclass
from functools import partial
from time import monotonic

from service.chat import Chat, CommandResult
from service.errors import OnRecordError, TooManyRequests, Unavailable
from service.gateway.commands.dispatcher import Dispatcher
from service.gateway.commands.fingerprint import command_fingerprint
from service.gateway.commands.handlers import post_of, sent
from service.gateway.session.session import Session
from service.presence.typing import Typing
from service.protocol import native
from service.protocol.commands import MessageSend

LONGEST = 4_000
"""Characters of a frame; a longer one has a price above 1, or takes a notable part of a turn."""

log = logging.getLogger("onrecord.door")


@dataclass(frozen=True)
class DirectPosts:
    """The path of messages that need nothing but what is in memory."""

    dispatcher: Dispatcher
    chat: Chat
    typing: Typing
    max_mentions: int

    def take(self, session: Session, text: str) -> bool:
        """Post the message in a frame; return False, and do nothing, if the frame is for `Dispatcher`."""
        if len(text) > LONGEST or not session.pending.may_begin:
            return False
        frame = native.plain_post(text)
        if frame is None or "<" in frame.content or len(frame.mentions) > self.max_mentions:
            return False
        charges = self.dispatcher.charges
        try:
            charges.take(session.user, session.source)
        except TooManyRequests:
            return False
        if not self._post(session, frame):
            charges.give_back(session.user, session.source)
            return False
        self.dispatcher.admitted(session, frame, 1)
        return True

    def _post(self, session: Session, frame: MessageSend) -> bool:
        command = post_of(frame)
        typing = self.typing.is_typing(frame.room_id, session.user)
        answer = partial(self._answer, session, frame, monotonic(), typing)
        session.pending.begin()
        try:
            if self.chat.post(command, session.user, command_fingerprint(frame), answer):
                return True
        except Exception:
            log.exception("command_failed", extra={"session": session.id})
            answer(Unavailable())
            return True
        session.pending.end()
        return False

    def _answer(
        self,
        session: Session,
        frame: MessageSend,
        began: float,
        typing: bool,  # noqa: FBT001 - bound by `partial`
        result: CommandResult | OnRecordError,
    ) -> None:
        session.pending.end()
        if isinstance(result, OnRecordError):
            session.refuse(frame.ref, result)
            self.dispatcher.answered(frame.type, began, result)
            return
        session.ack(frame.ref, sent(result))
        if typing and result.fresh:
            self.typing.clear(frame.room_id, session.user)
        self.dispatcher.answered(frame.type, began, None, result)
