"""Users get each invitation notice once, and no notice of a room that is hidden from them."""

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from service.domain.events import (
    Event,
    MemberBanned,
    MemberInvited,
    MemberJoined,
    MemberRemoved,
    Recorded,
    RoomOpened,
    RoomRenamed,
)
from service.errors import TooManyRooms
from service.gateway.notices.memberships import MembershipNotifier
from service.gateway.session.registry import SessionRegistry
from service.realtime.hub import Hub
from service.realtime.user_cache import UserCache
from tests.support.realtime.subscribers import Log, number

if TYPE_CHECKING:
    from service.gateway.session.session import Session


class FakeSession:
    """A connection that records its notices and its subscriptions."""

    connected = True
    closing = False
    expires_at = datetime.max.replace(tzinfo=UTC)

    def __init__(self, user: str, *, full: bool = False) -> None:
        self.user = user
        self.full = full
        self.notices: list[Any] = []
        self.rooms: dict[str, int | None] = {}

    def emit(self, outgoing: Any) -> None:
        self.notices.append(outgoing)

    def is_subscribed(self, room: str) -> bool:
        return room in self.rooms

    def check_room(self, _room: str) -> None:
        if self.full:
            raise TooManyRooms(limit=0)

    def listen(self, room: str, after: int | None, *, added: bool) -> None:
        assert added
        self.rooms[room] = after


class Scene:
    """A node with one room and one connection of bob's."""

    def __init__(self, **how: bool) -> None:
        self.log = Log()
        self.log.append(RoomOpened(name="Secret", visibility="private"))
        self.log.append(MemberJoined(user="alice", role="owner"))
        reader = cast("Any", self.log)
        people = UserCache(reader)
        hub = Hub(reader, people, {"number": number})
        sessions = SessionRegistry(10)
        self.bob = FakeSession("bob", **how)
        sessions.add(cast("Session", self.bob))
        self.notifier = MembershipNotifier(sessions, hub.feeds, people)

    async def happens(self, event: Event, *, times: int = 1) -> list[Any]:
        """Run a command of alice, publish it, and return what bob receives."""
        before = len(self.bob.notices)
        recorded = self.log.append(event)
        for _ in range(times):
            self.notifier.after_commit({"room:general": [recorded]})
        while self.notifier._tasks:
            await asyncio.sleep(0)
        return self.bob.notices[before:]


async def test_an_invitation_is_told_once_with_the_name_of_the_room() -> None:
    scene = Scene()
    (invited,) = await scene.happens(MemberInvited(user="bob"), times=3)
    assert (invited.user_id, invited.by, invited.name, invited.visibility) == (
        "bob",
        "alice",
        "Secret",
        "private",
    )


async def test_after_a_restore_the_same_position_is_another_invitation() -> None:
    scene = Scene()
    await scene.happens(MemberInvited(user="bob"))
    (invited,) = [recorded for recorded in scene.log.events if isinstance(recorded.event, MemberInvited)]
    scene.notifier.clear()
    scene.notifier.notify("bob", invited)
    while scene.notifier._tasks:
        await asyncio.sleep(0)
    assert len(scene.bob.notices) == 2


async def test_withdrawn_invitation_is_notified_and_a_ban_of_outsiders_is_not() -> None:
    scene = Scene()
    await scene.happens(MemberInvited(user="bob"))
    (gone,) = await scene.happens(MemberRemoved(user="bob"), times=2)
    assert gone.reason == "kicked"
    assert await scene.happens(MemberBanned(user="bob")) == []


async def test_an_invitation_that_has_ended_is_not_sent_with_the_name_of_now() -> None:
    for ends in (MemberRemoved, MemberBanned):
        scene = Scene()
        invited = scene.log.append(MemberInvited(user="bob"))
        gone = scene.log.append(ends(user="bob"))
        scene.log.append(RoomRenamed(name="Merger"))
        # The node reads the room for the invitation only now, and finds it as it is.
        scene.notifier.after_commit({"room:general": [invited, gone]})
        while scene.notifier._tasks:
            await asyncio.sleep(0)
        assert [type(notice).__name__ for notice in scene.bob.notices] == (
            ["UserLeft"] if ends is MemberRemoved else []
        )


async def test_an_invitation_taken_back_from_the_banned_is_not_sent() -> None:
    scene = Scene()
    scene.log.append(MemberInvited(user="bob"))
    gone = scene.log.append(MemberRemoved(user="bob"))
    scene.log.append(MemberBanned(user="bob"))
    scene.notifier.after_commit({"room:general": [gone]})
    while scene.notifier._tasks:
        await asyncio.sleep(0)
    assert scene.bob.notices == []


async def test_who_is_taken_into_a_room_begins_to_hear_it() -> None:
    scene = Scene()
    assert await scene.happens(MemberJoined(user="bob"), times=2) == []
    assert scene.bob.rooms == {"general": 0}
    assert await scene.happens(MemberRemoved(user="bob")) == [], "those who hear the room have heard it"


async def test_an_added_room_does_not_count_against_the_limit_of_a_connection() -> None:
    scene = Scene(full=True)
    await scene.happens(MemberJoined(user="bob"))
    assert scene.bob.rooms == {"general": 0}


async def test_what_people_do_themselves_they_know() -> None:
    scene = Scene()
    recorded = Recorded(
        "room:general", 3, 3, "user:bob", scene.log.events[0].at, "bob", MemberJoined(user="bob")
    )
    scene.notifier.notify("bob", recorded)
    scene.notifier.notify("nobody", scene.log.append(MemberInvited(user="nobody")))
    assert (scene.bob.notices, scene.bob.rooms) == ([], {})
    await scene.notifier.close()
