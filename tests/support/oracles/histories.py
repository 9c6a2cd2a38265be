"""Random histories that the domain accepts."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from service.domain import message, read_marker, room
from service.domain.commands import (
    AddReaction,
    ArchiveRoom,
    BanMember,
    ChangeRole,
    DeleteMessage,
    EditMessage,
    InviteMember,
    JoinRoom,
    LeaveRoom,
    MarkUnread,
    MessageCommand,
    MoveReadMarker,
    MuteMember,
    OpenRoom,
    PinMessage,
    PostMessage,
    RemoveMember,
    RemoveReaction,
    ReopenRoom,
    RoomCommand,
    UnbanMember,
    UnmuteMember,
    UnpinMessage,
    UpdateRoom,
)
from service.domain.events import Event, PersonNamed, Recorded
from service.domain.message import MessageState
from service.domain.read_marker import ReaderState
from service.domain.room import RoomState
from service.domain.streams import person_stream, reader_stream, room_stream
from service.errors import Refusal
from tests.support.oracles.messages import summary_of
from tests.support.oracles.projected_log import Act

USERS = ("alice", "bob", "carol", 'o/{"u:1"}\\%')
ROOMS = ("r1", "r2", "r3")
_BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
_LATER = _BEGINNING + timedelta(days=1)

Wish = tuple[str, str, str, int]
_EMOJI = ("👍", "🎉", ":x:")


def _other(number: int) -> str:
    return USERS[number % len(USERS)]


COMMANDS: dict[str, Callable[[str, int], RoomCommand]] = {
    "open": lambda name, number: OpenRoom(
        room=name, name="Private", visibility="private", members=(_other(number),)
    ),
    "join": lambda name, _: JoinRoom(room=name, create=True),
    "leave": lambda name, _: LeaveRoom(room=name),
    "say": lambda name, number: PostMessage(
        room=name,
        content=f"no. {number}",
        ref="ref",
        mentions=tuple(user for bit, user in enumerate(USERS) if number >> bit & 1),
        silenced=tuple(user for bit, user in enumerate(USERS) if number >> bit & number >> bit + 1 & 1),
        reply_to=number % 3 or None,
    ),
    "rename": lambda name, number: UpdateRoom(room=name, name=f"Room {number}"),
    "topic": lambda name, number: UpdateRoom(room=name, topic=f"about {number}" if number % 3 else ""),
    "archive": lambda name, _: ArchiveRoom(room=name),
    "reopen": lambda name, _: ReopenRoom(room=name),
    "invite": lambda name, number: InviteMember(room=name, user=_other(number)),
    "kick": lambda name, number: RemoveMember(room=name, user=_other(number), reason="noise"),
    "ban": lambda name, number: BanMember(
        room=name, user=_other(number), until=_LATER if number % 2 else None
    ),
    "unban": lambda name, number: UnbanMember(room=name, user=_other(number)),
    "mute": lambda name, number: MuteMember(
        room=name, user=_other(number), until=_LATER if number % 2 else None
    ),
    "unmute": lambda name, number: UnmuteMember(room=name, user=_other(number)),
    "role": lambda name, number: ChangeRole(
        room=name, user=_other(number), role=("owner", "moderator", "member")[number // 3 % 3]
    ),
    "edit": lambda name, number: EditMessage(room=name, message=number, content=f"edited {number}"),
    "delete": lambda name, number: DeleteMessage(room=name, message=number),
    "react": lambda name, number: AddReaction(room=name, message=number, emoji=_EMOJI[number % 3]),
    "unreact": lambda name, number: RemoveReaction(room=name, message=number, emoji=_EMOJI[number % 3]),
    "pin": lambda name, number: PinMessage(room=name, message=number),
    "unpin": lambda name, number: UnpinMessage(room=name, message=number),
}
"""The commands in a room; the number selects the user, the message or an option."""
_OFTEN = (
    "say",
    "say",
    "say",
    "say",
    "join",
    "join",
    "join",
    "read",
    "read",
    "unread",
    "edit",
    "delete",
    "react",
    "pin",
)

wishes: st.SearchStrategy[list[Wish]] = st.lists(
    st.tuples(
        st.sampled_from((*_OFTEN, *_OFTEN, *COMMANDS, "name")),
        st.sampled_from(ROOMS),
        st.sampled_from(USERS),
        st.integers(0, 999),
    ),
    min_size=40,
    max_size=90,
)
"""Commands of users in rooms. Refused commands have no effect."""


_SO_FAR: tuple[Wish, ...] = (
    *(("join", "r1", user, 0) for user in USERS),
    *(("say", "r1", user, bit) for bit, user in enumerate(USERS)),
    ("open", "r2", "bob", 0),
    ("say", "r2", "bob", 7),
    ("react", "r1", "carol", 1),
)


class _Story:
    def __init__(self) -> None:
        self.rooms = {name: RoomState(name) for name in ROOMS}
        self.messages: dict[tuple[str, int], MessageState] = {}
        self.readers: dict[tuple[str, str], ReaderState] = {}

    def act(self, wish: Wish) -> Act | None:
        kind, name, user, number = wish
        state = self.rooms[name]
        if kind == "name":
            return user, person_stream(user), (PersonNamed(user=user, name=f"{user} {number}"),)
        if kind in ("read", "unread"):
            return self._read(kind, name, user, 1 + number % state.head) if user in state.members else None
        command = COMMANDS[kind](name, self._aimed(kind, name, number))
        return self._in_room(command, self._entitled(command) or user if number % 2 else user)

    def _aimed(self, kind: str, name: str, number: int) -> int:
        """Return the number of a message of the room, for commands about one."""
        if kind not in ("edit", "delete", "react", "unreact", "pin", "unpin"):
            return number
        known = [seq for room_id, seq in self.messages if room_id == name]
        return known[number % len(known)] if known else number

    def _entitled(self, command: RoomCommand) -> str | None:
        """Return a user who probably has the permission, since random users would be refused too often."""
        if isinstance(command, EditMessage):
            return self.messages.get((command.room, command.message), MessageState()).author
        asks = isinstance(command, JoinRoom | LeaveRoom | PostMessage)
        return None if asks else next(iter(self.rooms[command.room].owners()), None)

    def _read(self, kind: str, name: str, user: str, number: int) -> Act | None:
        state = self.readers.get((name, user), ReaderState())
        command = (MarkUnread if kind == "unread" else MoveReadMarker)(room=name, message=number)
        if not (events := read_marker.decide(state, command, user)):
            return None
        stream = reader_stream(name, user)
        recorded = Recorded(stream, state.head + 1, 0, events[0].subject, _BEGINNING, user, events[0])
        self.readers[name, user] = read_marker.evolve(state, recorded)
        return user, stream, tuple(events)

    def _in_room(self, command: RoomCommand, user: str) -> Act | None:
        name = command.room
        number = command.message if isinstance(command, MessageCommand) else 0
        about = self.messages.get((name, number), MessageState())
        try:
            events = room.decide(self.rooms[name], command, user, _BEGINNING, summary_of(about, user))
        except Refusal:
            return None
        for event in events:
            self._happened(name, user, event)
        return (user, room_stream(name), tuple(events)) if events else None

    def _happened(self, name: str, user: str, event: Event) -> None:
        seq = self.rooms[name].head + 1
        recorded = Recorded(room_stream(name), seq, 0, event.subject, _BEGINNING, user, event)
        self.rooms[name] = room.evolve(self.rooms[name], recorded)
        if (number := message.number_of(recorded)) is not None:
            before = self.messages.get((name, number), MessageState())
            self.messages[name, number] = message.evolve(before, recorded)


def acts(wanted: Iterable[Wish]) -> list[Act]:
    """Return the events that the commands cause, in rooms of which one exists already, and one is private."""
    story = _Story()
    return [act for wish in (*_SO_FAR, *wanted) if (act := story.act(wish)) is not None]
