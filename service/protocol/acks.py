"""The acknowledgements: one struct per kind of ack, and the table from commands to them.

The handlers build these structs, and the contract's documents are generated from them, so both agree. On the wire
`type` and `ref` precede an ack's fields (`service.protocol.native.encode_ack`); an HTTP read answers with the fields
alone. All fields of an ack are always present, but `dropped`, `unknown`, `invited` and `successor`, which are left out
when they are empty.
"""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from service.protocol import commands
from service.protocol.events import (
    Invitation,
    InvitedEntry,
    MemberEntry,
    Message,
    PinnedMessage,
    PublicRoom,
    RoomSummary,
)
from service.protocol.reports import Report


class Ack(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The command was carried out; the ack has no further fields."""


class RecordedAck(Ack, frozen=True, kw_only=True, rename="camel"):
    """The command is on the record: the seq of its last event, or the current seq if it changed nothing."""

    seq: int
    at: str


class NamingAck(RecordedAck, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The command is on the record, as for `RecordedAck`.

    `unknown` has the users that the command names and that have never signed in: their ids may be mistyped.
    """

    unknown: tuple[str, ...] = ()


class RoomCreateAck(NamingAck, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The room exists; `unknown` has the members that have never signed in."""

    room_id: str


class RoomJoinAck(RecordedAck, frozen=True, kw_only=True, rename="camel"):
    """The user is a member; `head` is the seq of the room's last event, `epoch` the epoch of the log."""

    head: int
    epoch: str


class MessageSendAck(RecordedAck, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The message is on the record under this number.

    `dropped` has the users that the command mentions and the message does not, because they are not members.
    """

    message_id: int
    dropped: tuple[str, ...] = ()


class RoomListAck(Ack, frozen=True, kw_only=True, rename="camel"):
    """A page of the user's rooms and invitations, together by room id."""

    rooms: list[RoomSummary]
    invitations: list[Invitation]
    has_more: bool


class RoomDirectoryAck(Ack, frozen=True, kw_only=True, rename="camel"):
    """A page of the public rooms, by name.

    If `has_more` is true, `next` is the room after which the next page begins. Such a page may have few rooms or none:
    a search looks through a limited number of rooms at a time.
    """

    rooms: list[PublicRoom]
    has_more: bool
    next: str | None


class RoomMembersAck(Ack, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A page of members, by user id.

    The first page has in `invited` the first 200 users whose invitation is open, by user id. `successor` is the member
    who becomes the owner if the asker leaves, who is the last owner.
    """

    members: list[MemberEntry]
    has_more: bool
    invited: tuple[InvitedEntry, ...] = ()
    successor: str | UnsetType = UNSET


class MessageHistoryAck(Ack, frozen=True, kw_only=True, rename="camel"):
    """A page of messages, oldest first."""

    messages: list[Message]
    has_more: bool


class MessagePinsAck(Ack, frozen=True, kw_only=True, rename="camel"):
    """A page of the room's pinned messages, the newest pin first."""

    messages: list[PinnedMessage]
    has_more: bool


class ReportAck(Ack, frozen=True, kw_only=True, rename="camel"):
    """The report or its resolution is on the record; there is no seq, which would show how many reports there are."""

    at: str


class ReportListAck(Ack, frozen=True, kw_only=True, rename="camel"):
    """A page of open reports, the oldest first."""

    reports: list[Report]
    has_more: bool


class UserBlocksAck(Ack, frozen=True, kw_only=True, rename="camel"):
    """A page of the users that the user has blocked, by user id."""

    user_ids: list[str]
    has_more: bool


class FoundUser(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A user, with the display name; the user id if none is known."""

    user_id: str
    name: str


class UserFindAck(Ack, frozen=True, kw_only=True, rename="camel"):
    """The users who match, the best match first, and whether more do.

    `among` says who is found on this server: anyone who has signed in, or people who share a room with the user.
    """

    users: list[FoundUser]
    has_more: bool
    among: Literal["anyone", "shared"]


class AuthRefreshAck(Ack, frozen=True, kw_only=True, rename="camel"):
    """The connection continues under the new token."""

    expires_at: str


ACKS: dict[str, type[Ack]] = {
    commands.RoomCreate.TYPE: RoomCreateAck,
    commands.RoomJoin.TYPE: RoomJoinAck,
    commands.RoomInvite.TYPE: NamingAck,
    commands.RoomBan.TYPE: NamingAck,
    commands.RoomList.TYPE: RoomListAck,
    commands.RoomDirectory.TYPE: RoomDirectoryAck,
    commands.RoomMembers.TYPE: RoomMembersAck,
    commands.MessageSend.TYPE: MessageSendAck,
    commands.MessageHistory.TYPE: MessageHistoryAck,
    commands.MessagePins.TYPE: MessagePinsAck,
    commands.MessageReport.TYPE: ReportAck,
    commands.ReportList.TYPE: ReportListAck,
    commands.ReportResolve.TYPE: ReportAck,
    commands.UserBlock.TYPE: NamingAck,
    commands.UserBlocks.TYPE: UserBlocksAck,
    commands.UserFind.TYPE: UserFindAck,
    commands.AuthRefresh.TYPE: AuthRefreshAck,
}
"""The acks that have fields of their own, by the command's wire name."""


def ack_of(command: type[commands.Frame]) -> type[Ack]:
    """Return the ack type of a command."""
    return ACKS.get(command.TYPE, RecordedAck if command.RECORDED else Ack)


def ack_fields(ack: Ack) -> dict[str, Any]:
    """Return an ack's fields under their wire names, without those that are empty or unset; values are unchanged."""
    names = zip(ack.__struct_encode_fields__, ack.__struct_fields__, strict=True)
    return {
        name: value for name, field in names if (value := getattr(ack, field)) != () and value is not UNSET
    }
