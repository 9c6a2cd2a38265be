"""The chat with stock clients from npm, over every transport."""

import time
from typing import Any

import pytest

from service.domain.streams import report_id
from service.protocol.commands import COMMANDS
from tests.support import contract
from tests.support.clients.native import Refused, client
from tests.support.clients.socketio import Driver
from tests.support.environment import environment, token
from tests.support.processes.processes import Process, run, running
from tests.support.servers.databases import Database

pytestmark = pytest.mark.needs("node", "npm")

TRANSPORTS: dict[str, tuple[dict[str, Any], str]] = {
    "polling": ({"transports": ["polling"]}, "polling"),
    "websocket": ({"transports": ["websocket"]}, "websocket"),
    "upgrade": ({}, "websocket"),
}


@pytest.mark.parametrize("how", TRANSPORTS)
async def test_a_stock_client_chats_over_every_transport(node: Process, stock: Driver, how: str) -> None:
    options, ends_on = TRANSPORTS[how]
    alice = await stock.open(node.address, "alice", **options)
    connected = alice.events("connected")[0]
    assert (connected["userId"], connected["protocol"], connected["rooms"]) == ("alice", 1, {})
    if how == "upgrade":
        await alice.reached("upgrade")
    assert await alice.transport() == ends_on
    await alice.join("general")
    async with client(node.url, "bob") as bob:
        await bob.join("general")
        sent = await alice.say("message:send", roomId="general", content="Hello, Bob", ref="r-1")
        assert sent == {"ok": True, "seq": sent["seq"], "messageId": sent["seq"], "at": sent["at"]}
        await bob.until(lambda: bob.events("message:new", content="Hello, Bob"))
        await bob.post("general", "Hello, Alice")
        await alice.until(lambda: alice.events("message:new", content="Hello, Alice"))
        assert alice.events("message:new", ref="r-1")
        assert not bob.events("message:new", ref="r-1")
        await alice.until(lambda: len(alice.seqs("general")) >= len(bob.seqs("general")))
        assert alice.seqs("general")[-2:] == bob.seqs("general")[-2:]
    assert not [fault for event in alice.heard for fault in contract.faults(event)]
    assert all(len(arguments) == 1 for arguments in alice.arguments)


@pytest.mark.usefixtures("projector")
async def test_every_command_of_the_contract_is_answered(node: Process, newest: Driver) -> None:
    alice = await newest.open(node.address, "alice")
    bob = await newest.open(node.address, "bob", transports=["polling"])
    await alice.join("general")
    await bob.join("general")
    sent = await alice.say("message:send", roomId="general", content="one")
    number = sent["messageId"]
    others = (await bob.say("message:send", roomId="general", content="rude"))["messageId"]
    report = report_id("general", others, "alice")
    said: list[tuple[str, dict[str, Any]]] = [
        ("room:create", {"name": "Else", "roomId": "else"}),
        ("room:update", {"roomId": "general", "topic": "Everything"}),
        ("room:archive", {"roomId": "else"}),
        ("room:reopen", {"roomId": "else"}),
        ("room:invite", {"roomId": "else", "userId": "carol"}),
        ("room:kick", {"roomId": "else", "userId": "carol"}),
        ("room:mute", {"roomId": "general", "userId": "bob"}),
        ("room:unmute", {"roomId": "general", "userId": "bob"}),
        ("room:role", {"roomId": "general", "userId": "bob", "role": "moderator"}),
        ("room:list", {}),
        ("room:directory", {"query": "general"}),
        ("room:members", {"roomId": "general"}),
        ("message:edit", {"roomId": "general", "messageId": number, "content": "two"}),
        ("message:react", {"roomId": "general", "messageId": number, "emoji": "👍"}),
        ("message:unreact", {"roomId": "general", "messageId": number, "emoji": "👍"}),
        ("message:pin", {"roomId": "general", "messageId": number}),
        ("message:unpin", {"roomId": "general", "messageId": number}),
        ("message:report", {"roomId": "general", "messageId": others, "reason": "rude"}),
        ("report:list", {"roomId": "general"}),
        ("report:resolve", {"roomId": "general", "reportId": report, "outcome": "warned"}),
        ("message:history", {"roomId": "general"}),
        ("message:read", {"roomId": "general", "messageId": number}),
        ("message:delete", {"roomId": "general", "messageId": number}),
        ("typing:start", {"roomId": "general"}),
        ("typing:stop", {"roomId": "general"}),
        ("presence:set", {"status": "away"}),
        ("user:block", {"userId": "carol"}),
        ("user:blocks", {}),
        ("user:unblock", {"userId": "carol"}),
        ("ping", {}),
        ("auth:refresh", {"token": token("alice")}),
        ("room:ban", {"roomId": "else", "userId": "carol"}),
        ("room:unban", {"roomId": "else", "userId": "carol"}),
        ("room:leave", {"roomId": "else"}),
    ]
    assert {kind for kind, _ in said} == COMMANDS.keys() - {"room:join", "message:send"}
    for kind, fields in said:
        ack = await alice.say(kind, **fields)
        assert ack.pop("ok") is True
        assert not contract.faults({"type": "ack", "ref": "r", **ack}, kind)
    await bob.until(lambda: bob.events("message:deleted"))
    assert bob.events("typing:start", userId="alice")
    assert not [fault for event in alice.heard + bob.heard for fault in contract.faults(event)]


@pytest.mark.parametrize("transports", [["polling"], ["websocket"]])
async def test_a_refused_command_disconnects_nobody(
    node: Process, newest: Driver, transports: list[str]
) -> None:
    alice = await newest.open(node.address, "alice", transports=transports)
    bob = await newest.open(node.address, "bob", transports=transports)
    await alice.join("general")
    await bob.join("general")
    wrong: list[tuple[str, list[Any], str]] = [
        ("message:sent", [{}], "unknown_type"),
        ("message:send", [], "malformed"),
        ("message:send", [None], "malformed"),
        ("message:send", [{"roomId": "general", "content": None}], "malformed"),  # what JSON makes of NaN
        ("message:send", [{"roomId": "general", "content": "x"}, 2], "malformed"),
        ("message:send", [{"roomId": "general", "content": "x", "surprise": 1}], "malformed"),
        ("message:send", [{"roomId": "nowhere", "content": "x"}], "room_not_found"),
        ("message:send", [{"roomId": "general", "content": "<script>1</script>"}], "unsafe_content"),
        ("message:send", [{"roomId": "general", "content": " "}], "empty_message"),
        ("auth:refresh", [{"token": "nonsense"}], "token_invalid"),
    ]
    for name, args, code in wrong:
        (answer,) = await alice.emit(name, *args)
        assert answer["ok"] is False
        assert answer["error"]["code"] == code
        assert answer["error"]["retryable"] is False
    await alice.emit("message:send", {"roomId": "nowhere", "content": "x"}, ack=False)
    await alice.until(lambda: alice.events("error", code="room_not_found"))
    for name in ("__proto__", "error", "constructor"):
        await alice.say("message:send", roomId="general", content=name)
    await bob.until(lambda: bob.events("message:new", content="constructor"))
    assert not alice.was("disconnect")
    assert not bob.was("disconnect")


@pytest.mark.parametrize(
    ("auth", "code"),
    [
        ({}, "token_invalid"),
        ({"token": "nonsense"}, "token_invalid"),
        ({"token": 5}, "malformed"),
        ({"token": token("alice"), "surprise": 1}, "malformed"),
        ({"token": token("alice"), "rooms": {"No!": 1}}, "malformed"),
        ({"token": token("alice"), "rooms": {f"r{number}": 0 for number in range(101)}}, "too_many_rooms"),
        ({"token": token("alice", expires=int(time.time()) - 60)}, "token_expired"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_a_refused_connect_says_why(
    node: Process, stock: Driver, auth: dict[str, Any], code: str
) -> None:
    nobody = await stock.open(node.address, None, wait=False, auth=auth)
    refused = await nobody.reached("connect_error")
    assert refused["data"]["code"] == code
    assert refused["message"]
    assert not nobody.heard


async def test_one_user_has_a_bounded_number_of_connections(database: Database, newest: Driver) -> None:
    async with running(environment(database, ONRECORD_MAX_CONNECTIONS="1"), "serve") as node:
        first = await newest.open(node.address, "alice")
        second = await newest.open(node.address, "alice", wait=False)
        refused = await second.reached("connect_error")
        assert refused["data"] == {"code": "too_many_requests", "retryable": True, "retryAfter": 5.0}
        await first.leave()
        await first.reached("disconnect")
        third = await newest.open(node.address, "alice", wait=False)
        await third.until(lambda: third.states)


async def test_commands_past_the_rate_are_refused(database: Database, newest: Driver) -> None:
    env = environment(database, ONRECORD_RATE_BURST="5", ONRECORD_RATE_PER_SECOND="1")
    async with running(env, "serve") as node:
        alice = await newest.open(node.address, "alice")
        for _ in range(5):
            await alice.say("room:list")
        with pytest.raises(Refused) as refused:
            await alice.say("room:list")
        assert refused.value.code == "too_many_requests"
        assert 0 < refused.value.error["retryAfter"] <= 1
        assert not alice.was("disconnect")


async def test_a_stopping_server_sends_stock_clients_away_to_come_back(
    database: Database, stock: Driver
) -> None:
    env = environment(database)
    async with running(env, "serve") as node:
        polling = await stock.open(node.address, "alice", transports=["polling"])
        socket = await stock.open(node.address, "bob", transports=["websocket"])
        assert await node.stop() == 0
        for one in (polling, socket):
            assert (await one.reached("disconnect"))["reason"] != "io server disconnect"
        port = node.address.rsplit(":", 1)[1]
    async with running(env | {"ONRECORD_PORT": port}, "serve"):
        for one in (polling, socket):
            await one.reached("connect", 2)


async def test_a_token_that_runs_out_ends_the_connection(node: Process, newest: Driver) -> None:
    auth = {"token": token("alice", expires=int(time.time()) - 4)}  # ONRECORD_JWT_LEEWAY is 10 s
    alice = await newest.open(node.address, None, auth=auth)
    assert (await alice.reached("disconnect"))["reason"] == "transport close"
    assert (await alice.reached("connect_error"))["data"]["code"] == "token_expired"


@pytest.mark.parametrize("how", ["polling", "websocket"])
async def test_a_client_of_somebody_who_is_erased_is_shut_out_and_told_why(
    node: Process, database: Database, newest: Driver, how: str
) -> None:
    alice = await newest.open(node.address, "alice", transports=[how])
    await alice.join("general")
    code, _, words = await run(environment(database), "audit", "erase", "--person", "alice", "--ground", "x")
    assert code == 0, words
    await alice.reached("disconnect")
    refused = await alice.reached("connect_error")
    assert refused["data"]["code"] == "not_allowed"
    assert refused["message"] == "This account was erased."
