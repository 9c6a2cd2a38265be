"""Every client against a server that misbehaves: close codes, losses, refusals, frames that are none, silence."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.drivers.driver import DRIVERS, Driver, Refused, driver
from tests.support.drivers.scripted import ME, Frame, Peer, Scripted, scripted
from tests.support.servers.proxies import Proxy, proxied
from tests.support.waiting import until

COME_BACK = (1001, 1011, 1012, 4000, 4001, 4008, 4010, 4011, 4123)
STAY_AWAY = (1009, 4500, 4501, 4502, 4503, 4504)


class Trial:
    """A server, and drivers of one client library with one storage."""

    def __init__(self, name: str, server: Scripted, storage: Path, stack: AsyncExitStack) -> None:
        self.server = server
        self._name = name
        self._storage = storage
        self._stack = stack

    async def opened(self, url: str | None = None) -> Driver:
        """Return a new process with a client that is not connected."""
        given = driver(self._name, url or self.server.url, "first token", self._storage)
        return await self._stack.enter_async_context(given)

    async def joined(self, url: str | None = None) -> Driver:
        """Return a new process with a client that has joined the room `general`."""
        client = await self.opened(url)
        await client.ask("connect")
        await client.ask("join", room="general")
        return client


@pytest.fixture(params=DRIVERS)
async def trial(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Trial]:
    async with scripted() as server, AsyncExitStack() as stack:
        yield Trial(request.param, server, tmp_path / "storage", stack)


async def cut(server: Scripted) -> None:
    """End every connection without a close frame."""
    for peer in server.peers:
        peer.socket.transport.abort()


async def test_a_message_is_sent_shown_and_reported_once(trial: Trial) -> None:
    client = await trial.joined()
    sent = await client.ask("send", room="general", content="hello", mentions=["bob"], replyTo=1)
    assert (sent["messageId"], sent["seq"]) == (3, 3)
    await client.shows("general", "hello")
    (message,) = await client.messages("general")
    assert message == {"messageId": 3, "seq": 3, "userId": ME, "content": "hello"}
    assert [each["value"]["content"] for each in client.of("message")] == ["hello"]
    (frame,) = trial.server.commands("message:send")
    assert {key: frame[key] for key in ("roomId", "content", "mentions", "replyTo")} == {
        "roomId": "general", "content": "hello", "mentions": ["bob"], "replyTo": 1,
    }  # fmt: skip
    assert client.states == ["connecting", "connected"]


@pytest.mark.parametrize("code", COME_BACK)
async def test_a_code_that_permits_it_brings_the_client_back(trial: Trial, code: int) -> None:
    client = await trial.joined()
    await trial.server.post("general", "before")
    await trial.server.peers[0].socket.close(code)
    trial.server.message("general", "missed")
    await trial.server.connected(2)
    await client.shows("general", "before", "missed")
    await trial.server.post("general", "after")
    await client.shows("general", "before", "missed", "after")
    assert client.states == ["connecting", "connected", "reconnecting", "connected"]
    assert [each["value"]["content"] for each in client.of("message")] == ["before", "missed", "after"]
    assert client.of("reset") == []


@pytest.mark.parametrize("code", STAY_AWAY)
async def test_a_final_code_ends_the_client(trial: Trial, code: int) -> None:
    client = await trial.joined()
    await trial.server.peers[0].socket.close(code)
    await client.until(lambda: client.states[-1] == "closed")
    with pytest.raises(Refused) as refused:
        await client.ask("send", room="general", content="too late")
    assert not refused.value.retryable
    assert len(trial.server.connects) == 1


async def test_a_refused_first_connection_is_an_error_of_connect(trial: Trial) -> None:
    async def refuse(peer: Peer, _frame: Frame) -> bool:
        await peer.socket.close(4500, "bad token")
        return True

    trial.server.script["connect"] = refuse
    client = await trial.opened()
    with pytest.raises(Refused) as refused:
        await client.ask("connect")
    assert not refused.value.retryable
    assert client.states[-1] == "closed"


async def test_an_unreachable_server_is_tried_until_it_is_there(trial: Trial) -> None:
    async with proxied(trial.server.url, Proxy) as (proxy, url):
        proxy.refuse()
        client = await trial.opened(url)
        connecting = client.begin("connect")
        await client.until(lambda: client.states == ["connecting"])
        await proxy.restore()
        await connecting
        assert client.states == ["connecting", "connected"]


async def test_an_expired_token_is_replaced(trial: Trial) -> None:
    client = await trial.joined()
    await client.ask("token", token="second token")
    await trial.server.peers[0].socket.close(4001, "expired")
    await trial.server.connected(2)
    assert [frame["token"] for frame in trial.server.connects] == ["first token", "second token"]


async def test_a_token_is_refreshed_before_it_expires(trial: Trial) -> None:
    trial.server.lives = 6.0
    client = await trial.joined()
    await client.ask("token", token="second token")
    await until(lambda: trial.server.commands("auth:refresh"))
    assert trial.server.commands("auth:refresh")[0]["token"] == "second token"
    assert client.states == ["connecting", "connected"]


async def test_another_epoch_loads_the_room_again(trial: Trial) -> None:
    client = await trial.joined()
    for word in ("one", "two", "three"):
        await trial.server.post("general", word)
    await client.shows("general", "one", "two", "three")
    trial.server.epoch = "22222222-2222-4222-8222-222222222222"
    del trial.server.logs["general"][-2:]
    trial.server.message("general", "other")
    await cut(trial.server)
    await client.until(lambda: client.of("reset"))
    await client.shows("general", "one", "other")
    await trial.server.post("general", "next")
    await client.shows("general", "one", "other", "next")
    await trial.server.connected(2)
    assert trial.server.connects[1]["rooms"] == {"general": 5}


@pytest.mark.parametrize("reason", ["ahead", "epoch_changed"])
async def test_events_that_overtake_the_reload_are_kept(trial: Trial, reason: str) -> None:
    server = trial.server
    client = await trial.joined()
    await server.post("general", "one")
    await client.shows("general", "one")

    async def lose(peer: Peer, frame: Frame) -> bool:
        head = len(server.logs["general"])
        state = {"recovered": False, "reason": reason, "head": head}
        await peer.say(
            type="connected", protocol=1, userId=ME, session="s", epoch=server.epoch,
            rooms=dict.fromkeys(frame["rooms"], state), expiresAt="2100-01-01T00:00:00Z",
        )  # fmt: skip
        peer.rooms |= {*frame["rooms"]}
        return True

    async def join(peer: Peer, frame: Frame) -> bool:
        await server.post("general", "before the ack")
        head = len(server.logs["general"])
        page = server._page("general")
        await server.post("general", "after the page was read")
        await peer.say(type="ack", ref=frame["ref"], seq=head, at="2026-11-24T10:00:00Z", head=head)
        await peer.say(type="message:history", roomId="general", **page)
        return True

    server.script |= {"connect": lose, "room:join": join}
    await cut(server)
    await client.until(lambda: client.of("reset"))
    await client.shows("general", "one", "before the ack", "after the page was read")


async def test_a_room_that_is_gone_ends_and_says_so(trial: Trial) -> None:
    client = await trial.joined()

    async def lose(peer: Peer, frame: Frame) -> bool:
        gone = {"recovered": False, "reason": "room_not_found"}
        await peer.say(
            type="connected", protocol=1, userId=ME, session="s", epoch=trial.server.epoch,
            rooms=dict.fromkeys(frame["rooms"], gone), expiresAt="2100-01-01T00:00:00Z",
        )  # fmt: skip
        return True

    trial.server.script["connect"] = lose
    await cut(trial.server)
    await client.until(lambda: client.of("reset"))
    await cut(trial.server)
    await trial.server.connected(3)
    assert [[*frame["rooms"]] for frame in trial.server.connects] == [[], ["general"], []]


async def test_too_many_requests_are_waited_out_in_order(trial: Trial) -> None:
    refusals = iter([0.3, 0.2])

    async def refuse(peer: Peer, frame: Frame) -> bool:
        if (after := next(refusals, None)) is None:
            return False
        await peer.refuse(frame, "too_many_requests", retryable=True, retryAfter=after)
        return True

    trial.server.script["message:send"] = refuse
    client = await trial.joined()
    sends = [client.begin("send", room="general", content=word) for word in ("one", "two", "three")]
    assert [sent["seq"] for sent in await asyncio.gather(*sends)] == [3, 4, 5]
    await client.shows("general", "one", "two", "three")
    assert trial.server.contents("general") == ["one", "two", "three"]
    assert len({frame["ref"] for frame in trial.server.commands("message:send")}) == 3


async def test_a_refused_message_fails_and_the_next_is_sent(trial: Trial) -> None:
    async def refuse(peer: Peer, frame: Frame) -> bool:
        if frame["content"] != "bad":
            return False
        await peer.refuse(frame, "unsafe_content")
        return True

    trial.server.script["message:send"] = refuse
    client = await trial.joined()
    bad, good = (client.begin("send", room="general", content=word) for word in ("bad", "good"))
    with pytest.raises(Refused) as refused:
        await bad
    assert (refused.value.code, refused.value.retryable) == ("unsafe_content", False)
    await good
    await until(lambda: _is_shown(client, "good"))
    shown = await client.ask("messages", room="general")
    assert [(each["content"], each.get("failed", False)) for each in shown] == [
        ("good", False),
        ("bad", True),
    ]


async def _is_shown(client: Driver, content: str) -> bool:
    return content in [each["content"] for each in await client.messages("general")]


async def test_a_cut_before_the_ack_repeats_the_message_under_its_ref(trial: Trial) -> None:
    lost = iter([True])

    async def lose_the_ack(peer: Peer, frame: Frame) -> bool:
        if not next(lost, False):
            return False
        peer.rooms.clear()
        trial.server.acks[frame["ref"]] = {"seq": 3, "messageId": 3, "at": "2026-11-24T10:00:00.000000Z"}
        trial.server.message("general", frame["content"], ME, ref=frame["ref"])
        peer.socket.transport.abort()
        return True

    trial.server.script["message:send"] = lose_the_ack
    client = await trial.joined()
    assert (await client.ask("send", room="general", content="hello"))["seq"] == 3
    await client.shows("general", "hello")
    first, second = trial.server.commands("message:send")
    assert first == second


BAD_FRAMES = ["not json", "[]", "null", '{"type": 5}', "{}", '"text"']


@pytest.mark.parametrize("text", BAD_FRAMES)
async def test_what_is_no_frame_loses_nothing(trial: Trial, text: str) -> None:
    client = await trial.joined()
    await trial.server.post("general", "before")
    await trial.server.peers[0].socket.send(text)
    await trial.server.post("general", "after")
    await client.shows("general", "before", "after")


ODD_EVENTS: list[dict[str, Any]] = [
    {"type": "from:the_future", "roomId": "general"},
    {"type": "message:edited", "roomId": "general"},
    {"type": "message:new", "roomId": "nowhere", "seq": 7},
    {"type": "typing:start", "roomId": "general"},
    {"type": "room:receipts", "roomId": "general", "receipts": None},
    {"type": "presence:changed"},
    {"type": "ack"},
    {"type": "ack", "ref": "unknown"},
    {"type": "error", "code": "overloaded", "message": "full", "retryable": True},
]


@pytest.mark.parametrize("frame", ODD_EVENTS, ids=json.dumps)
async def test_an_odd_event_loses_nothing(trial: Trial, frame: dict[str, Any]) -> None:
    client = await trial.joined()
    await trial.server.post("general", "before")
    await trial.server.peers[0].say(**frame)
    await trial.server.post("general", "after")
    await client.shows("general", "before", "after")
    await client.ask("send", room="general", content="own")
    await client.shows("general", "before", "after", "own")


async def test_repeated_and_missing_events_leave_no_hole(trial: Trial) -> None:
    client = await trial.joined()
    first = trial.server.message("general", "one")
    for _ in range(3):
        await trial.server.tell(first)
    trial.server.message("general", "swallowed")
    await trial.server.post("general", "three")
    await client.shows("general", "one", "swallowed", "three")
    assert [each["value"]["content"] for each in client.of("message")].count("one") == 1


async def test_a_server_that_does_not_answer_connect_is_left(trial: Trial) -> None:
    silent = iter([True])

    async def ignore(_peer: Peer, _frame: Frame) -> bool:
        return next(silent, False)

    trial.server.script["connect"] = ignore
    client = await trial.opened()
    await client.ask("connect")
    assert len(trial.server.connects) == 2
    assert client.states == ["connecting", "connected"]


async def test_a_server_that_does_not_answer_a_message_is_left(trial: Trial) -> None:
    silent = iter([True])

    async def ignore(_peer: Peer, _frame: Frame) -> bool:
        return next(silent, False)

    trial.server.script["message:send"] = ignore
    client = await trial.joined()
    await client.ask("send", room="general", content="hello")
    await client.shows("general", "hello")
    assert len(trial.server.connects) == 2


async def test_a_slow_server_gets_each_message_once_in_order(trial: Trial) -> None:
    async def slowly(_peer: Peer, _frame: Frame) -> bool:
        await asyncio.sleep(0.2)
        return False

    trial.server.script["message:send"] = slowly
    client = await trial.joined()
    words = [f"word {number}" for number in range(5)]
    await asyncio.gather(*(client.begin("send", room="general", content=word) for word in words))
    await client.shows("general", *words)
    assert len(trial.server.commands("message:send")) == len(words)


async def test_a_dead_connection_is_noticed_by_its_silence(trial: Trial) -> None:
    trial.server.ping_interval, trial.server.ping_timeout = 0.4, 0.4
    async with proxied(trial.server.url, Proxy) as (proxy, url):
        client = await trial.joined(url)
        proxy.hold()
        trial.server.message("general", "missed")
        await client.until(lambda: "reconnecting" in client.states)
        await proxy.restore()
        await client.shows("general", "missed")


async def test_close_returns_while_nothing_answers_and_keeps_messages(trial: Trial) -> None:
    async with proxied(trial.server.url, Proxy) as (proxy, url):
        client = await trial.joined(url)
        proxy.hold()
        waiting = client.begin("send", room="general", content="kept")
        await client.until(lambda: client.of("change"))
        await client.ask("close")
        with pytest.raises(Refused):
            await waiting
        assert client.states[-1] == "closed"
        await client.kill()
        assert trial.server.contents("general") == []
        await proxy.restore()
        again = await trial.joined(url)
        await again.shows("general", "kept")
        assert trial.server.contents("general") == ["kept"]


async def test_messages_wait_for_the_connection_and_are_shown_as_pending(trial: Trial) -> None:
    async with proxied(trial.server.url, Proxy) as (proxy, url):
        client = await trial.joined(url)
        proxy.refuse()
        await client.until(lambda: client.states[-1] == "reconnecting")
        sends = [client.begin("send", room="general", content=word) for word in ("one", "two")]
        shown = await client.ask("messages", room="general")
        assert [(each["content"], each["pending"]) for each in shown] == [("one", True), ("two", True)]
        await proxy.restore()
        await asyncio.gather(*sends)
        await client.shows("general", "one", "two")


async def test_earlier_messages_are_loaded_without_a_hole(trial: Trial) -> None:
    words = [f"word {number}" for number in range(130)]
    trial.server.event("general", "room:created", name="general")
    for word in words:
        trial.server.message("general", word)
    client = await trial.joined()
    await client.shows("general", *words[-50:])
    await client.ask("loadEarlier", room="general", count=50)
    await client.shows("general", *words[-100:])
    await client.ask("loadEarlier", room="general", count=50)
    await client.shows("general", *words)
