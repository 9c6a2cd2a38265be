"""Packets that no stock client sends: they close the sender's connection, and no other client is affected."""

import json

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.support.clients.native import PATIENCE, client
from tests.support.clients.socketio import Driver
from tests.support.environment import environment, token
from tests.support.processes.processes import Process, running
from tests.support.servers.databases import Database

POISON = [
    '42["message:send",{"roomId":"general","content":NaN}]',
    '42["message:send",{"roomId":"general","content":"x","replyTo":Infinity}]',
    *(
        f'42["{name}",{{"roomId":"general"}}]'
        for name in ("connect", "connect_error", "disconnect", "disconnecting", "newListener")
    ),
    '42["message:send",' + '{"a":' * 40 + "1" + "}" * 40 + "]",
    '40{"token":"x"}',
    '451-["message:send",{"_placeholder":true,"num":3}]',
    "garbage",
]
REFUSED = [
    '421["message:send",{"roomId":"general","content":"\\ud800"}]',
    '421["message:send",{"roomId":"general","content":"\\u0000"}]',
    '421["message:send",{"roomId":"general","content":"a","content":"b"}]',
    '421["message:send",{"__proto__":{},"roomId":"general","content":"a"}]',
    "421[5]",
    '4211111111111["toString",{}]',
]


@pytest.mark.needs("node", "npm")
async def test_poison_reaches_nobody_but_its_sender(node: Process, newest: Driver) -> None:
    good = await newest.open(node.address, "good")
    await good.join("general")
    url = node.address.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket"
    async with client(node.url, "native") as native:
        await native.join("general")
        for poison in POISON:
            async with connect(url) as bad:
                await bad.recv()
                await bad.send("40" + json.dumps({"token": token("bad")}))
                await bad.recv()
                await bad.recv()
                await bad.send('421["room:join",{"roomId":"general"}]')
                while not str(await bad.recv()).startswith("431"):
                    pass
                await bad.send(poison)
                if poison.startswith("451-"):
                    await bad.send(b"x")
                with pytest.raises(ConnectionClosed) as closed:
                    while True:
                        await bad.recv()
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 4501, poison
        await good.say("message:send", roomId="general", content="still here")
        await native.until(lambda: native.events("message:new", content="still here"))
    assert not good.was("disconnect")


@pytest.mark.parametrize("said", REFUSED)
async def test_what_is_only_wrong_is_answered_and_the_connection_lives(node: Process, said: str) -> None:
    url = node.address.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket"
    async with connect(url) as socket:
        await socket.recv()
        await socket.send("40" + json.dumps({"token": token("alice")}))
        await socket.recv()
        await socket.recv()
        await socket.send(said)
        answer = str(await socket.recv())
        assert answer.startswith("43")
        assert '"ok":false' in answer
        await socket.send('422["room:list",{}]')
        assert str(await socket.recv()).startswith('432[{"ok":true')


async def test_bytes_in_a_command_are_refused_and_the_connection_lives(node: Process) -> None:
    url = node.address.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket"
    async with connect(url) as socket:
        await socket.recv()
        await socket.send("40" + json.dumps({"token": token("alice")}))
        await socket.recv()
        await socket.recv()
        await socket.send(
            '451-1["message:send",{"roomId":"general","content":{"_placeholder":true,"num":0}}]'
        )
        await socket.send(b"\x01")
        assert '"code":"malformed"' in str(await socket.recv())


async def test_whoever_reads_nothing_over_polling_is_closed_and_can_resume(database: Database) -> None:
    env = environment(database, ONRECORD_MAX_OUTBOX="20000")
    async with running(env, "serve") as node, client(node.url, "bob") as bob, httpx.AsyncClient() as http:
        await bob.join("general")
        query = {"EIO": "4", "transport": "polling"}
        url = f"{node.address}/socket.io/"
        told = json.loads((await http.get(url, params=query)).text[1:])
        query["sid"] = told["sid"]
        auth = {"token": token("slow")}
        await http.post(url, params=query, content="40" + json.dumps(auth), timeout=PATIENCE)
        await http.post(url, params=query, content='421["room:join",{"roomId":"general"}]', timeout=PATIENCE)
        assert "room:user_joined" in (await http.get(url, params=query, timeout=PATIENCE)).text
        for number in range(30):
            await bob.post("general", f"{number} " + "x" * 1000)
        gone = await http.get(url, params=query)
        assert (gone.status_code, gone.json()["code"]) == (400, 1)
