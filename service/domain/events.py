"""The events, named in the past tense, and the envelope in which the log keeps each.

An event is named in its class and nowhere else. `TOPIC` is the stored name and does not change with the file.
A released event never loses a field. Author, time and place in the log are part of the envelope (`Recorded`), not of
the event. Fields named in `PERSONAL` are personal text: the log encrypts them with that person's key, and once the key
is destroyed they read as None.
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
    report_subject,
    room_subject,
    session_subject,
    stream_id,
    user_subject,
)

Visibility = Literal["public", "private", "direct"]
Role = Literal["owner", "moderator", "member"]
Outcome = Literal["dismissed", "removed", "warned"]
"""How a report was resolved: nothing was done, the message was removed, or its author was warned."""


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event."""

    TOPIC: ClassVar[str]
    PERSONAL: ClassVar[tuple[str, ...]] = ()
    LATER: ClassVar[dict[str, object]] = {}
    """Fields that were added after a release, with their defaults: a replay shows them only if they differ."""

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


# The room as a whole.


class RoomOpened(AboutRoom, frozen=True, kw_only=True, omit_defaults=True):
    """A room was created. Always the first event of its stream."""

    TOPIC = "room.RoomOpened.v1"
    name: str
    visibility: Visibility = "public"


class RoomRenamed(AboutRoom, frozen=True, kw_only=True, omit_defaults=True):
    """A room was renamed."""

    TOPIC = "room.RoomRenamed.v1"
    name: str


class RoomTopicChanged(AboutRoom, frozen=True, kw_only=True, omit_defaults=True):
    """The topic of a room changed; an empty topic means none."""

    TOPIC = "room.RoomTopicChanged.v1"
    PERSONAL = ("topic",)
    topic: str | None


class RoomArchived(AboutRoom, frozen=True, kw_only=True, omit_defaults=True):
    """A room was archived: it can be read and left, and nothing else."""

    TOPIC = "room.RoomArchived.v1"


class RoomReopened(AboutRoom, frozen=True, kw_only=True, omit_defaults=True):
    """An archived room was reopened."""

    TOPIC = "room.RoomReopened.v1"


class RoomRetentionChanged(AboutRoom, frozen=True, kw_only=True, omit_defaults=True):
    """The retention of a room changed: messages from now on become unreadable after so many days, or never."""

    TOPIC = "room.RoomRetentionChanged.v1"
    days: int | None = None


class MessagePinned(AboutRoom, frozen=True, kw_only=True, omit_defaults=True):
    """A message was pinned. The subject is the room, so that a guard on it counts the pins exactly."""

    TOPIC = "room.MessagePinned.v1"
    message: int


class MessageUnpinned(AboutRoom, frozen=True, kw_only=True, omit_defaults=True):
    """A message was unpinned."""

    TOPIC = "room.MessageUnpinned.v1"
    message: int


# Membership.


class MemberInvited(AboutUser, frozen=True, kw_only=True, omit_defaults=True):
    """A user was invited: the user may join a room that is not public."""

    TOPIC = "room.MemberInvited.v1"


class MemberJoined(AboutUser, frozen=True, kw_only=True, omit_defaults=True):
    """A user became a member of a room."""

    TOPIC = "room.MemberJoined.v1"
    role: Role = "member"


class MemberLeft(AboutUser, frozen=True, kw_only=True, omit_defaults=True):
    """A member left a room, or an invited user declined."""

    TOPIC = "room.MemberLeft.v1"


class MemberRemoved(AboutUser, frozen=True, kw_only=True, omit_defaults=True):
    """A member was removed from a room, or an invitation was withdrawn."""

    TOPIC = "room.MemberRemoved.v1"
    PERSONAL = ("reason",)
    reason: str | None = None


class MemberBanned(AboutUser, frozen=True, kw_only=True, omit_defaults=True):
    """A user, member or not, was banned from a room until a time (UTC), or for good."""

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
    """A user was muted in a room until a time (UTC), or for good; leaving does not end it."""

    TOPIC = "room.MemberMuted.v1"
    PERSONAL = ("reason",)
    until: datetime | None = None
    reason: str | None = None


class MemberUnmuted(AboutUser, frozen=True, kw_only=True, omit_defaults=True):
    """A mute was lifted."""

    TOPIC = "room.MemberUnmuted.v1"
    PERSONAL = ("reason",)
    reason: str | None = None


class RoleChanged(AboutUser, frozen=True, kw_only=True, omit_defaults=True):
    """The role of a member changed."""

    TOPIC = "room.RoleChanged.v1"
    PERSONAL = ("reason",)
    role: Role
    reason: str | None = None


# Messages.


class MessagePosted(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A member posted a message. The seq of the event is the number of the message."""

    TOPIC = "room.MessagePosted.v1"
    PERSONAL = ("content",)
    LATER: ClassVar[dict[str, object]] = {"silenced": ()}
    author: str
    content: str | None
    ref: str
    reply_to: int | None = None
    mentions: tuple[str, ...] = ()
    silenced: tuple[str, ...] = ()
    """Those of `mentions` who have blocked the author: the message does not count as a mention of them."""

    @property
    def subject(self) -> str:
        """The message, whose number the log completes."""
        return NEW_MESSAGE


class MessageEdited(AboutMessage, frozen=True, kw_only=True, omit_defaults=True):
    """The author edited a message; the earlier content stays on the record."""

    TOPIC = "room.MessageEdited.v1"
    PERSONAL = ("content",)
    content: str | None


class MessageDeleted(AboutMessage, frozen=True, kw_only=True, omit_defaults=True):
    """A message was deleted; its content stays on the record."""

    TOPIC = "room.MessageDeleted.v1"
    PERSONAL = ("reason",)
    reason: str | None = None


class ReactionAdded(AboutMessage, frozen=True, kw_only=True, omit_defaults=True):
    """A member added an emoji to a message."""

    TOPIC = "room.ReactionAdded.v1"
    emoji: str


class ReactionRemoved(AboutMessage, frozen=True, kw_only=True, omit_defaults=True):
    """A member removed an emoji from a message."""

    TOPIC = "room.ReactionRemoved.v1"
    emoji: str


# Outside the rooms' streams.


class ReadMarkerMoved(AboutUser, frozen=True, kw_only=True, omit_defaults=True):
    """A read marker moved to `message`, a number in the room. Stored in the reader's stream."""

    TOPIC = "reader.ReadMarkerMoved.v1"
    message: int


class UnreadMarkerMoved(AboutUser, frozen=True, kw_only=True, omit_defaults=True):
    """The reader's own unread count begins after `message`, a number in the room; other users do not see it.

    `marker` is the read marker at that time, which stays: `message` is at most that far, and a later `ReadMarkerMoved`
    is past it and ends this. Stored in the reader's stream.
    """

    TOPIC = "reader.UnreadMarkerMoved.v1"
    message: int
    marker: int


class AboutReport(Event, frozen=True, kw_only=True, omit_defaults=True):
    """An event about one report, in the stream of the reports of its room."""

    report: str

    @property
    def subject(self) -> str:
        """The report."""
        return report_subject(self.report)


class MessageReported(AboutReport, frozen=True, kw_only=True, omit_defaults=True):
    """A member reported `message`, a number in the room, whose author is `author`, to the room's moderators."""

    TOPIC = "report.MessageReported.v1"
    PERSONAL = ("reason",)
    message: int
    author: str
    reason: str | None


class ReportResolved(AboutReport, frozen=True, kw_only=True, omit_defaults=True):
    """A moderator or an administrator resolved a report. The outcome states what was done; it does nothing itself."""

    TOPIC = "report.ReportResolved.v1"
    PERSONAL = ("note",)
    outcome: str
    note: str | None = None


class PersonNamed(AboutUser, frozen=True, kw_only=True, omit_defaults=True):
    """The display name of a person changed.

    `issued_at` is the `iat` of the token that has the name; None if it has none.
    """

    TOPIC = "person.PersonNamed.v1"
    PERSONAL = ("name",)
    LATER: ClassVar[dict[str, object]] = {"issued_at": None}
    name: str | None
    issued_at: datetime | None = None


class PersonSuspended(AboutUser, frozen=True, kw_only=True, omit_defaults=True):
    """An account was suspended: the person may not connect."""

    TOPIC = "person.PersonSuspended.v1"
    PERSONAL = ("reason",)
    reason: str | None = None


class PersonRestored(AboutUser, frozen=True, kw_only=True, omit_defaults=True):
    """The suspension of an account ended."""

    TOPIC = "person.PersonRestored.v1"
    PERSONAL = ("reason",)
    reason: str | None = None


class UserBlocked(AboutUser, frozen=True, kw_only=True, omit_defaults=True):
    """A person blocked `user`. Stored in the stream of the person, who is the author."""

    TOPIC = "person.UserBlocked.v1"


class UserUnblocked(AboutUser, frozen=True, kw_only=True, omit_defaults=True):
    """A person ended the block of `user`. Stored in the stream of the person, who is the author."""

    TOPIC = "person.UserUnblocked.v1"


class PersonErased(AboutUser, frozen=True, kw_only=True, omit_defaults=True):
    """A person was erased: their keys are destroyed, their text is unreadable everywhere, and they may not connect.

    `ground` is the legal ground. It must stay readable, so it is not treated as personal text and is not encrypted.
    """

    TOPIC = "person.PersonErased.v1"
    ground: str


class ContentExpired(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The keys of a room's messages up to and including a day (UTC) were destroyed, `days` after that day.

    Keys of people under a legal hold are kept until the hold is released. Stored in the stream of all expiries.
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
    """The key of a person for all text was replaced by several, so that a part of the text can expire.

    `rooms` are those whose retention required it. Stored in the stream of all expiries.
    """

    TOPIC = "retention.KeyReplaced.v1"
    rooms: tuple[str, ...]


class AboutHold(Event, frozen=True, kw_only=True, omit_defaults=True):
    """An event about a legal hold. `held` is the subject of a room or a user, `ground` the legal ground."""

    held: str
    ground: str

    @property
    def subject(self) -> str:
        """The held room or user."""
        return self.held


class HoldPlaced(AboutHold, frozen=True, kw_only=True, omit_defaults=True):
    """A legal hold was placed: no text of the room or person may be made unreadable."""

    TOPIC = "hold.HoldPlaced.v1"


class HoldReleased(AboutHold, frozen=True, kw_only=True, omit_defaults=True):
    """A legal hold was released."""

    TOPIC = "hold.HoldReleased.v1"


class AboutSession(Event, frozen=True, kw_only=True, omit_defaults=True):
    """An event about one connection, in the stream of its user."""

    session: str

    @property
    def subject(self) -> str:
        """The connection."""
        return session_subject(self.session)


class SessionOpened(AboutSession, frozen=True, kw_only=True, omit_defaults=True):
    """A user connected. `client` is how the client describes itself; address and client are None if unknown.

    `brief` marks a record that stands for several connections of under a second; its closing counts them.
    """

    TOPIC = "session.SessionOpened.v1"
    PERSONAL = ("client",)
    LATER: ClassVar[dict[str, object]] = {"brief": False}
    node: str
    incarnation: str
    address: str | None
    client: str | None
    brief: bool = False


class SessionClosed(AboutSession, frozen=True, kw_only=True, omit_defaults=True):
    """A connection ended. `ranges` are the seqs that were written to it: per room the ranges, both ends included.

    `ranges` is None if they are unknown; `code` is the close code (RFC 6455, section 7.4) if there was one. A session
    that was written very many ranges of a room has them merged: then they include seqs that were not written, and
    `at_least` has how many seqs of that room were certainly written. A record of several brief
    sessions has their number in `sessions`, their addresses in `addresses`, and the union of their ranges.
    """

    TOPIC = "session.SessionClosed.v1"
    LATER: ClassVar[dict[str, object]] = {"at_least": {}, "sessions": None, "addresses": ()}
    reason: str
    code: int | None = None
    ranges: dict[str, tuple[tuple[int, int], ...]] | None
    at_least: dict[str, int] = {}
    sessions: int | None = None
    addresses: tuple[str, ...] = ()


class AuditRead(Event, frozen=True, kw_only=True, omit_defaults=True):
    """The record was read. Recorded before anything is returned, in the stream of all readings.

    `what` is the kind of reading, `asked` its bounds and filters: over HTTP as given, from a command with the time that
    a day stands for. Without `room` and `person` it covered all rooms. The envelope names the reader: the user of the
    token, or for a command the operating system's user.
    """

    TOPIC = "audit.AuditRead.v1"
    what: str
    via: Literal["http", "cli"]
    room: str | None = None
    person: str | None = None
    asked: dict[str, str] = {}

    @property
    def subject(self) -> str:
        """The room that was read, else the person whose view was read, else everything."""
        if self.room is not None:
            return room_subject(self.room)
        return EVERYTHING if self.person is None else user_subject(self.person)


class Unreadable(Event, frozen=True, kw_only=True, omit_defaults=True):
    """Replaces a stored event that this version cannot decode; `topic` is the stored one. It is never stored itself.

    See `service.domain.salvage`.
    """

    TOPIC = ""
    topic: str

    @property
    def subject(self) -> str:
        """Unknown: the envelope names it."""
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
        UnreadMarkerMoved,
        MessageReported,
        ReportResolved,
        PersonNamed,
        PersonSuspended,
        PersonRestored,
        UserBlocked,
        UserUnblocked,
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
"""Events that end a membership. The former member receives the event as the last one of the room."""

SILENCING = (*ENDINGS, MemberMuted, RoomArchived)
"""Events after which a user, or in an archived room each user, may post no more."""


class Damage(msgspec.Struct, frozen=True):
    """Why a stored event cannot be read, in full or in part.

    `part` is `words` if only personal text cannot be decrypted (it then reads as None), `state` if the stored fields
    cannot be decoded, and `topic` if this version does not know the kind of event. In the latter two cases the event is
    derived from the envelope (`service.domain.salvage`). `topic` is the stored one, `reason` a sentence.
    """

    part: Literal["words", "state", "topic"]
    topic: str
    reason: str


class Recorded(msgspec.Struct, frozen=True):
    """An event in the log, with its envelope.

    `seq` numbers the stream from 1 without gaps, `position` orders the whole log and may skip numbers, `at` is the
    database's clock (UTC, microseconds), `by` is the author, `erased` means that its personal text is gone, and
    `damage` names the unreadable part, if any.
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
        """The stored name of the event, also if this version cannot decode it."""
        return self.damage.topic if self.damage else self.event.TOPIC

    @property
    def undecoded(self) -> bool:
        """Whether the event was derived from the envelope because its state cannot be decoded."""
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
    """Return an event as it reads once its personal text is erased."""
    fields = [name for name in recorded.event.PERSONAL if getattr(recorded.event, name) is not None]
    if not fields:
        return recorded
    event = msgspec.structs.replace(recorded.event, **dict.fromkeys(fields))
    return msgspec.structs.replace(recorded, event=event, erased=True)
