"""Which subscribers receive a change of presence, as their rooms are when it is sent."""

from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
from rpds import HashTrieMap

from service.domain.room_state import Member, RoomState
from service.presence.presence import Presence
from service.presence.roster import Change

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MEMBER = Member(role="member", since=1)
ROOM = RoomState("general", 2, members=HashTrieMap({"alice": MEMBER, "bob": MEMBER}))


class Rooms:
    """One room of alice and bob, where alice is subscribed. `left` have left when the changes are sent."""

    def __init__(self, left: set[str]) -> None:
        self.alice = Mock(user="alice")
        self.left = left
        self.sent: list[str] = []

    def rooms_with_members_under(self, _most: int) -> "Iterator[tuple[RoomState, list[Any]]]":
        yield ROOM, [self.alice]

    def are_members(self, _room: str, users: "Iterable[str]") -> bool:
        return not self.left & set(users)

    def batch(self) -> "Rooms":
        return self

    def send(self, _subscriber: Any, events: "Iterable[Any]") -> None:
        self.sent += [event.user_id for event in events]


@pytest.mark.parametrize(
    ("left", "received"), [(set(), ["bob"]), ({"alice"}, []), ({"bob"}, [])], ids=["both", "alice", "bob"]
)
async def test_whose_membership_has_ended_since_receives_nothing(left: set[str], received: list[str]) -> None:
    rooms: Any = Rooms(left)
    unused: Any = None
    presence = Presence(unused, rooms, unused, 5.0)
    await presence._notify({"bob": Change("bob", "online", "away", None, returns=False)})
    assert rooms.sent == received
