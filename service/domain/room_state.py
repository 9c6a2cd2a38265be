"""The current state of a room, and how each event of its stream changes it.

The state is small: settings, people and the numbers of pinned messages, never messages. A node can hold it for every
room it serves. Its maps are persistent (`rpds`): consecutive states share all but the change, so that a change in a
room of many members costs no more than in a small one.

Invariant: only events about `settings` and about users change more than the head, since a node reads no others when it
loads a room (`LogReader.room`).
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from rpds import HashTrieMap

from service.domain.events import (
    Event,
    MemberBanned,
    MemberInvited,
    MemberJoined,
    MemberLeft,
    MemberMuted,
    MemberRemoved,
    MemberUnbanned,
    MemberUnmuted,
    MessagePinned,
    MessageUnpinned,
    Recorded,
    Role,
    RoleChanged,
    RoomArchived,
    RoomOpened,
    RoomRenamed,
    RoomReopened,
    RoomRetentionChanged,
    RoomTopicChanged,
    Visibility,
)


class Member(msgspec.Struct, frozen=True):
    """A membership: the role, the seq of the join, and whether another user added the member."""

    role: Role
    since: int
    added: bool = False


class RoomState(msgspec.Struct, frozen=True):
    """A room as of `head`, the seq of its last event; `head` 0 means that the room does not exist."""

    room: str
    head: int = 0
    name: str = ""
    visibility: Visibility = "public"
    members: "HashTrieMap[str, Member]" = HashTrieMap()
    left: "HashTrieMap[str, int]" = HashTrieMap()
    """Former members, with the seq of their last leave."""
    topic: str | None = None
    topic_by: str | None = None
    """The author of the topic: once that person is erased, the topic is gone."""
    archived: bool = False
    retention: int | None = None
    """Days after which messages from now on become unreadable."""
    invited: "HashTrieMap[str, str]" = HashTrieMap()
    """Invited users, with the author of the last invitation."""
    banned: "HashTrieMap[str, datetime | None]" = HashTrieMap()
    """The end of each ban (UTC), None for a permanent one. An entry whose end has passed is no ban. So is `muted`."""
    muted: "HashTrieMap[str, datetime | None]" = HashTrieMap()
    pinned: "HashTrieMap[int, int]" = HashTrieMap()
    """Pinned messages by number, with the seqs of their pins."""

    @property
    def exists(self) -> bool:
        """Whether the room was ever created."""
        return self.head > 0

    def role(self, user: str) -> Role | None:
        """Return a member's role, None for any other user."""
        member = self.members.get(user)
        return member.role if member else None

    def owners(self) -> list[str]:
        """Return the ids of the owners."""
        return sorted(user for user, member in self.members.items() if member.role == "owner")

    def is_banned(self, user: str, at: datetime) -> bool:
        """Return whether a user is banned at a time."""
        return user in self.banned and _lasts(self.banned[user], at)

    def is_muted(self, user: str, at: datetime) -> bool:
        """Return whether a user is muted at a time."""
        return user in self.muted and _lasts(self.muted[user], at)


def evolve(state: RoomState, recorded: Recorded) -> RoomState:
    """Return the state after one more event of the room's stream."""
    change = _CHANGES.get(type(recorded.event))
    changed = change(state, recorded.event, recorded) if change else {}
    return msgspec.structs.replace(state, head=recorded.seq, **changed)


def changes_more_than_head(event: Event) -> bool:
    """Return whether an event changes permissions in a room, or its settings."""
    return type(event) in _CHANGES


def without_words_of(state: RoomState, user: str) -> RoomState:
    """Return a room as it reads once a person is erased."""
    return msgspec.structs.replace(state, topic=None) if state.topic_by == user else state


def _joined(state: RoomState, event: MemberJoined, recorded: Recorded) -> dict[str, Any]:
    member = Member(event.role, recorded.seq, added=recorded.by != event.user)
    return {
        "members": state.members.insert(event.user, member),
        "left": state.left.discard(event.user),
        "invited": state.invited.discard(event.user),
        "banned": state.banned.discard(event.user),  # an expired ban: any other prevents the join
    }


def _gone(
    state: RoomState, event: MemberLeft | MemberRemoved | MemberBanned, recorded: Recorded
) -> dict[str, Any]:
    """End a membership or an invitation; `left` keeps former members only, since others may read nothing."""
    was_member = event.user in state.members
    return {
        "members": state.members.discard(event.user),
        "left": state.left.insert(event.user, recorded.seq) if was_member else state.left,
        "invited": state.invited.discard(event.user),
    }


def _banned(state: RoomState, event: MemberBanned, recorded: Recorded) -> dict[str, Any]:
    return {**_gone(state, event, recorded), "banned": state.banned.insert(event.user, event.until)}


def _role_changed(state: RoomState, event: RoleChanged, _recorded: Recorded) -> dict[str, Any]:
    if (member := state.members.get(event.user)) is None:
        return {}  # the member's join cannot be read
    changed = msgspec.structs.replace(member, role=event.role)
    return {"members": state.members.insert(event.user, changed)}


_CHANGES: dict[type[Event], Callable[[RoomState, Any, Recorded], dict[str, Any]]] = {
    RoomOpened: lambda _, event, __: {"name": event.name, "visibility": event.visibility},
    RoomRenamed: lambda _, event, __: {"name": event.name},
    RoomTopicChanged: lambda _, event, recorded: {
        "topic": event.topic or None,
        "topic_by": recorded.by,
    },
    RoomArchived: lambda *_: {"archived": True},
    RoomReopened: lambda *_: {"archived": False},
    RoomRetentionChanged: lambda _, event, __: {"retention": event.days},
    MessagePinned: lambda state, event, recorded: {
        "pinned": state.pinned.insert(event.message, recorded.seq)
    },
    MessageUnpinned: lambda state, event, _: {"pinned": state.pinned.discard(event.message)},
    MemberInvited: lambda state, event, recorded: {"invited": state.invited.insert(event.user, recorded.by)},
    MemberJoined: _joined,
    MemberLeft: _gone,
    MemberRemoved: _gone,
    MemberBanned: _banned,
    MemberUnbanned: lambda state, event, _: {"banned": state.banned.discard(event.user)},
    MemberMuted: lambda state, event, _: {"muted": state.muted.insert(event.user, event.until)},
    MemberUnmuted: lambda state, event, _: {"muted": state.muted.discard(event.user)},
    RoleChanged: _role_changed,
}
"""The fields of a state that an event changes, besides its head."""


def _lasts(until: datetime | None, at: datetime) -> bool:
    return until is None or until > at
