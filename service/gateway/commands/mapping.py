"""Commands that are what they say: each field of the frame is one of the command's, and the ack has nothing of its own.

So they need no handler each; whatever they lead to is decided in `service.domain`.
"""

from service.domain.commands import (
    AddReaction,
    ArchiveRoom,
    BanMember,
    ChangeRole,
    DeleteMessage,
    EditMessage,
    InviteMember,
    LeaveRoom,
    MuteMember,
    PinMessage,
    RemoveMember,
    RemoveReaction,
    ReopenRoom,
    RoomCommand,
    UnbanMember,
    UnmuteMember,
    UnpinMessage,
)
from service.protocol import commands as wire

PLAIN: dict[type[wire.RoomFrame], type[RoomCommand]] = {
    wire.RoomLeave: LeaveRoom,
    wire.RoomArchive: ArchiveRoom,
    wire.RoomReopen: ReopenRoom,
    wire.RoomInvite: InviteMember,
    wire.RoomKick: RemoveMember,
    wire.RoomBan: BanMember,
    wire.RoomUnban: UnbanMember,
    wire.RoomMute: MuteMember,
    wire.RoomUnmute: UnmuteMember,
    wire.RoomRole: ChangeRole,
    wire.MessageEdit: EditMessage,
    wire.MessageDelete: DeleteMessage,
    wire.MessageReact: AddReaction,
    wire.MessageUnreact: RemoveReaction,
    wire.MessagePin: PinMessage,
    wire.MessageUnpin: UnpinMessage,
}
"""What each of these frames wishes for."""

_NAMES = {"room_id": "room", "user_id": "user", "message_id": "message"}
_NOT_SAID = ("type", "ref")


def to_domain(frame: wire.RoomFrame, command: type[RoomCommand]) -> RoomCommand:
    """Return the command that has the fields of a frame."""
    fields = {name: getattr(frame, name) for name in frame.__struct_fields__ if name not in _NOT_SAID}
    return command(**{_NAMES.get(name, name): value for name, value in fields.items()})
