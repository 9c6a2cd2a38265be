"""The commands as clients send them: one struct per `type`, which is its schema, its check and its documentation.

Unknown fields are an error. Lengths are counted in Unicode code points. `RECORDED` says that the command needs a `ref`.
"""

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from service.domain.events import Visibility

ROOM_ID = r"\A[a-z0-9][a-z0-9._-]{0,63}\Z"
USER_ID = r"\A[A-Za-z0-9][A-Za-z0-9._@|-]{0,127}\Z"
REF = r"\A[A-Za-z0-9._:-]{1,64}\Z"
MAX_SEQ = 2**53 - 1
"""The greatest number that every JSON reader keeps exactly (RFC 8259, section 6)."""

RoomId = Annotated[str, Meta(pattern=ROOM_ID)]
UserId = Annotated[str, Meta(pattern=USER_ID)]
Ref = Annotated[str, Meta(pattern=REF)]
Seq = Annotated[int, Meta(ge=0, le=MAX_SEQ)]
MessageId = Annotated[int, Meta(ge=1, le=MAX_SEQ)]
RoomName = Annotated[str, Meta(min_length=1, max_length=200)]


class Frame(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What every command has."""

    TYPE: ClassVar[str]
    RECORDED: ClassVar[bool] = False

    type: str
    ref: Ref | None = None


class Connect(Frame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The first frame: who, and which rooms from which seq on (0: from the first; null: from now on)."""

    TYPE = "connect"
    protocol: int
    token: str | None = None
    epoch: str | None = None
    rooms: dict[RoomId, Seq | None] = {}


class RoomFrame(Frame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What every command about one room has."""

    room_id: RoomId


class RoomCreate(Frame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Open a room."""

    TYPE = "room:create"
    RECORDED = True
    name: RoomName
    room_id: RoomId | None = None
    visibility: Visibility = "public"
    members: Annotated[tuple[UserId, ...], Meta(max_length=100)] = ()


class RoomJoin(RoomFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Become a member and hear the room on this connection; `after` is a cursor."""

    TYPE = "room:join"
    RECORDED = True
    after: Seq | None = None


class RoomLeave(RoomFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """End the membership."""

    TYPE = "room:leave"
    RECORDED = True


class RoomList(Frame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """List the rooms one is a member of, with unread counts."""

    TYPE = "room:list"


class RoomMembers(RoomFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """List members, by user id; `after` is the last user id of the page before."""

    TYPE = "room:members"
    after: UserId | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 200


class MessageSend(RoomFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Post a message."""

    TYPE = "message:send"
    RECORDED = True
    content: str
    reply_to: MessageId | None = None
    mentions: Annotated[tuple[UserId, ...], Meta(max_length=100)] = ()


class MessageHistory(RoomFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Read a page of messages, oldest first; `before` and `after` are exclusive message ids."""

    TYPE = "message:history"
    before: MessageId | None = None
    after: Seq | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 50


class MessageRead(RoomFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Have read everything up to a message."""

    TYPE = "message:read"
    RECORDED = True
    message_id: MessageId


class TypingStart(RoomFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Be seen typing, for a few seconds."""

    TYPE = "typing:start"


class TypingStop(RoomFrame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Be seen typing no more."""

    TYPE = "typing:stop"


class PresenceSet(Frame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Let this connection count as online or as away."""

    TYPE = "presence:set"
    status: Literal["online", "away"]


class AuthRefresh(Frame, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Go on under a new token of the same user."""

    TYPE = "auth:refresh"
    token: str


COMMANDS: dict[str, type[Frame]] = {
    cls.TYPE: cls
    for cls in (
        RoomCreate,
        RoomJoin,
        RoomLeave,
        RoomList,
        RoomMembers,
        MessageSend,
        MessageHistory,
        MessageRead,
        TypingStart,
        TypingStop,
        PresenceSet,
        AuthRefresh,
    )
}
"""Every command by its wire name. `connect` is not among them: it is looked at only once, before all others."""
