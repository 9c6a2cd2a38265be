"""What the dispatcher does for every command, independent of its handler."""

from types import SimpleNamespace
from typing import Any, cast

from service.gateway.auth.charges import Charges
from service.gateway.auth.prices import BYTES
from service.gateway.auth.rate_limit import RateLimit
from service.gateway.commands.dispatcher import Dispatcher
from service.gateway.session.counters import Counters
from service.gateway.session.session import Session
from service.protocol.commands import Frame, Ping, PresenceSet, RoomCreate
from service.runtime.token_bucket import TokenBuckets

Answered = list[tuple[str | None, str]]


def clock() -> float:
    return 0.0


class Scene:
    """A dispatcher with a rate of `burst` commands, and one session that records its answers."""

    def __init__(self, burst: int = 10) -> None:
        self.touched = 0
        self.answers: Answered = []
        self.dispatcher = Dispatcher(
            dict.fromkeys(("ping", "presence:set"), self._handle),
            Charges(RateLimit(0.001, burst, clock), TokenBuckets(1000, 1000, clock)),
            cast("Any", SimpleNamespace(touch=self._touch)),
            Counters(),
            cast("Any", SimpleNamespace(turn=self._turn)),
            None,
        )
        self.turns: list[str] = []

    async def say(self, frame: Frame, size: int = 30) -> None:
        await self.dispatcher.dispatch(cast("Session", self), lambda: frame.ref, lambda: frame, size)

    # What the dispatcher uses of a session.
    id, user, source, refused = "session", "alice", "", 0

    @property
    def pending(self) -> Any:
        return SimpleNamespace(ready=self._ready)

    def ack(self, tag: str | None, _ack: object) -> None:
        self.answers.append((tag, "ok"))

    def refuse(self, tag: str | None, error: Any) -> None:
        self.answers.append((tag, error.code))

    async def _ready(self) -> None: ...

    async def _turn(self, key: str) -> None:
        self.turns.append(key)

    async def _handle(self, _session: Session, _frame: Frame) -> None: ...

    def _touch(self, _user: str, _connection: str) -> None:
        self.touched += 1


BEAT = Ping(type="ping", ref="beat")
STATUS = PresenceSet(type="presence:set", ref="status", status="online")


async def test_a_ping_is_acked_and_does_not_count_as_activity() -> None:
    scene = Scene()
    await scene.say(BEAT)
    assert (scene.answers, scene.touched) == ([("beat", "ok")], 0)
    await scene.say(STATUS)
    assert (scene.answers[1:], scene.touched) == ([("status", "ok")], 1)


async def test_pings_are_charged_as_other_commands() -> None:
    scene = Scene(burst=3)
    for _ in range(4):
        await scene.say(BEAT)
    assert [code for _, code in scene.answers] == ["ok", "ok", "ok", "too_many_requests"]


async def test_a_costly_command_waits_for_its_users_turn() -> None:
    scene = Scene()
    await scene.say(STATUS, BYTES - 1)
    assert scene.turns == []
    await scene.say(STATUS, BYTES)
    assert (scene.turns, [code for _, code in scene.answers]) == (["alice"], ["ok", "ok"])


async def test_all_of_a_refused_price_slows_the_connection_down() -> None:
    scene = Scene(burst=3)
    members = tuple(f"user{number}" for number in range(40))
    await scene.say(RoomCreate(type="room:create", ref="room", name="Room", members=members))
    assert scene.answers == [("room", "too_many_requests")]
    assert scene.refused == 5
