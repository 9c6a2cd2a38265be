"""The commands: what somebody wants, in the imperative. Who wants it and under which ref travels beside them.

Fields named in `WORDS` are the sender's own words, which the log seals under the sender's key.
"""

from datetime import datetime
from typing import ClassVar

import msgspec

from service.domain.events import Role, Visibility


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A wish about one stream."""

    WORDS: ClassVar[tuple[str, ...]] = ()

    @property
    def has_words(self) -> bool:
        """Whether it says anything in the sender's own words."""
        return any(getattr(self, name) is not None for name in self.WORDS)


class RoomCommand(Command, frozen=True, kw_only=True):
    """A wish about one room."""

    room: str


class MemberCommand(RoomCommand, frozen=True, kw_only=True):
    """A wish about one user in a room."""

    user: str


class ModerateMember(MemberCommand, frozen=True, kw_only=True):
    """A wish about one user, and in one's own words why."""

    WORDS = ("reason",)
    reason: str | None = None


class MessageCommand(RoomCommand, frozen=True, kw_only=True):
    """A wish about one message, by its number in the room."""

    message: int


# A room as a whole.


class OpenRoom(RoomCommand, frozen=True, kw_only=True):
    """Open a room with oneself as the owner and `members` beside."""

    name: str
    visibility: Visibility = "public"
    members: tuple[str, ...] = ()


class UpdateRoom(RoomCommand, frozen=True, kw_only=True):
    """Give a room another name, another topic, or both; None leaves what is there."""

    WORDS = ("topic",)
    name: str | None = None
    topic: str | None = None


class ArchiveRoom(RoomCommand, frozen=True, kw_only=True):
    """Close a room to everything but reading and leaving."""


class ReopenRoom(RoomCommand, frozen=True, kw_only=True):
    """Open an archived room again."""


# Who is in a room, and as what.


class JoinRoom(RoomCommand, frozen=True, kw_only=True):
    """Become a member; `create` says that policy lets a missing room be opened by joining it."""

    create: bool = False


class LeaveRoom(RoomCommand, frozen=True, kw_only=True):
    """End one's membership, or decline an invitation."""


class InviteMember(MemberCommand, frozen=True, kw_only=True):
    """Let a user join, though the room is not public."""


class RemoveMember(ModerateMember, frozen=True, kw_only=True):
    """Send a member out, or take an invitation back."""


class BanMember(ModerateMember, frozen=True, kw_only=True):
    """Keep a user out until a time, or for good."""

    until: datetime | None = None


class UnbanMember(ModerateMember, frozen=True, kw_only=True):
    """Lift a ban."""


class MuteMember(ModerateMember, frozen=True, kw_only=True):
    """Let a member say nothing until a time, or for good."""

    until: datetime | None = None


class UnmuteMember(ModerateMember, frozen=True, kw_only=True):
    """Let a user speak again."""


class ChangeRole(ModerateMember, frozen=True, kw_only=True):
    """Give a member another role."""

    role: Role


# What is said.


class PostMessage(RoomCommand, frozen=True, kw_only=True):
    """Say something in a room. `reply_to` is the number of a message of the same room."""

    WORDS = ("content",)
    content: str
    ref: str
    reply_to: int | None = None
    mentions: tuple[str, ...] = ()


class EditMessage(MessageCommand, frozen=True, kw_only=True):
    """Say it otherwise."""

    WORDS = ("content",)
    content: str


class DeleteMessage(MessageCommand, frozen=True, kw_only=True):
    """Let a message be shown no more."""

    WORDS = ("reason",)
    reason: str | None = None


class AddReaction(MessageCommand, frozen=True, kw_only=True):
    """Answer a message with an emoji."""

    emoji: str


class RemoveReaction(MessageCommand, frozen=True, kw_only=True):
    """Take an emoji back."""

    emoji: str


class PinMessage(MessageCommand, frozen=True, kw_only=True):
    """Hang a message on the room's wall."""


class UnpinMessage(MessageCommand, frozen=True, kw_only=True):
    """Take a message from the room's wall."""


# Beside the rooms.


class MoveReadMarker(RoomCommand, frozen=True, kw_only=True):
    """Have read everything up to `message`, a number in the room."""

    message: int


class SetSuspension(Command, frozen=True, kw_only=True):
    """Let `user` come in no more (`suspended`), or come in again."""

    user: str
    suspended: bool
    reason: str | None = None


class NamePerson(Command, frozen=True, kw_only=True):
    """Be called `name` from now on."""

    name: str
