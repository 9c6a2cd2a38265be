"""Messages, and what events change of them. Pure.

Invariant: a message is the same after an event that was received twice.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from onrecord_client.errors import OnRecordError

Frame = Mapping[str, Any]

USERS_LISTED = 100
"""Users whom the server lists of a reaction."""


@dataclass(frozen=True, slots=True)
class Reaction:
    """One emoji of a message. `user_ids` are the first of `count` users; `mine`: the user's own is among all."""

    emoji: str
    count: int
    user_ids: tuple[str, ...]
    mine: bool


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a room.

    `content` is None if it can no longer be read. A `pending` message is not in the room's order yet: its `message_id`
    and `seq` are 0 until the server has acknowledged it. A message with `failed` was refused, for that reason.
    """

    room_id: str
    message_id: int
    seq: int
    user_id: str
    content: str | None
    at: datetime
    name: str | None = None
    ref: str | None = None
    reply_to: int | None = None
    mentions: tuple[str, ...] = ()
    reactions: tuple[Reaction, ...] = ()
    edited_at: datetime | None = None
    deleted_at: datetime | None = None
    pinned: bool = False
    pending: bool = False
    failed: OnRecordError | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """The place of a committed message. `dropped` are the mentions of users who are not in the room."""

    message_id: int
    seq: int
    at: datetime
    dropped: tuple[str, ...] = ()


def time_of(text: str) -> datetime:
    """Return a time of the protocol."""
    return datetime.fromisoformat(text)


def from_wire(frame: Frame, me: str) -> Message:
    """Return the message of a `message:new` event or of a page.

    Raises:
        KeyError, TypeError, ValueError: the frame is not a message of the protocol.
    """
    edited, deleted = frame.get("editedAt"), frame.get("deletedAt")
    return Message(
        room_id=frame["roomId"],
        message_id=frame["messageId"],
        seq=frame["seq"],
        user_id=frame["userId"],
        content=frame["content"],
        at=time_of(frame["at"]),
        name=frame.get("name"),
        ref=frame.get("ref"),
        reply_to=frame.get("replyTo"),
        mentions=tuple(frame.get("mentions") or ()),
        reactions=tuple(_reaction(each, me) for each in frame.get("reactions") or ()),
        edited_at=time_of(edited) if edited else None,
        deleted_at=time_of(deleted) if deleted else None,
        pinned=frame.get("pinned") is True,
    )


def changed(message: Message, event: Frame, me: str) -> Message:
    """Return a message after an event about it; unchanged if the type of the event changes no message."""
    change = CHANGES.get(event["type"])
    return message if change is None else change(message, event, me)


def applies_again(event: Frame, message: Message, me: str) -> bool:
    """Return whether an event can be applied to a message that may include it already.

    Of a reaction with more users than are listed, only the user's own can.
    """
    if event["type"] != "message:reaction":
        return True
    known = next((each for each in message.reactions if each.emoji == event["emoji"]), None)
    return known is None or event["userId"] == me or known.count == len(known.user_ids)


def _edited(message: Message, event: Frame, _me: str) -> Message:
    return replace(message, content=event["content"], edited_at=time_of(event["at"]))


def _deleted(message: Message, event: Frame, _me: str) -> Message:
    return replace(message, content=None, deleted_at=time_of(event["at"]), reactions=(), pinned=False)


def _pinned(message: Message, event: Frame, _me: str) -> Message:
    return replace(message, pinned=event["pinned"] is True)


def _reacted(message: Message, event: Frame, me: str) -> Message:
    emoji, user, added = event["emoji"], event["userId"], event["added"] is True
    known = next(
        (each for each in message.reactions if each.emoji == emoji), Reaction(emoji, 0, (), mine=False)
    )
    if added == _has(known, user, me, added=added):
        return message
    after = _with(known, user, me) if added else _without(known, user, me)
    if known not in message.reactions:
        return replace(message, reactions=(*message.reactions, after))
    kept = tuple(after if each is known else each for each in message.reactions)
    return replace(message, reactions=tuple(each for each in kept if each.count > 0))


def _has(known: Reaction, user: str, me: str, *, added: bool) -> bool:
    """Return whether a user's reaction is counted; of users who are not listed, the event is believed."""
    if user == me:
        return known.mine
    return user in known.user_ids or (not added and known.count > len(known.user_ids))


def _with(known: Reaction, user: str, me: str) -> Reaction:
    listed = known.count == len(known.user_ids) and known.count < USERS_LISTED
    return Reaction(
        known.emoji,
        known.count + 1,
        (*known.user_ids, user) if listed else known.user_ids,
        mine=known.mine or user == me,
    )


def _without(known: Reaction, user: str, me: str) -> Reaction:
    users = tuple(each for each in known.user_ids if each != user)
    return Reaction(known.emoji, known.count - 1, users, mine=known.mine and user != me)


def _reaction(frame: Frame, me: str) -> Reaction:
    users = tuple(frame["userIds"])
    return Reaction(frame["emoji"], frame["count"], users, mine=bool(frame.get("mine", me in users)))


CHANGES: dict[str, Callable[[Message, Frame, str], Message]] = {
    "message:edited": _edited,
    "message:deleted": _deleted,
    "message:reaction": _reacted,
    "message:pinned": _pinned,
}
"""What each event makes of its message."""
