"""Submits commands that add or invite people, and limits how many people one user may add in an hour.

A command that changed nothing is not charged, so a retry costs nothing; a command whose outcome is unknown is.
"""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from service.chat import Chat, CommandResult
from service.domain.commands import RoomCommand
from service.errors import NotAllowed, Refusal, TooManyRequests
from service.gateway.auth.rate_limit import RateLimit

if TYPE_CHECKING:
    import asyncio

HOUR = 3600.0
"""Seconds in which a user may add `per_hour` people."""


@dataclass(frozen=True)
class Additions:
    """The limit of one node; `rate` has the number of people that each user may still add."""

    chat: Chat
    rate: RateLimit
    per_hour: int

    async def submit(
        self, command: RoomCommand, people: int, by: str, ref: str, sent: bytes
    ) -> "asyncio.Future[CommandResult]":
        """Queue a command that adds so many people; see `Chat.submit`."""
        refusal = self._charge(by, people)
        charged = 0 if refusal else people
        try:
            answer = await self.chat.submit(command, by, ref, sent, refusal)
        except Refusal:
            self.rate.give_back(by, charged)
            raise
        answer.add_done_callback(partial(self._settle, by, charged))
        return answer

    def _charge(self, by: str, people: int) -> Refusal | None:
        """Charge a user; return the refusal if they may not add so many people now."""
        if 0 < self.per_hour < people:
            return NotAllowed(
                problem=f"One user may add {self.per_hour} people in an hour; this adds {people}."
            )
        try:
            self.rate.take(by, people)
        except TooManyRequests as error:
            return error
        return None

    def _settle(self, by: str, charged: int, answer: "asyncio.Future[CommandResult]") -> None:
        if answer.cancelled():
            return
        error = answer.exception()
        if isinstance(error, Refusal) or (error is None and not answer.result().fresh):
            self.rate.give_back(by, charged)
