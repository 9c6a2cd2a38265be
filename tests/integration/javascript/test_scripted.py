"""What a client does at rare answers: a room cannot be resumed, an event is missing, a token ends, a code closes."""

import time

import pytest

from tests.support.javascript.driver import Client, Failed, client
from tests.support.javascript.package import Package
from tests.support.javascript.scripted import Connection, Server, scripted

pytestmark = pytest.mark.needs("node", "npm")

RECOVERED = {"recovered": True, "head": 3}


async def enter(server: Server, alice: Client) -> Connection:
    """Let a client connect and join a room with two messages."""
    connecting = alice.begin("connect")
    connection = await server.accept()
    await connection.welcome()
    await connecting
    joining = alice.begin("join", room="general")
    await connection.admit(2, "one", "two")
    await connection.receives("room:list", 2)
    asked = connection.found({"type": "room:list"})[1]
    await connection.send("ack", ref=asked["ref"], rooms=[], invitations=[], hasMore=False)
    assert (await joining)["head"] == 2
    await connection.posts(3, "three")
    await alice.until(lambda: alice.events("message"))
    return connection


@pytest.mark.parametrize("reason", ["epoch_changed", "ahead"])
async def test_a_room_that_cannot_be_resumed_is_loaded_anew(made: Package, reason: str) -> None:
    async with scripted() as server, client(made, server.url) as alice:
        first = await enter(server, alice)
        await first.close(4000)
        second = await server.accept()
        hello = await second.welcome(general={"recovered": False, "reason": reason, "head": 40})
        assert hello["rooms"] == {"general": 3}
        assert hello["epoch"]
        await second.posts(41, "live")
        await second.admit(41, "forty", "live", more=True)
        await alice.until(lambda: alice.events("reset"))
        assert alice.events("reset")[0]["value"] == {"reason": reason}
        assert [(line["seq"], line["content"]) for line in await alice.messages()] == [
            (40, "forty"),
            (41, "live"),
        ]


async def test_a_missing_event_is_asked_for_again(made: Package) -> None:
    async with scripted() as server, client(made, server.url) as alice:
        first = await enter(server, alice)
        await first.posts(5, "five")
        second = await server.accept()
        hello = await second.welcome(general=RECOVERED | {"head": 5})
        assert hello["rooms"] == {"general": 3}
        assert await alice.contents() == ["one", "two", "three"]
        await second.posts(4, "four")
        await second.posts(5, "five")
        await second.posts(7, "seven")
        third = await server.accept()
        assert (await third.welcome(general=RECOVERED | {"head": 7}))["rooms"] == {"general": 5}
        await third.posts(7, "seven")  # a server that sends the same again has no more
        await alice.until(lambda: len(alice.events("message")) == 4)
        assert await alice.contents() == ["one", "two", "three", "four", "five", "seven"]


async def test_an_event_that_comes_twice_has_one_effect(made: Package) -> None:
    async with scripted() as server, client(made, server.url) as alice:
        connection = await enter(server, alice)
        for _ in range(2):
            await connection.posts(3, "three")
            await connection.posts(4, "four")
        await connection.send(
            "message:deleted", roomId="general", seq=5, messageId=4, userId="bob", at="2026-03-14T09:00:00Z"
        )
        await alice.until(lambda: alice.events("change"))
        assert [line["value"]["seq"] for line in alice.events("message")] == [3, 4]
        assert await alice.contents() == ["one", "two", "three", None]


async def test_the_token_is_refreshed_before_it_expires(made: Package) -> None:
    async with scripted() as server, client(made, server.url) as alice:
        connection = await enter(server, alice)
        await alice.ask("token", token="the next one")
        await alice.ask("clock", skip=3500)
        asked = await connection.receives("auth:refresh")
        assert asked["token"] == "the next one"
        assert alice.states == ["connecting", "connected"]


@pytest.mark.parametrize("code", [4000, 4001, 4008, 4010, 4011, 1006, 1012])
async def test_the_first_attempt_after_a_connection_comes_at_once(made: Package, code: int) -> None:
    async with scripted() as server, client(made, server.url) as alice:
        connection = await enter(server, alice)
        for _ in range(3):  # each connection that succeeds resets the back-off
            await alice.ask("token", token="another")
            await connection.close(code)
            await alice.until(lambda: alice.states[-1] == "reconnecting")
            await alice.ask("clock", skip=1)
            connection = await server.accept()
            assert (await connection.welcome(general=RECOVERED))["token"] == "another"


async def test_too_many_requests_are_waited_out(made: Package) -> None:
    async with scripted() as server, client(made, server.url) as alice:
        connection = await enter(server, alice)
        await connection.close(4009)
        await alice.until(lambda: alice.states[-1] == "reconnecting")
        await alice.ask("clock", skip=4)
        await alice.ask("clock", skip=2)
        connection = await server.accept()
        await connection.welcome(general=RECOVERED)
        sending = alice.begin("send", room="general", content="mine")
        asked = await connection.receives("message:send")
        refused = {"code": "too_many_requests", "message": "Wait.", "retryable": True, "retryAfter": 8}
        await connection.send("error", ref=asked["ref"], **refused)
        await alice.ask("clock", skip=8)
        again = await connection.receives("message:send", 2)
        assert again == asked
        await connection.send("ack", ref=asked["ref"], seq=4, messageId=4, at="2026-03-14T09:00:04Z")
        assert (await sending)["seq"] == 4


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (4500, "token_invalid"),
        (4502, "protocol_version"),
        (4503, "suspended"),
        (4504, "erased"),
        (1009, "too_large"),
        (4501, "malformed"),
    ],
)
async def test_a_final_code_ends_the_attempts(made: Package, code: int, name: str) -> None:
    async with scripted() as server, client(made, server.url) as alice:
        connection = await enter(server, alice)
        sending = alice.begin("send", room="general", content="mine")
        await connection.receives("message:send")
        await connection.close(code)
        with pytest.raises(Failed) as ended:
            await sending
        assert ended.value.code == name
        assert alice.states[-1] == "closed"


async def test_a_removed_member_sees_everything_up_to_the_removal(made: Package) -> None:
    async with scripted() as server, client(made, server.url) as alice:
        first = await enter(server, alice)
        await first.close(4000)
        second = await server.accept()
        await second.welcome(general={"recovered": False, "reason": "not_a_member", "head": 5})
        await second.posts(4, "four")
        kick = {
            "roomId": "general",
            "seq": 5,
            "userId": "alice",
            "reason": "kicked",
            "by": "bob",
            "at": "2026-03-14T09:00:05Z",
        }
        await second.send("room:user_left", **kick)
        await alice.until(lambda: alice.events("member"))
        assert await alice.contents() == ["one", "two", "three", "four"]
        assert await alice.ask("rooms") == []


async def test_a_server_that_records_nothing_now_is_asked_again(made: Package) -> None:
    async with scripted() as server, client(made, server.url) as alice:
        connection = await enter(server, alice)
        sending = alice.begin("send", room="general", content="mine")
        asked = await connection.receives("message:send")
        await connection.send("error", ref=asked["ref"], code="unavailable", message="No.", retryable=True)
        await alice.ask("clock", skip=2)
        assert await connection.receives("message:send", 2) == asked
        await connection.posts(4, "mine", ref=asked["ref"])
        await connection.send("ack", ref=asked["ref"], seq=4, messageId=4, at="2026-03-14T09:00:04Z")
        assert (await sending)["messageId"] == 4


async def test_an_expired_token_is_replaced(made: Package) -> None:
    """Each connection asks for a token, so one that the server refuses as expired is not sent again."""
    async with scripted() as server, client(made, server.url) as alice:
        connecting = alice.begin("connect")
        first = await server.accept()
        await first.receives("connect")
        await alice.ask("token", token=f"of {time.time()}")
        await first.close(4001)
        second = await server.accept()
        assert (await second.welcome())["token"] != first.frames[0]["token"]
        await connecting
