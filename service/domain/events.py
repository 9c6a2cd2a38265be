"""The events: what happened, in the past tense, and the envelope that the log puts around each.

The class here is the only place where an event is named; `TOPIC` is the stored name and never changes with the file.
A released event never loses a field. Who did it, when, and where in the log stands in the envelope (`Recorded`), not
in the event. Fields named in `PERSONAL` are a person's own words: in the log they are encrypted under that person's
key, and once the key is destroyed they read as None.
"""

from datetime import date, datetime
from typing import ClassVar, Literal
from uuid import UUID

import msgspec

from service.domain.streams import (
    EVERYTHING,
    NEW_MESSAGE,
    SETTINGS,
    message_subject,
    room_subject,
    session_subject,
    stream_id,
    user_subject,
)

Visibility = Literal["public", "private", "direct"]
Role = Literal["owner", "moderator", "member"]


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A fact."""

    TOPIC: ClassVar[str]
    PERSONAL: ClassVar[tuple[str, ...]] = ()

    @property
    def subject(self) -> str:
        """What in its stream the event is about; guards and look-ups name it."""
        raise NotImplementedError


class AboutRoom(Event, frozen=True, kw_only=True, omit_defaults=True):
    """An event whose subject is the room as a whole."""

    @property
    def subject(self) -> str:
        """The room itself."""
        return SETTINGS


class AboutUser(Event, frozen=True, kw_only=True, omit_defaults=True):
    """An event whose subject is one user."""

    user: str

    @property
    def subject(self) -> str:
        """The user."""
        return user_subject(self.user)


class AboutMessage(Event, frozen=True, kw_only=True, omit_defaults=True):
    """An event whose subject is one message, `message` its number in the room."""

    message: int

    @property
    def subject(self) -> str:
        """The message."""
        return message_subject(self.message)


# A room as a whole.


class RoomOpened(AboutRoom, frozen=True, kw_only=True, omit_defaults=True):
    """A room came to be. Always the first event of its stream."""

    TOPIC = "room.RoomOpened.v1"
    name: str
    visibility: Visibility = "public"


class RoomRenamed(AboutRoom, frozen=True, kw_only=True, omit_defaults=True):
    """A room is called otherwise now."""

    TOPIC = "room.RoomRenamed.v1"
    name: str


class RoomTopicChanged(AboutRoom, frozen=True, kw_only=True, omit_defaults=True):
    """What a room is about is said otherwise now; an empty topic is none."""

    TOPIC = "room.RoomTopicChanged.v1"
    PERSONAL = ("topic",)
    topic: str | None


class RoomArchived(AboutRoom, frozen=True, kw_only=True, omit_defaults=True):
    """A room is closed to everything but reading and leaving."""

    TOPIC = "room.RoomArchived.v1"


class RoomReopened(AboutRoom, frozen=True, kw_only=True, omit_defaults=True):
    """An archived room is open again."""

    TOPIC = "room.RoomReopened.v1"


class RoomRetentionChanged(AboutRoom, frozen=True, kw_only=True, omit_defaults=True):
    """What is said in a room from now on is made unreadable after so many days, or never."""

    TOPIC = "room.RoomRetentionChanged.v1"
    days: int | None = None


class MessagePinned(AboutRoom, frozen=True, kw_only=True, omit_defaults=True):
    """A message hangs on the room's wall. About the room, so that a guard on it counts the pins exactly."""

    TOPIC = "room.MessagePinned.v1"
    message: int


class MessageUnpinned(AboutRoom, frozen=True, kw_only=True, omit_defaults=True):
    """A message hangs on the room's wall no more."""

    TOPIC = "room.MessageUnpinned.v1"
    message: int


# Who is in a room, and as what.


class MemberInvited(AboutUser, frozen=True, kw_only=True, omit_defaults=True):
    """A user may join a room, though it is not public."""

    TOPIC = "room.MemberInvited.v1"


class MemberJoined(AboutUser, frozen=True, kw_only=True, omit_defaults=True):
    """A user became a member of a room."""

    TOPIC = "room.MemberJoined.v1"
    role: Role = "member"


class MemberLeft(AboutUser, frozen=True, kw_only=True, omit_defaults=True):
    """A member left a room of their own will, or somebody who was invited declined."""

    TOPIC = "room.MemberLeft.v1"


class MemberRemoved(AboutUser, frozen=True, kw_only=True, omit_defaults=True):
    """A member was sent out of a room, or an invitation was taken back."""

    TOPIC = "room.MemberRemoved.v1"
    PERSONAL = ("reason",)
    reason: str | None = None


class MemberBanned(AboutUser, frozen=True, kw_only=True, omit_defaults=True):
    """A user, member or not, may not be in a room until a time (UTC), or for good."""

    TOPIC = "room.MemberBanned.v1"
    PERSONAL = ("reason",)
    until: datetime | None = None
    reason: str | None = None


class MemberUnbanned(AboutUser, frozen=True, kw_only=True, omit_defaults=True):
    """A ban was lifted."""

    TOPIC = "room.MemberUnbanned.v1"
    PERSONAL = ("reason",)
    reason: str | None = None


class MemberMuted(AboutUser, frozen=True, kw_only=True, omit_defaults=True):
    """A user may say nothing in a room until a time (UTC), or for good; leaving does not end it."""

    TOPIC = "room.MemberMuted.v1"
    PERSONAL = ("reason",)
    until: datetime | None = None
    reason: str | None = None


class MemberUnmuted(AboutUser, frozen=True, kw_only=True, omit_defaults=True):
    """A user may speak again."""

    TOPIC = "room.MemberUnmuted.v1"
    PERSONAL = ("reason",)
    reason: str | None = None


class RoleChanged(AboutUser, frozen=True, kw_only=True, omit_defaults=True):
    """A member has another role now."""

    TOPIC = "room.RoleChanged.v1"
    PERSONAL = ("reason",)
    role: Role
    reason: str | None = None


# What was said.


class MessagePosted(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A member said something. The event's own seq is the message's number."""

    TOPIC = "room.MessagePosted.v1"
    PERSONAL = ("content",)
    author: str
    content: str | None
    ref: str
    reply_to: int | None = None
    mentions: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        """The message, whose number the log completes."""
        return NEW_MESSAGE


class MessageEdited(AboutMessage, frozen=True, kw_only=True, omit_defaults=True):
    """An author said it otherwise; what was said before stays on the record."""

    TOPIC = "room.MessageEdited.v1"
    PERSONAL = ("content",)
    content: str | None


class MessageDeleted(AboutMessage, frozen=True, kw_only=True, omit_defaults=True):
    """A message is shown no more; what it said stays on the record."""

    TOPIC = "room.MessageDeleted.v1"
    PERSONAL = ("reason",)
    reason: str | None = None


class ReactionAdded(AboutMessage, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody answered a message with an emoji."""

    TOPIC = "room.ReactionAdded.v1"
    emoji: str


class ReactionRemoved(AboutMessage, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody took an emoji back."""

    TOPIC = "room.ReactionRemoved.v1"
    emoji: str


# Beside the rooms.


class ReadMarkerMoved(AboutUser, frozen=True, kw_only=True, omit_defaults=True):
    """A user has read everything up to `message`, a number in the room. Lives in the reader's stream."""

    TOPIC = "reader.ReadMarkerMoved.v1"
    message: int


class PersonNamed(AboutUser, frozen=True, kw_only=True, omit_defaults=True):
    """A person is called so from now on."""

    TOPIC = "person.PersonNamed.v1"
    PERSONAL = ("name",)
    name: str | None


class PersonSuspended(AboutUser, frozen=True, kw_only=True, omit_defaults=True):
    """A person may not come in any more, until that is taken back."""

    TOPIC = "person.PersonSuspended.v1"
    PERSONAL = ("reason",)
    reason: str | None = None


class PersonRestored(AboutUser, frozen=True, kw_only=True, omit_defaults=True):
    """A person who was suspended may come in again."""

    TOPIC = "person.PersonRestored.v1"
    PERSONAL = ("reason",)
    reason: str | None = None


class PersonErased(AboutUser, frozen=True, kw_only=True, omit_defaults=True):
    """A person's keys are destroyed, for good: their words are gone everywhere, and they may not come in any more.

    `ground` is why that was lawful. It has to be read later, so it is nobody's own words: it stands in the clear.
    """

    TOPIC = "person.PersonErased.v1"
    ground: str


class ContentExpired(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The keys are destroyed of what was said in a room up to and including a day (UTC), `days` after it.

    Not of those on whom a legal hold is: theirs go once it is released. Lives in the stream of all such.
    """

    TOPIC = "retention.ContentExpired.v1"
    room: str
    until: date
    days: int

    @property
    def subject(self) -> str:
        """The room."""
        return room_subject(self.room)


class KeyReplaced(AboutUser, frozen=True, kw_only=True, omit_defaults=True):
    """A person's key for everything is destroyed, and what it sealed is under others, so that some of it can expire.

    `rooms` are those whose rule asked for it. Lives in the stream of all that expires.
    """

    TOPIC = "retention.KeyReplaced.v1"
    rooms: tuple[str, ...]


class AboutHold(Event, frozen=True, kw_only=True, omit_defaults=True):
    """An event about a legal hold. `held` is the subject of a room or a user, `ground` is why, in the clear."""

    held: str
    ground: str

    @property
    def subject(self) -> str:
        """What is held."""
        return self.held


class HoldPlaced(AboutHold, frozen=True, kw_only=True, omit_defaults=True):
    """Nothing of a room or a person may be made unreadable from now on."""

    TOPIC = "hold.HoldPlaced.v1"


class HoldReleased(AboutHold, frozen=True, kw_only=True, omit_defaults=True):
    """It may be again."""

    TOPIC = "hold.HoldReleased.v1"


class AboutSession(Event, frozen=True, kw_only=True, omit_defaults=True):
    """An event about one connection, in the stream of the connection's user."""

    session: str

    @property
    def subject(self) -> str:
        """The connection."""
        return session_subject(self.session)


class SessionOpened(AboutSession, frozen=True, kw_only=True, omit_defaults=True):
    """A user connected. `client` is what the client says of itself; address and client are None where not known."""

    TOPIC = "session.SessionOpened.v1"
    PERSONAL = ("client",)
    node: str
    incarnation: str
    address: str | None
    client: str | None


class SessionClosed(AboutSession, frozen=True, kw_only=True, omit_defaults=True):
    """A connection ended, and this is what was written to it: per room the stretches of seqs, both ends included.

    `ranges` is None where nobody knows; `code` is the close code (RFC 6455, section 7.4) where there was one.
    """

    TOPIC = "session.SessionClosed.v1"
    reason: str
    code: int | None = None
    ranges: dict[str, tuple[tuple[int, int], ...]] | None


class AuditRead(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody read the record: recorded before anything was given, in the stream of all such readings.

    `what` is the kind of reading, `asked` its bounds and filters as they were given. Without `room` and `person` it was
    of everything. Who it was stands in the envelope: the token's user, or for a command the operating system's.
    """

    TOPIC = "audit.AuditRead.v1"
    what: str
    via: Literal["http", "cli"]
    room: str | None = None
    person: str | None = None
    asked: dict[str, str] = {}

    @property
    def subject(self) -> str:
        """The room that was read in, else the person who was read about, else everything."""
        if self.room is not None:
            return room_subject(self.room)
        return EVERYTHING if self.person is None else user_subject(self.person)


class Unreadable(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Stands for a stored event that this version cannot decode; `topic` is the stored one. It is never stored itself.

    See `service.domain.salvage`.
    """

    TOPIC = ""
    topic: str

    @property
    def subject(self) -> str:
        """Unknown: the envelope says it."""
        return ""


EVENTS: dict[str, type[Event]] = {
    cls.TOPIC: cls
    for cls in (
        RoomOpened,
        RoomRenamed,
        RoomTopicChanged,
        RoomArchived,
        RoomReopened,
        MemberInvited,
        MemberJoined,
        MemberLeft,
        MemberRemoved,
        MemberBanned,
        MemberUnbanned,
        MemberMuted,
        MemberUnmuted,
        RoleChanged,
        MessagePosted,
        MessageEdited,
        MessageDeleted,
        ReactionAdded,
        ReactionRemoved,
        RoomRetentionChanged,
        MessagePinned,
        MessageUnpinned,
        ReadMarkerMoved,
        PersonNamed,
        PersonSuspended,
        PersonRestored,
        PersonErased,
        HoldPlaced,
        HoldReleased,
        ContentExpired,
        KeyReplaced,
        SessionOpened,
        SessionClosed,
        AuditRead,
    )
}
"""Every event by its stored name."""

ENDINGS = (MemberLeft, MemberRemoved, MemberBanned)
"""What ends a membership: whoever it is about hears it, and nothing after it."""


class Damage(msgspec.Struct, frozen=True):
    """Why a stored event cannot be read, in full or in part.

    `part` is `words` where only personal text cannot be opened, which then reads as None, `state` where the stored
    fields cannot be decoded, and `topic` where this version does not know the kind of event. In the latter two cases
    the event is what the envelope alone says (`service.domain.salvage`). `topic` is the stored one, `reason` a
    sentence.
    """

    part: Literal["words", "state", "topic"]
    topic: str
    reason: str


class Recorded(msgspec.Struct, frozen=True):
    """An event in the log, with what the log knows about it.

    `seq` numbers the stream from 1 without gaps, `position` orders the whole log and may skip numbers, `at` is the
    database's clock (UTC, microseconds), `by` is who caused it, `erased` says that its personal words are gone, and
    `damage`, if any, what of it cannot be read.
    """

    stream: str
    seq: int
    position: int
    subject: str
    at: datetime
    by: str
    event: Event
    erased: bool = False
    damage: Damage | None = None

    @property
    def topic(self) -> str:
        """The stored name of the event, also where this version cannot decode it."""
        return self.damage.topic if self.damage else self.event.TOPIC

    @property
    def undecoded(self) -> bool:
        """Whether the event is what the envelope alone says, since its state cannot be decoded."""
        return self.damage is not None and self.damage.part != "words"

    @property
    def originator_id(self) -> UUID:
        """The stream's id, under the name that the `eventsourcing` library uses."""
        return stream_id(self.stream)

    @property
    def originator_version(self) -> int:
        """The seq, under the name that the `eventsourcing` library uses."""
        return self.seq


def as_erased(recorded: Recorded) -> Recorded:
    """Return an event as it reads once its words are erased."""
    said = [name for name in recorded.event.PERSONAL if getattr(recorded.event, name) is not None]
    if not said:
        return recorded
    silent = msgspec.structs.replace(recorded.event, **dict.fromkeys(said))
    return msgspec.structs.replace(recorded, event=silent, erased=True)
