"""The commands: what somebody wants, in the imperative. Who wants it and under which ref travels beside them."""

import msgspec

from service.domain.events import Visibility


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A wish about one stream."""


class RoomCommand(Command, frozen=True, kw_only=True):
    """A wish about one room."""

    room: str


class OpenRoom(RoomCommand, frozen=True, kw_only=True):
    """Open a room with oneself as the owner and `members` beside."""

    name: str
    visibility: Visibility = "public"
    members: tuple[str, ...] = ()


class JoinRoom(RoomCommand, frozen=True, kw_only=True):
    """Become a member; `create` says that policy lets a missing room be opened by joining it."""

    create: bool = False


class LeaveRoom(RoomCommand, frozen=True, kw_only=True):
    """End one's membership."""


class PostMessage(RoomCommand, frozen=True, kw_only=True):
    """Say something in a room. `reply_to` is the number of a message of the same room."""

    content: str
    ref: str
    reply_to: int | None = None
    mentions: tuple[str, ...] = ()


class MoveReadMarker(RoomCommand, frozen=True, kw_only=True):
    """Have read everything up to `message`, a number in the room."""

    message: int


class NamePerson(Command, frozen=True, kw_only=True):
    """Be called `name` from now on."""

    name: str
