"""The acknowledgements: one struct per kind of ack, and the table from commands to them.

The handlers build these structs, and the contract's documents are generated from them, so both agree. On the wire
`type` and `ref` precede an ack's fields (`service.protocol.native.encode_ack`); an HTTP read answers with the fields
alone. All fields of an ack are always present, but `dropped`, which is left out when it is empty.
"""

from typing import Any

import msgspec

from service.protocol import commands
from service.protocol.events import Invitation, MemberEntry, Message, PublicRoom, RoomSummary
from service.protocol.reports import Report


class Ack(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The command was carried out; the ack has no further fields."""


class RecordedAck(Ack, frozen=True, kw_only=True, rename="camel"):
    """The command is on the record: the seq of its last event, or the current seq if it changed nothing."""

    seq: int
    at: str


class RoomCreateAck(RecordedAck, frozen=True, kw_only=True, rename="camel"):
    """The room exists."""

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


class RoomMembersAck(Ack, frozen=True, kw_only=True, rename="camel"):
    """A page of members, by user id."""

    members: list[MemberEntry]
    has_more: bool


class MessageHistoryAck(Ack, frozen=True, kw_only=True, rename="camel"):
    """A page of messages, oldest first."""

    messages: list[Message]
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


class AuthRefreshAck(Ack, frozen=True, kw_only=True, rename="camel"):
    """The connection continues under the new token."""

    expires_at: str


ACKS: dict[str, type[Ack]] = {
    commands.RoomCreate.TYPE: RoomCreateAck,
    commands.RoomJoin.TYPE: RoomJoinAck,
    commands.RoomList.TYPE: RoomListAck,
    commands.RoomDirectory.TYPE: RoomDirectoryAck,
    commands.RoomMembers.TYPE: RoomMembersAck,
    commands.MessageSend.TYPE: MessageSendAck,
    commands.MessageHistory.TYPE: MessageHistoryAck,
    commands.MessageReport.TYPE: ReportAck,
    commands.ReportList.TYPE: ReportListAck,
    commands.ReportResolve.TYPE: ReportAck,
    commands.UserBlocks.TYPE: UserBlocksAck,
    commands.AuthRefresh.TYPE: AuthRefreshAck,
}
"""The acks that have fields of their own, by the command's wire name."""


def ack_of(command: type[commands.Frame]) -> type[Ack]:
    """Return the ack type of a command."""
    return ACKS.get(command.TYPE, RecordedAck if command.RECORDED else Ack)


def ack_fields(ack: Ack) -> dict[str, Any]:
    """Return an ack's fields under their wire names; their values are unchanged, and an empty `dropped` is left out."""
    names = zip(ack.__struct_encode_fields__, ack.__struct_fields__, strict=True)
    return {name: value for name, field in names if (value := getattr(ack, field)) != ()}
