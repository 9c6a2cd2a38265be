"""What the Python client has besides the common rules: streams, listeners, tokens, the list of rooms."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from onrecord_client import Message, OnRecord, OnRecordError, model
from tests.support.drivers.scripted import ME, Frame, Peer, Scripted, scripted
from tests.support.waiting import until

ROOM = "general"


@pytest.fixture
async def server() -> AsyncIterator[Scripted]:
    """A server; no exception reaches the loop's handler while it runs."""
    lost: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: lost.append(context))
    async with scripted() as running:
        yield running
    gc.collect()
    assert lost == []


async def taken(stream: AsyncIterator[Message], number: int) -> list[str | None]:
    return [(await anext(stream)).content for _ in range(number)]


async def test_a_stream_begins_after_the_messages_that_join_loaded(server: Scripted) -> None:
    server.event(ROOM, "room:created", name=ROOM)
    server.message(ROOM, "loaded")
    async with OnRecord(server.url, token="t") as chat:
        room = await chat.join(ROOM)
        await server.post(ROOM, "one")
        await until(lambda: len(room.messages) == 2)
        async with aclosing(room.stream()) as first:  # type: ignore[type-var] # a generator
            assert await taken(first, 1) == ["one"]
        later = room.stream()
        await server.post(ROOM, "two")
        assert await taken(later, 1) == ["two"]
        assert await taken(room.stream(0), 3) == ["loaded", "one", "two"]


async def test_a_slow_reader_of_a_stream_misses_nothing(
    server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "KEPT", 8)
    words = [f"word {number}" for number in range(60)]
    async with OnRecord(server.url, token="t") as chat:
        room = await chat.join(ROOM)
        stream = room.stream()
        for word in words:
            await server.post(ROOM, word)
        await until(lambda: room.messages and room.messages[-1].content == words[-1])
        assert len(room.messages) <= 8
        assert await taken(stream, len(words)) == words


async def test_a_stream_goes_on_over_losses_and_ends_with_the_client(server: Scripted) -> None:
    read: list[str | None] = []
    async with OnRecord(server.url, token="t") as chat:
        room = await chat.join(ROOM)

        async def reader() -> None:
            read.extend([message.content async for message in room.stream()])

        reading = asyncio.create_task(reader())
        await server.post(ROOM, "one")
        await until(lambda: room.messages)
        server.peers[0].socket.transport.abort()
        await server.post(ROOM, "two")
        await until(lambda: len(room.messages) == 2)
    await reading
    assert read == ["one", "two"]


async def test_a_stream_of_a_room_that_the_user_left_raises(server: Scripted) -> None:
    async with OnRecord(server.url, token="t") as chat:
        room = await chat.join(ROOM)
        stream = room.stream()
        await server.post(ROOM, "last")
        await server.tell(server.event(ROOM, "room:user_left", reason="kicked", by="bob"))
        assert await taken(stream, 1) == ["last"]
        with pytest.raises(OnRecordError) as ended:
            await anext(stream)
        assert ended.value.code == "not_a_member"
        assert not room.joined


@pytest.mark.parametrize("reason", ["epoch_changed", "ahead"])
async def test_a_stream_goes_on_with_the_first_message_of_a_new_epoch(server: Scripted, reason: str) -> None:
    async with OnRecord(server.url, token="t") as chat:
        room = await chat.join(ROOM)
        stream = room.stream()
        for word in ("one", "two"):
            await server.post(ROOM, word)
        assert await taken(stream, 2) == ["one", "two"]
        if reason == "epoch_changed":
            server.epoch = "22222222-2222-4222-8222-222222222222"
        del server.logs[ROOM][-1]
        resets: list[object] = []
        room.on("reset", resets.append)
        server.peers[0].socket.transport.abort()
        await until(lambda: resets)
        await server.post(ROOM, "new")
        assert await taken(stream, 1) == ["new"]
        assert resets == [reason]


async def test_a_listener_that_fails_harms_nothing(
    server: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_value: object) -> None:
        raise ZeroDivisionError("in a listener")

    chat = OnRecord(server.url, token="t")
    chat.on("state", fail)
    async with chat:
        room = await chat.join(ROOM)
        room.on("message", fail)
        room.on("change", fail)
        await room.send("hello")
        await until(lambda: not room.messages[-1].pending)
    assert "in a listener" in caplog.text


async def test_a_cancelled_send_is_sent_all_the_same(server: Scripted) -> None:
    held = asyncio.Event()

    async def hold(_peer: Peer, _frame: Frame) -> bool:
        await held.wait()
        return False

    server.script["message:send"] = hold
    async with OnRecord(server.url, token="t") as chat:
        room = await chat.join(ROOM)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await room.send("hello")
        held.set()
        await until(lambda: room.messages and not room.messages[0].pending)
    assert server.contents(ROOM) == ["hello"]


async def test_the_same_ref_and_words_are_one_message(server: Scripted, tmp_path: Path) -> None:
    async def never(_peer: Peer, _frame: Frame) -> bool:
        return True

    server.script["message:send"] = never
    async with OnRecord(server.url, token="t", storage=tmp_path / "box") as chat:
        room = await chat.join(ROOM)
        waiting = asyncio.create_task(room.send("hello", ref="mine"))
        await until(lambda: server.commands("message:send"))
    with pytest.raises(OnRecordError) as closed:
        await waiting
    assert (closed.value.code, closed.value.retryable) == ("closed", True)
    async with OnRecord(server.url, token="t", storage=tmp_path / "box") as chat:
        room = await chat.join(ROOM)
        assert [(each.content, each.pending) for each in room.messages] == [("hello", True)]
        again = asyncio.create_task(room.send("hello", ref="mine"))
        await asyncio.sleep(0)
        del server.script["message:send"]
        server.peers[0].socket.transport.abort()
        await again
    assert server.contents(ROOM) == ["hello"]


async def test_a_refused_message_can_be_sent_again_or_taken_away(server: Scripted) -> None:
    async def refuse(peer: Peer, frame: Frame) -> bool:
        await peer.refuse(frame, "muted")
        return True

    server.script["message:send"] = refuse
    async with OnRecord(server.url, token="t") as chat:
        room = await chat.join(ROOM)
        for word in ("one", "two"):
            with pytest.raises(OnRecordError):
                await room.send(word)
        one, two = room.messages
        assert one.failed is not None
        assert one.ref is not None
        assert two.ref is not None
        del server.script["message:send"]
        room.discard(two.ref)
        await room.retry(one.ref)
        await until(lambda: [each.failed for each in room.messages] == [None])
    assert server.contents(ROOM) == ["one"]


async def test_a_token_function_that_fails_is_asked_again(
    server: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    failures = iter([RuntimeError("the provider is down")])

    async def give() -> str:
        for failure in failures:
            raise failure
        return "good"

    async with OnRecord(server.url, token=give):
        assert [frame["token"] for frame in server.connects] == ["good"]
    assert "the provider is down" in caplog.text


async def test_a_token_function_can_end_the_client(server: Scripted) -> None:
    def give() -> str:
        raise OnRecordError("signed_out", "You are signed out.")

    with pytest.raises(OnRecordError, match="You are signed out"):
        await OnRecord(server.url, token=give).connect()


async def test_a_client_that_was_closed_connects_again(server: Scripted) -> None:
    chat = OnRecord(server.url, token="t")
    async with chat:
        room = await chat.join(ROOM)
        await server.post(ROOM, "one")
        await until(lambda: room.messages)
    with pytest.raises(OnRecordError):
        await room.send("closed")
    server.message(ROOM, "two")
    async with chat:
        await until(lambda: [each.content for each in room.messages] == ["one", "two"])


async def test_a_cancelled_connect_leaves_nothing_behind(server: Scripted) -> None:
    async def ignore(_peer: Peer, _frame: Frame) -> bool:
        return True

    server.script["connect"] = ignore
    chat = OnRecord(server.url, token="t")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await chat.connect()
    assert chat.state == "closed"
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "onrecord_client"]


async def test_the_rooms_are_listed_followed_and_counted(server: Scripted) -> None:
    for room in ("general", "other"):
        server.event(room, "room:created", name=room)
        server.message(room, "old")
    changes: list[object] = []
    async with OnRecord(server.url, token="t") as chat:
        chat.on("rooms", changes.append)
        await until(lambda: [room.id for room in chat.rooms] == ["general", "other"])
        await until(lambda: len(server.commands("room:join")) == 2)
        await until(lambda: any("other" in peer.rooms for peer in server.peers))
        await server.tell(server.message("other", "new", mentions=[ME]))
        await until(lambda: [(room.unread, room.mentions) for room in chat.rooms] == [(0, 0), (1, 1)])
        last = chat.rooms[1].last_message
        assert last is not None
        assert last.content == "new"
    assert changes


def test_an_address_that_is_no_websocket_is_refused() -> None:
    with pytest.raises(ValueError, match="begins with ws:// or wss://"):
        OnRecord("http://localhost/ws", token="t")
