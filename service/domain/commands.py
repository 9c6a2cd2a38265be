"""Commands: requests to change a stream. The sender and the idempotency key (`ref`) travel beside a command.

Fields named in `WORDS` are personal text of the sender. The log encrypts them with a key of the sender.
"""

from datetime import datetime
from typing import ClassVar

import msgspec

from service.domain.events import Outcome, Role, Visibility


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A command about one stream."""

    WORDS: ClassVar[tuple[str, ...]] = ()

    @property
    def has_words(self) -> bool:
        """Return whether the command carries personal text of the sender."""
        return any(getattr(self, name) is not None for name in self.WORDS)


class RoomCommand(Command, frozen=True, kw_only=True):
    """A command about one room."""

    room: str


class MemberCommand(RoomCommand, frozen=True, kw_only=True):
    """A command about one user in a room."""

    user: str


class ModerateMember(MemberCommand, frozen=True, kw_only=True):
    """A command about one user, with the sender's reason."""

    WORDS = ("reason",)
    reason: str | None = None


class MessageCommand(RoomCommand, frozen=True, kw_only=True):
    """A command about one message, by its number in the room."""

    message: int


# The room as a whole.


class OpenRoom(RoomCommand, frozen=True, kw_only=True):
    """Create a room. The sender becomes its owner, `members` become members; those also in `invited` are invited."""

    name: str
    visibility: Visibility = "public"
    members: tuple[str, ...] = ()
    invited: frozenset[str] = frozenset()


class UpdateRoom(RoomCommand, frozen=True, kw_only=True):
    """Change a room's name, topic or both; None leaves a field as it is."""

    WORDS = ("topic",)
    name: str | None = None
    topic: str | None = None


class ArchiveRoom(RoomCommand, frozen=True, kw_only=True):
    """Archive a room: it can be read and left, and nothing else."""


class ReopenRoom(RoomCommand, frozen=True, kw_only=True):
    """Reopen an archived room."""


# Membership.


class JoinRoom(RoomCommand, frozen=True, kw_only=True):
    """Become a member. With `create`, a missing room is created."""

    create: bool = False


class LeaveRoom(RoomCommand, frozen=True, kw_only=True):
    """End the sender's membership, or decline an invitation."""


class InviteMember(MemberCommand, frozen=True, kw_only=True):
    """Allow a user to join a room that is not public."""


class RemoveMember(ModerateMember, frozen=True, kw_only=True):
    """Remove a member, or withdraw an invitation."""


class BanMember(ModerateMember, frozen=True, kw_only=True):
    """Ban a user until a time, or for good."""

    until: datetime | None = None


class UnbanMember(ModerateMember, frozen=True, kw_only=True):
    """Lift a ban."""


class MuteMember(ModerateMember, frozen=True, kw_only=True):
    """Mute a member until a time, or for good."""

    until: datetime | None = None


class UnmuteMember(ModerateMember, frozen=True, kw_only=True):
    """Lift a mute."""


class ChangeRole(ModerateMember, frozen=True, kw_only=True):
    """Change a member's role."""

    role: Role


# Messages.


class PostMessage(RoomCommand, frozen=True, kw_only=True):
    """Post a message. `reply_to` is the number of a message of the same room."""

    WORDS = ("content",)
    content: str
    ref: str
    reply_to: int | None = None
    mentions: tuple[str, ...] = ()
    silenced: tuple[str, ...] = ()
    """Those of `mentions` who have blocked the sender."""


class EditMessage(MessageCommand, frozen=True, kw_only=True):
    """Replace the content of a message."""

    WORDS = ("content",)
    content: str


class DeleteMessage(MessageCommand, frozen=True, kw_only=True):
    """Delete a message: its content is shown no more."""

    WORDS = ("reason",)
    reason: str | None = None


class AddReaction(MessageCommand, frozen=True, kw_only=True):
    """Add an emoji to a message."""

    emoji: str


class RemoveReaction(MessageCommand, frozen=True, kw_only=True):
    """Remove the sender's emoji from a message."""

    emoji: str


class PinMessage(MessageCommand, frozen=True, kw_only=True):
    """Pin a message in the room."""


class UnpinMessage(MessageCommand, frozen=True, kw_only=True):
    """Unpin a message."""


# Outside the rooms' streams.


class MoveReadMarker(RoomCommand, frozen=True, kw_only=True):
    """Move the sender's read marker to `message`, a number in the room."""

    message: int


class MarkUnread(MessageCommand, frozen=True, kw_only=True):
    """Let the sender's own unread count begin before a message again."""


class ReportMessage(RoomCommand, frozen=True, kw_only=True):
    """Report `message`, a number in the room, to the moderators of the room."""

    WORDS = ("reason",)
    message: int
    reason: str


class ResolveReport(RoomCommand, frozen=True, kw_only=True):
    """Resolve a report: state what was done about it."""

    WORDS = ("note",)
    report: str
    outcome: Outcome
    note: str | None = None


class SetSuspension(Command, frozen=True, kw_only=True):
    """Suspend an account (`suspended`), or end its suspension."""

    user: str
    suspended: bool
    reason: str | None = None


class SetBlock(Command, frozen=True, kw_only=True):
    """Block a user (`blocked`), or end the block."""

    user: str
    blocked: bool


class NamePerson(Command, frozen=True, kw_only=True):
    """Set the sender's display name, which is in a token that was issued at a time; None if the token has none."""

    name: str
    issued_at: datetime | None = None
