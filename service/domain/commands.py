"""The commands, in the imperative. The sender and the ref are passed beside them.

Fields named in `WORDS` are free text by the sender, which the log encrypts with the sender's key.
"""

from datetime import datetime
from typing import ClassVar

import msgspec

from service.domain.events import Role, Visibility


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A command addressed to one stream."""

    WORDS: ClassVar[tuple[str, ...]] = ()

    @property
    def has_words(self) -> bool:
        """Whether the command has free text by the sender."""
        return any(getattr(self, name) is not None for name in self.WORDS)


class RoomCommand(Command, frozen=True, kw_only=True):
    """A command about one room."""

    room: str


class MemberCommand(RoomCommand, frozen=True, kw_only=True):
    """A command about one user in a room."""

    user: str


class ModerateMember(MemberCommand, frozen=True, kw_only=True):
    """A command about one user, with a reason in free text."""

    WORDS = ("reason",)
    reason: str | None = None


class MessageCommand(RoomCommand, frozen=True, kw_only=True):
    """A command about one message, by its number in the room."""

    message: int


# A room as a whole.


class OpenRoom(RoomCommand, frozen=True, kw_only=True):
    """Open a room owned by the sender, with `members` as further members."""

    name: str
    visibility: Visibility = "public"
    members: tuple[str, ...] = ()


class UpdateRoom(RoomCommand, frozen=True, kw_only=True):
    """Change a room's name, topic, or both; None leaves the current value."""

    WORDS = ("topic",)
    name: str | None = None
    topic: str | None = None


class ArchiveRoom(RoomCommand, frozen=True, kw_only=True):
    """Close a room to everything but reading and leaving."""


class ReopenRoom(RoomCommand, frozen=True, kw_only=True):
    """Reopen an archived room."""


# Membership and roles.


class JoinRoom(RoomCommand, frozen=True, kw_only=True):
    """Become a member; `create` means that policy allows joining to open a missing room."""

    create: bool = False


class LeaveRoom(RoomCommand, frozen=True, kw_only=True):
    """End the sender's membership, or decline an invitation."""


class InviteMember(MemberCommand, frozen=True, kw_only=True):
    """Allow a user to join a room that is not public."""


class RemoveMember(ModerateMember, frozen=True, kw_only=True):
    """Remove a member, or withdraw an invitation."""


class BanMember(ModerateMember, frozen=True, kw_only=True):
    """Ban a user until a time, or permanently."""

    until: datetime | None = None


class UnbanMember(ModerateMember, frozen=True, kw_only=True):
    """Lift a ban."""


class MuteMember(ModerateMember, frozen=True, kw_only=True):
    """Mute a member until a time, or permanently."""

    until: datetime | None = None


class UnmuteMember(ModerateMember, frozen=True, kw_only=True):
    """Lift a mute."""


class ChangeRole(ModerateMember, frozen=True, kw_only=True):
    """Change a member's role."""

    role: Role


# Messages.


class PostMessage(RoomCommand, frozen=True, kw_only=True):
    """Post a message to a room. `reply_to` is the number of a message of the same room."""

    WORDS = ("content",)
    content: str
    ref: str
    reply_to: int | None = None
    mentions: tuple[str, ...] = ()


class EditMessage(MessageCommand, frozen=True, kw_only=True):
    """Replace the text of a message."""

    WORDS = ("content",)
    content: str


class DeleteMessage(MessageCommand, frozen=True, kw_only=True):
    """Delete a message."""

    WORDS = ("reason",)
    reason: str | None = None


class AddReaction(MessageCommand, frozen=True, kw_only=True):
    """Add a reaction to a message."""

    emoji: str


class RemoveReaction(MessageCommand, frozen=True, kw_only=True):
    """Remove a reaction."""

    emoji: str


class PinMessage(MessageCommand, frozen=True, kw_only=True):
    """Pin a message."""


class UnpinMessage(MessageCommand, frozen=True, kw_only=True):
    """Unpin a message."""


# Outside rooms.


class MoveReadMarker(RoomCommand, frozen=True, kw_only=True):
    """Move the sender's read marker to `message`, a number in the room."""

    message: int


class SetSuspension(Command, frozen=True, kw_only=True):
    """Suspend the account of `user`, or reinstate it."""

    user: str
    suspended: bool
    reason: str | None = None


class NamePerson(Command, frozen=True, kw_only=True):
    """Set the sender's display name."""

    name: str
