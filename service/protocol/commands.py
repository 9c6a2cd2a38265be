"""The commands as clients send them: one struct per `type`, which is its schema, its check and its documentation.

An unknown field is an error. Lengths are counted in Unicode code points. `RECORDED` means that the command needs a
`ref`, `ACTIVITY` that it counts as activity of the user.
"""

from datetime import UTC, datetime
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from service.domain.content.names import MAX_ROOM_NAME, MAX_TOPIC
from service.domain.content.reactions import is_reaction
from service.domain.events import Outcome, Role, Visibility
from service.protocol.forms import FORMS, Form, form

PROTOCOL = 1
"""The version of the wire contract."""

ROOM_ID = r"\A[a-z0-9][a-z0-9._-]{0,63}\Z"
USER_ID = r"\A(?!(?:service|os|node):)[!-~]{1,255}\Z"
"""A subject of OpenID Connect (Core 1.0, section 2) without spaces, compared with case. The prefixes are those of other
authors on the record: services, operators of commands, and nodes. Part of the stored format: it never narrows.
"""
USER_ID_FORM = "1 to 255 ASCII characters without spaces, not beginning with service:, os: or node:"
"""The form of a user id, for people."""
REF = r"\A[A-Za-z0-9._:-]{1,64}\Z"
EMOJI = (
    r"\A(?=.*[^\u200d\ufe0e\ufe0f\U000e0020-\U000e007f])"
    r"[^\s<>&\"'\x00-\x1f\x7f-\x9f\u061c\u200b\u200c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]{1,34}\Z"
)
"""1-34 code points, at least one of them visible: no white space, control, direction mark or markup. `MessageReact`
allows fewer; this was the rule of earlier versions, whose reactions can still be removed.
"""
REPORT_ID = r"\A[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z"
"""A UUID of version 5: the id of a report follows from the message and the user who reported it."""
MOST_MENTIONS = 100
"""Mentions in one message, names that come twice included."""
MAX_SEQ = 2**53 - 1
"""The greatest number that every JSON reader keeps exactly (RFC 8259, section 6)."""

RoomId = Annotated[
    str,
    form(
        ROOM_ID,
        Form(
            "a room id",
            "at most 64 lower-case letters, digits and . _ - (not first)",
            "project-x",
            "A name with capitals and spaces goes into room:create, whose ack has the id",
        ),
    ),
]
UserId = Annotated[str, form(USER_ID, Form("a user id", USER_ID_FORM, "alice@example.com"))]
Ref = Annotated[str, form(REF, Form("a ref", "1 to 64 letters, digits and . _ : -", "a UUID"))]
Seq = Annotated[int, Meta(ge=0, le=MAX_SEQ)]
MessageId = Annotated[int, Meta(ge=1, le=MAX_SEQ)]
RoomName = Annotated[
    str,
    form(
        r"\A[^\x00]*[^\s\x00][^\x00]*\Z",
        Form("a name", f"1 to {MAX_ROOM_NAME} characters, at least one of them visible", "Project X"),
        max_length=MAX_ROOM_NAME,
    ),
]
Topic = Annotated[str, Meta(max_length=MAX_TOPIC)]
Reason = Annotated[str, Meta(min_length=1, max_length=500)]
Emoji = Annotated[
    str,
    form(
        EMOJI,
        Form(
            "a reaction",
            "one emoji, or a shortcode of a-z, 0-9, _, + and - between colons",
            "\N{THUMBS UP SIGN} or :wave:",
        ),
    ),
]
ReportId = Annotated[
    str,
    form(
        REPORT_ID,
        Form("a report id", "the reportId of report:list", "6fb4c1d2-9a3e-5b57-8c41-2d7f90e6a1b3"),
    ),
]
Time = Annotated[datetime, Meta(tz=True)]


class Frame(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The fields of every command."""

    TYPE: ClassVar[str]
    RECORDED: ClassVar[bool] = False
    ACTIVITY: ClassVar[bool] = True

    type: str
    ref: Ref | None = None


class Connect(Frame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The first frame: the token, and the rooms with their cursors (0: from the first event; null: from now on)."""

    TYPE = "connect"
    protocol: int
    token: str | None = None
    epoch: str | None = None
    rooms: dict[RoomId, Seq | None] = {}


class RoomFrame(Frame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The fields of every command about one room."""

    room_id: RoomId


class MemberFrame(RoomFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The fields of every command about one user in a room."""

    user_id: UserId


class ModerationFrame(MemberFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The fields of every moderator's command about one user: the sender's reason is optional."""

    reason: Reason | None = None


class TimedFrame(ModerationFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The fields of a ban or mute: until a time, or for good."""

    until: Time | None = None

    def __post_init__(self) -> None:
        """Refuse a time that is valid with its offset and outside the calendar in UTC."""
        try:
            _ = self.until and self.until.astimezone(UTC)
        except OverflowError as error:
            raise ValueError("until is a time outside the years 1 to 9999 in UTC") from error


class MessageFrame(RoomFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The fields of every command about one message."""

    message_id: MessageId


class RoomCreate(Frame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Create a room."""

    TYPE = "room:create"
    RECORDED = True
    name: RoomName
    room_id: RoomId | None = None
    visibility: Visibility = "public"
    members: Annotated[tuple[UserId, ...], Meta(max_length=100)] = ()


class RoomJoin(RoomFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Become a member and receive the room's events on this connection; `after` is a cursor."""

    TYPE = "room:join"
    RECORDED = True
    after: Seq | None = None


class RoomLeave(RoomFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """End the membership."""

    TYPE = "room:leave"
    RECORDED = True


class RoomUpdate(RoomFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Change a room's name, topic or both; an empty topic means none."""

    TYPE = "room:update"
    RECORDED = True
    name: RoomName | None = None
    topic: Topic | None = None


class RoomArchive(RoomFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Archive a room: it can be read and left, and nothing else."""

    TYPE = "room:archive"
    RECORDED = True


class RoomReopen(RoomFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Reopen an archived room."""

    TYPE = "room:reopen"
    RECORDED = True


class RoomInvite(MemberFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Allow a user to join."""

    TYPE = "room:invite"
    RECORDED = True


class RoomKick(ModerationFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Remove a member, or withdraw an invitation."""

    TYPE = "room:kick"
    RECORDED = True


class RoomBan(TimedFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Ban a user until a time, or for good."""

    TYPE = "room:ban"
    RECORDED = True


class RoomUnban(ModerationFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Lift a ban."""

    TYPE = "room:unban"
    RECORDED = True


class RoomMute(TimedFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Mute a member until a time, or for good."""

    TYPE = "room:mute"
    RECORDED = True


class RoomUnmute(ModerationFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Lift a mute."""

    TYPE = "room:unmute"
    RECORDED = True


class RoomRole(ModerationFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Change a member's role."""

    TYPE = "room:role"
    RECORDED = True
    role: Role


class UserFrame(Frame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The fields of every command about one user."""

    user_id: UserId


class UserBlock(UserFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Block a user: the user's invitations are hidden, and the user adds, mentions and writes directly no more."""

    TYPE = "user:block"
    RECORDED = True


class UserUnblock(UserFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """End the block of a user."""

    TYPE = "user:unblock"
    RECORDED = True


class UserBlocks(Frame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """List the users that the user has blocked, by user id; `after` is the last user id of the previous page."""

    TYPE = "user:blocks"
    after: UserId | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 200


class UserFind(Frame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Find users by the beginning of the user id, or of a word of the display name; case and accents do not matter."""

    TYPE = "user:find"
    query: Annotated[
        str,
        form(
            r"\A(?:[^\x00]*[^\s\x00][^\x00]*)\Z",
            Form("a query", "1 to 255 characters, at least one of them visible", "ann"),
            max_length=255,
        ),
    ]
    limit: Annotated[int, Meta(ge=1, le=20)] = 20


class RoomList(Frame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """List the user's rooms with unread counts; `after` is the last room id of the previous page."""

    TYPE = "room:list"
    after: RoomId | None = None


class RoomDirectory(Frame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """List the public rooms that are not archived, by name, with topic and number of members.

    `query` is a part of the name; `after` is the `next` of the previous page.
    """

    TYPE = "room:directory"
    query: Annotated[
        str,
        form(
            r"\A[^\x00]*\Z", Form("a query", "at most 64 characters, none of them NUL", "gen"), max_length=64
        ),
    ] = ""
    after: RoomId | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 50


class RoomMembers(RoomFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """List members, by user id; `after` is the last user id of the previous page."""

    TYPE = "room:members"
    after: UserId | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 200


class MessageSend(RoomFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Post a message."""

    TYPE = "message:send"
    RECORDED = True
    content: str
    reply_to: MessageId | None = None
    mentions: Annotated[tuple[UserId, ...], Meta(max_length=MOST_MENTIONS)] = ()


class MessageEdit(MessageFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Edit a message."""

    TYPE = "message:edit"
    RECORDED = True
    content: str


class MessageDelete(MessageFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Delete a message: its content is shown no more."""

    TYPE = "message:delete"
    RECORDED = True
    reason: Reason | None = None


class MessageReact(MessageFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Add a reaction to a message: one emoji, or a shortcode such as `:party_parrot:`."""

    TYPE = "message:react"
    RECORDED = True
    emoji: Emoji

    def __post_init__(self) -> None:
        """Refuse a text that is neither an emoji nor a shortcode."""
        if not is_reaction(self.emoji):
            raise ValueError(f"{FORMS[EMOJI].problem(self.emoji)} - at `$.emoji`")


class MessageUnreact(MessageFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Remove the sender's reaction from a message, in whichever form of the emoji it was added."""

    TYPE = "message:unreact"
    RECORDED = True
    emoji: Emoji


class MessagePin(MessageFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Pin a message in the room."""

    TYPE = "message:pin"
    RECORDED = True


class MessageUnpin(MessageFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Unpin a message."""

    TYPE = "message:unpin"
    RECORDED = True


class MessageReport(MessageFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Report another user's message to the room's moderators and owners; no one else learns of it."""

    TYPE = "message:report"
    RECORDED = True
    reason: Reason


class ReportList(RoomFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """List a room's open reports, the oldest first; `after` is the last report id of the previous page."""

    TYPE = "report:list"
    after: ReportId | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 50


class ReportResolve(RoomFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Resolve a report: state what was done about it, which the command itself does not do."""

    TYPE = "report:resolve"
    RECORDED = True
    report_id: ReportId
    outcome: Outcome
    note: Reason | None = None


class MessageHistory(RoomFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Read a page of messages, oldest first; `before` and `after` are exclusive message ids."""

    TYPE = "message:history"
    before: MessageId | None = None
    after: Seq | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 50


class MessageRead(RoomFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Move the read marker to a message."""

    TYPE = "message:read"
    RECORDED = True
    message_id: MessageId


class MessageUnread(MessageFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Let the user's own unread count begin before a message again; what others see as read stays."""

    TYPE = "message:unread"
    RECORDED = True


class MessagePins(RoomFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """List the pinned messages, the newest pin first; `before` is the last `pinSeq` of the previous page."""

    TYPE = "message:pins"
    before: Annotated[int, Meta(ge=1, le=MAX_SEQ)] | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 50


class TypingStart(RoomFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Show the user as typing, for a few seconds."""

    TYPE = "typing:start"


class TypingStop(RoomFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Show the user as typing no more."""

    TYPE = "typing:stop"


class PresenceSet(Frame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Set whether this connection counts as online or as away."""

    TYPE = "presence:set"
    status: Literal["online", "away"]


class Ping(Frame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Check the connection: the ack is the whole effect, and the command does not count as activity of the user."""

    TYPE = "ping"
    ACTIVITY = False


class AuthRefresh(Frame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Continue under a new token of the same user."""

    TYPE = "auth:refresh"
    token: str


COMMANDS: dict[str, type[Frame]] = {
    cls.TYPE: cls
    for cls in (
        RoomCreate,
        RoomJoin,
        RoomLeave,
        RoomUpdate,
        RoomArchive,
        RoomReopen,
        RoomInvite,
        RoomKick,
        RoomBan,
        RoomUnban,
        RoomMute,
        RoomUnmute,
        RoomRole,
        RoomList,
        RoomDirectory,
        RoomMembers,
        MessageSend,
        MessageEdit,
        MessageDelete,
        MessageReact,
        MessageUnreact,
        MessagePin,
        MessageUnpin,
        MessageReport,
        ReportList,
        ReportResolve,
        MessageHistory,
        MessageRead,
        MessageUnread,
        MessagePins,
        TypingStart,
        TypingStop,
        PresenceSet,
        UserBlock,
        UserUnblock,
        UserBlocks,
        UserFind,
        Ping,
        AuthRefresh,
    )
}
"""Every command by its wire name. `connect` is not among them: it is accepted once only, before all others."""
