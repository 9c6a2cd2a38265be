"""What the blocks of other users mean for a command, as this node knows them, and the record of one's own blocks.

A decision needs no read of the log while the users that it concerns are in the cache. Another node's block takes effect
here once `LogTailer` has read it. `docs/decisions/0024-adding-people.md` says what a blocked user can find out.
"""

import asyncio
from collections.abc import Collection, Iterable
from weakref import WeakValueDictionary

import msgspec

from service.chat.log_budget import BudgetedAppender
from service.chat.result import CommandResult, answered, attempt
from service.domain import account
from service.domain.account import PersonState
from service.domain.commands import (
    AddReaction,
    EditMessage,
    OpenRoom,
    PinMessage,
    PostMessage,
    RoomCommand,
    SetBlock,
    UpdateRoom,
)
from service.domain.room_state import RoomState
from service.domain.streams import person_stream
from service.errors import NotAllowed
from service.eventstore.entries import AppendRequest, append_decided
from service.eventstore.serializer import EventSerializer
from service.realtime.user_cache import UserCache

SPEECH = (PostMessage, EditMessage, AddReaction, PinMessage, UpdateRoom)
"""Commands that the other person in a direct room of two would notice."""


class Blocks:
    """Applies blocks to commands; `invite_only` makes every addition an invitation."""

    def __init__(self, people: UserCache, *, invite_only: bool) -> None:
        self._people = people
        self._invite_only = invite_only

    def unknown(self, state: RoomState, command: RoomCommand, by: str) -> list[str]:
        """Return the users whose blocks concern a command and who are not in the cache."""
        concerned = _concerned(state, command, by)
        return [user for user in concerned if not self._people.knows(user)] if concerned else []

    def apply(self, state: RoomState, command: RoomCommand, by: str) -> RoomCommand:
        """Return a command as it takes effect.

        People who have blocked the sender are invited, not added, and mentions of them are silenced.

        Raises:
            NotAllowed: the other person in a direct room of two has blocked the sender.
        """
        concerned = _concerned(state, command, by)
        if not concerned:
            return command
        blocking = self.blocking(concerned, by)
        if isinstance(command, OpenRoom):
            invited = command.members if self._invite_only else blocking
            return msgspec.structs.replace(command, invited=frozenset(invited))
        if not blocking:
            return command
        if is_pair(state, by):
            raise NotAllowed(problem="This direct room takes no more from you.")
        return msgspec.structs.replace(command, silenced=tuple(blocking))

    async def shuts_out(self, state: RoomState, by: str) -> bool:
        """Return whether the other person in a direct room of two has blocked a member.

        Raises:
            Unavailable: the log cannot be read.
        """
        if not is_pair(state, by):
            return False
        others = _partner(state, by)
        await self._people.load(others)
        return bool(self.blocking(others, by))

    def blocking(self, users: Iterable[str], by: str) -> list[str]:
        """Return those of `users` who have blocked another user, as far as the cache knows."""
        return [user for user in users if by in self._people.account(user).blocked]


def is_pair(state: RoomState, by: str) -> bool:
    """Return whether a room is a direct room of two people, and `by` one of them."""
    return state.visibility == "direct" and len(state.members) == 2 and by in state.members  # noqa: PLR2004 - a pair


def _partner(state: RoomState, by: str) -> list[str]:
    return [user for user in state.members if user != by]


def _concerned(state: RoomState, command: RoomCommand, by: str) -> Collection[str]:
    """Return the users whose blocks a decision depends on; mentions count for members only."""
    if isinstance(command, OpenRoom):
        return command.members
    if state.visibility == "direct" and is_pair(state, by):
        return _partner(state, by) if isinstance(command, SPEECH) else ()
    if not isinstance(command, PostMessage) or not command.mentions:
        return ()
    return [user for user in dict.fromkeys(command.mentions) if user in state.members]


class AccountBlocks:
    """Records blocks; one user may block at most `most` different others."""

    def __init__(
        self,
        people: UserCache,
        appender: BudgetedAppender,
        serializer: EventSerializer,
        most: int,
    ) -> None:
        self._people = people
        self._appender = appender
        self._serializer = serializer
        self._most = most
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def set_block(self, command: SetBlock, by: str, ref: str, sent: bytes) -> CommandResult:
        """Block a user or end the block; the block is in force on this node when this returns.

        The first decision relies on the cache, so that it costs the same however many users `by` has blocked.

        Raises:
            Refusal: it is not allowed, or the ref was used for another command.
            Overloaded, Unavailable: the log cannot be reached; a retry is safe.
        """
        state, refusal, again = PersonState(), None, False

        async def decide() -> AppendRequest:
            nonlocal state, refusal, again
            if again:
                state = await self._people.current(by)
            else:
                await self._people.load([by])
                state, again = self._people.account(by), True
            events, refusal = attempt(lambda: account.decide_block(state, command, by, self._most))
            return AppendRequest.of(
                self._serializer, person_stream(by), events,
                user=by, ref=ref, fingerprint=self._serializer.keys.fingerprint(sent),
                decided_on=state.head, guard=account.GUARD, record=refusal is None,
            )  # fmt: skip

        async with self._turns.setdefault(by, asyncio.Lock()):
            result = await append_decided(decide, self._appender.offer)
            answer = answered(result, ref, refusal)
            if answer.fresh:
                self._people.update(by, account.with_block(state, command, answer.seq))
        return answer
