"""Steps of docs/reference/specification.md that no other test proves."""

import asyncio
import json
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from service.embedded import Servers
from tests.support.clients.browser import chromium
from tests.support.clients.connecting import connect_frame
from tests.support.clients.native import PATIENCE, Refused, client, raw
from tests.support.environment import environment, token
from tests.support.processes.processes import Process, running
from tests.support.servers.databases import Database
from tests.support.servers.foreign_page import foreign_page


def logged(node: Process, event: str, **fields: object) -> list[dict[str, Any]]:
    """Return what a node has logged of an event, with these fields."""
    lines = [json.loads(line) for line in node.words if line.startswith("{")]
    wanted = {"event": event, **fields}
    return [line for line in lines if wanted.items() <= line.items()]


async def until_logged(node: Process, event: str, **fields: object) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE):
        while not (found := logged(node, event, **fields)):
            await asyncio.sleep(0.02)
    return found[0]


async def test_a_connection_is_logged_when_it_begins_and_when_it_ends(node: Process) -> None:
    async with client(node.url, "alice") as alice:
        session = alice.connected["session"]
        line = await until_logged(node, "connected", session=session)
        assert (line["user"], line["client"], line["level"]) == ("alice", "127.0.0.1", "info")
    await until_logged(node, "disconnected", session=session, user="alice", reason="client", code=1000)
    assert token("alice") not in "".join(node.words)


@pytest.mark.parametrize("token_is", ["missing", "bad"])
async def test_who_is_not_authenticated_hears_nothing_of_a_room(node: Process, token_is: str) -> None:
    async with client(node.url, "alice") as alice:
        await alice.join("general")
        async with raw(node.url) as socket:
            claim = {} if token_is == "missing" else {"token": "x" + token("alice")[1:]}
            await socket.send(connect_frame(rooms={"general": 0}, **claim))
            await alice.post("general", "not for you")
            with pytest.raises(ConnectionClosed):
                await socket.recv()  # nothing, but its end
        assert socket.close_code == 4500


@pytest.mark.needs("chromium")
async def test_a_browser_connects_from_an_allowed_origin_and_from_no_other(
    database: Database, tmp_path: Path
) -> None:
    dial = """
        (url => new Promise(done => {
            const socket = new WebSocket(url);
            socket.onopen = () => { socket.close(); done("open"); };
            socket.onerror = () => done("refused");
        }).then(outcome => window.dialled = outcome))
    """
    read = """
        ((url, token) => fetch(url, {credentials: "include", headers: {Authorization: "Bearer " + token}})
            .then(answer => answer.status, () => "refused").then(outcome => window.read = outcome))
    """
    async with (
        foreign_page() as home,
        foreign_page() as foreign,
        running(environment(database, ONRECORD_ORIGINS=home), "serve") as node,
        chromium(tmp_path / "profile") as browser,
    ):
        for origin, dialled, status in ((home, "open", 200), (foreign, "refused", "refused")):
            tab = await browser.open(origin)
            await tab.until(f"location.origin === {origin!r} && document.body")
            await tab.value(f"void {dial}({node.url!r})")
            await tab.value(f"void {read}('{node.address}/api/rooms', {token('alice')!r})")
            await tab.until("window.dialled && window.read")
            assert await tab.value("[window.dialled, window.read]") == [dialled, status]


async def test_events_propagate_between_server_instances_over_redis(
    database: Database, servers: Servers
) -> None:
    # The log is looked at once in ten minutes only: what arrives has come over the bus.
    env = environment(database, ONRECORD_REDIS_URL=servers.redis_url, ONRECORD_CATCHUP_INTERVAL="600")
    async with running(env, "serve") as one, running(env, "serve") as other:
        async with client(one.url, "alice") as alice, client(other.url, "bob") as bob:
            await alice.join("general")
            await bob.join("general")
            await alice.until(lambda: alice.events("room:user_joined", userId="bob"))
            ack = await alice.post("general", "hello over there")
            await bob.until(lambda: bob.events("message:new", content="hello over there", seq=ack["seq"]))
            await bob.say("message:read", roomId="general", messageId=ack["messageId"])
            await alice.until(lambda: alice.events("message:read", userId="bob", messageId=ack["messageId"]))
            await bob.say("room:leave", roomId="general")
            await alice.until(lambda: alice.events("room:user_left", userId="bob"))


async def test_a_dead_connection_is_detected_and_cleaned_up(database: Database) -> None:
    heartbeat = {"ONRECORD_PING_INTERVAL": "0.3", "ONRECORD_PING_TIMEOUT": "2"}
    env = environment(database, ONRECORD_DISCONNECT_GRACE="0.2", **heartbeat)
    async with running(env, "serve") as node, client(node.url, "alice") as alice:
        await alice.say("room:create", roomId="general", name="General", members=["mute"])
        reader, writer = await asyncio.open_connection(*node.address.removeprefix("http://").split(":"))
        writer.write(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        hello = connect_frame(token=token("mute")).encode()
        writer.write(bytes([0x81, 0xFE, *len(hello).to_bytes(2), 0, 0, 0, 0]) + hello)
        await until_logged(node, "connected", user="mute")
        # It answers no ping, so the server ends it; alice, who does, stays.
        async with asyncio.timeout(PATIENCE):
            assert (4010).to_bytes(2) in await reader.read()
        await until_logged(node, "disconnected", user="mute", reason="no_pong", code=4010)
        await alice.until(lambda: alice.events("room:user_left", userId="mute", reason="disconnect"))
        members = (await alice.say("room:members", roomId="general"))["members"]
        assert [(one["userId"], one["status"]) for one in members] == [
            ("alice", "online"),
            ("mute", "offline"),
        ]
        await alice.post("general", "still here")
        writer.close()


async def test_all_rooms_hear_of_a_disconnect_and_show_the_user_as_offline(database: Database) -> None:
    async with running(environment(database, ONRECORD_DISCONNECT_GRACE="0.2"), "serve") as node:
        async with client(node.url, "alice") as alice:
            async with client(node.url, "bob") as bob:
                for room in ("one", "two"):
                    await alice.join(room)
                    await bob.join(room)
                bob.cut()
            for room in ("one", "two"):
                left = {"roomId": room, "userId": "bob", "reason": "disconnect"}
                await alice.until(lambda: alice.events("room:user_left", **left))  # noqa: B023 - waited for at once
                members = (await alice.say("room:members", roomId=room))["members"]
                assert [(one["userId"], one["status"]) for one in members] == [
                    ("alice", "online"),
                    ("bob", "offline"),
                ]
                assert members[1]["lastSeen"]


async def test_nobody_sends_to_a_room_that_they_are_not_in(node: Process) -> None:
    async with client(node.url, "alice") as alice, client(node.url, "eve") as eve:
        await alice.join("general")
        with pytest.raises(Refused) as refused:
            await eve.post("general", "let me in")
        assert refused.value.code == "not_a_member"
        await alice.post("general", "nothing but this")
        await alice.until(lambda: alice.events("message:new", content="nothing but this"))
        assert len(alice.events("message:new")) == 1


async def test_oversized_and_malicious_messages_are_rejected_and_heard_by_nobody(node: Process) -> None:
    refused = {
        "x" * 10_001: "message_too_long",
        " \n\t ": "empty_message",
        "<script>alert(1)</script>": "unsafe_content",
        "<img src=x onerror=alert(1)>": "unsafe_content",
        "<a href='javascript:alert(1)'>here</a>": "unsafe_content",
    }
    async with client(node.url, "alice") as alice, client(node.url, "bob") as bob:
        await alice.join("general")
        await bob.join("general")
        for content, code in refused.items():
            with pytest.raises(Refused) as error:
                await alice.post("general", content)
            assert error.value.code == code
        longest = await alice.post("general", "😀" * 10_000)
        await bob.until(lambda: bob.events("message:new", seq=longest["seq"]))
        assert len(bob.events("message:new")) == 1
        assert len((await bob.say("message:history", roomId="general"))["messages"]) == 1


@pytest.mark.parametrize("people", [450])
async def test_large_member_list_is_paged_and_its_first_page_comes_on_join(
    node: Process, people: int
) -> None:
    async with client(node.url, "a-owner") as owner:
        await owner.say("room:create", roomId="large", name="Large")
        crowd = [f"user-{number:04}" for number in range(people)]
        for start in range(0, people, 50):
            await asyncio.gather(*(join_once(node, user) for user in crowd[start : start + 50]))
        async with client(node.url, "z-last") as last:
            await last.join("large")
            (first,) = last.events("room:members")
            assert (len(first["members"]), first["hasMore"]) == (200, True)
            found, more = [one["userId"] for one in first["members"]], True
            while more:
                page = await last.say("room:members", roomId="large", after=found[-1])
                assert len(page["members"]) <= 200
                found += [one["userId"] for one in page["members"]]
                more = page["hasMore"]
            assert found == ["a-owner", *crowd, "z-last"]
        async with httpx.AsyncClient(base_url=node.address) as http:
            known = {"Authorization": f"Bearer {token('a-owner')}"}
            page = (await http.get("/api/rooms/large/members?after=user-0399", headers=known)).json()
            assert [one["userId"] for one in page["members"]] == [*crowd[400:], "z-last"]


async def join_once(node: Process, user: str) -> None:
    async with client(node.url, user) as one:
        await one.say("room:join", roomId="large")


async def test_a_page_of_history_has_the_newest_fifty_in_order_by_default(node: Process) -> None:
    async with client(node.url, "alice") as alice:
        await alice.join("general")
        for number in range(60):
            await alice.post("general", str(number))
        page = await alice.say("message:history", roomId="general")
        assert [message["content"] for message in page["messages"]] == [
            str(number) for number in range(10, 60)
        ]
        assert page["hasMore"] is True
        first = page["messages"][0]["messageId"]
        rest = await alice.say("message:history", roomId="general", before=first)
        assert [message["content"] for message in rest["messages"]] == [str(number) for number in range(10)]
        assert rest["hasMore"] is False


async def test_who_joins_is_sent_the_last_fifty_messages_and_nobody_else_is(node: Process) -> None:
    async with client(node.url, "alice") as alice, client(node.url, "bob") as bob:
        await alice.join("general")
        for number in range(60):
            await alice.post("general", str(number))
        pages = len(alice.events("message:history"))
        await bob.join("general")
        (page,) = bob.events("message:history")
        assert [message["content"] for message in page["messages"]] == [
            str(number) for number in range(10, 60)
        ]
        assert page["hasMore"] is True
        await alice.until(lambda: alice.events("room:user_joined", userId="bob"))
        await alice.post("general", "the end")
        assert len(alice.events("message:history")) == pages


@pytest.mark.usefixtures("projector")
async def test_sent_message_is_stored_under_its_authenticated_author(
    node: Process, database: Database
) -> None:
    async with client(node.url, "alice") as alice:
        await alice.join("general")
        ack = await alice.post("general", "for the database")
    connection = await asyncpg.connect(database.app_url)
    try:
        async with asyncio.timeout(PATIENCE):
            while not (rows := await connection.fetch("SELECT * FROM messages")):
                await asyncio.sleep(0.02)
    finally:
        await connection.close()
    (row,) = rows
    assert (row["id"], row["room_id"], row["user_id"]) == (ack["messageId"], "general", "alice")
    assert row["content"] == "for the database"
    assert row["created_at"].isoformat(timespec="microseconds").replace("+00:00", "Z") == ack["at"]


async def test_a_connection_does_not_wait_for_its_messages_to_be_persisted(node: Process) -> None:
    async with client(node.url, "alice") as alice:
        await alice.join("general")
        # All are sent before any answer is read; the server takes them as they come and answers each.
        acks = await asyncio.gather(*(alice.post("general", f"no. {number}") for number in range(500)))
        assert [ack["seq"] for ack in acks] == list(range(3, 503))


async def test_the_tables_have_the_specified_columns_and_index(database: Database) -> None:
    connection = await asyncpg.connect(database.app_url)
    try:
        columns = {
            (row["table_name"], row["column_name"])
            for row in await connection.fetch(
                "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
            )
        }
        source = await connection.fetchval(
            "SELECT application_name FROM notification_tracking WHERE application_name LIKE 'messages_v%'"
        )
        indexes = await connection.fetch("SELECT indexdef FROM pg_indexes WHERE tablename = $1", source)
    finally:
        await connection.close()
    for column in ("id", "room_id", "user_id", "content", "created_at"):
        assert ("messages", column) in columns
    for column in ("user_id", "room_id", "last_read_at", "last_read_message_id"):
        assert ("read_receipts", column) in columns
    assert any("(room_id, created_at)" in row["indexdef"] for row in indexes)
