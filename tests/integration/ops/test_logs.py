"""What a node and a projector write while everything happens to them: lines of JSON, and no secret among them.

Every word that may not be logged is marked, and so is every secret; then they are posted, refused, cut off and sent
broken, while Postgres and Redis fail in every way; and the output of the processes is searched.
"""

import asyncio
import base64
import contextlib
import json
import os
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from psycopg import sql
from websockets.exceptions import ConnectionClosed

from service.embedded import Servers
from tests.support.clients.native import Client, Refused, client, raw
from tests.support.clients.sign_in import begin, settings, signing_in, visit
from tests.support.environment import environment, token
from tests.support.processes.failures import OUTAGE
from tests.support.processes.processes import Process, run, running
from tests.support.servers.databases import Database
from tests.support.servers.key_provider import signed
from tests.support.servers.oidc_provider import AUDIENCE
from tests.support.servers.proxies import Proxy, proxied

pytestmark = pytest.mark.logs(*OUTAGE)

MARK = "kumquat"
PASSWORD = f"{MARK}-database-password"
SECRET = "a secret of the tests, thirty-two bytes and more"
BROKEN = (
    f'{{"{MARK}',
    f'"{MARK}"',
    f'{{"type":"{MARK}","ref":"1"}}',
    f'{{"type":"message:send","ref":"{MARK}","roomId":"{MARK}","content":1}}',
    f'{{"type":"message:send","ref":"1","roomId":"open","content":"<script>{MARK}</script>"}}',
)


def said_by(*processes: Process) -> list[str]:
    return [line for process in processes for line in process.words]


async def say_everything(address: Process, others: Process) -> None:
    """Put marked words in every field that takes text."""
    name = f"{MARK} Alice"
    async with client(address.url, "alice", name=name) as alice, client(others.url, "bob", name=MARK) as bob:
        await alice.say("room:create", roomId="open", name=f"{MARK} room", visibility="public")
        await alice.say("room:update", roomId="open", topic=f"{MARK} topic")
        await bob.join("open")
        sent = await alice.post("open", f"{MARK} message")
        await alice.say("message:edit", roomId="open", messageId=sent["seq"], content=f"{MARK} again")
        await alice.say("message:delete", roomId="open", messageId=sent["seq"], reason=f"{MARK} reason")
        await bob.until(lambda: bob.events("message:deleted"))
        for refused in (f"<script>{MARK}</script>", MARK * 2_000, " "):
            with contextlib.suppress(Refused):
                await alice.post("open", refused)
        await alice.say("room:kick", roomId="open", userId="bob", reason=f"{MARK} reason")
        await bob.until(lambda: bob.events("room:user_left"))


async def send_garbage(node: Process) -> None:
    """Send what is refused: broken frames after and instead of `connect`, and invalid tokens."""
    for text in BROKEN:
        async with client(node.url, "carol") as carol:
            await carol.socket.send(text)
            carol.cut()
        async with raw(node.url, additional_headers={"Authorization": f"Bearer {MARK}"}) as socket:
            await socket.send(text)
            socket.transport.abort()
    for bad in (MARK, f"{token('dave')}{MARK}", token(f"{MARK} dave"), token("dave", expires=1, name=MARK)):
        async with raw(node.url) as socket:
            await socket.send(json.dumps({"type": "connect", "protocol": 1, "token": bad}))
            with contextlib.suppress(ConnectionClosed):
                await socket.recv()
    async with httpx.AsyncClient(base_url=node.address) as http:
        for path in (f"/api/rooms/{MARK}", f"/api/rooms?after={MARK}", f"/{MARK}", "/api/me/rooms"):
            await http.get(path, headers={"Authorization": f"Bearer {MARK}"})
            await http.get(path, headers={"Authorization": f"Bearer {token('alice')}"})
        await http.post("/socket.io/?EIO=4&transport=polling", content=MARK)
        opened = (await http.get("/socket.io/?EIO=4&transport=polling")).text
        sid = json.loads(opened[1:])["sid"]
        await http.post(f"/socket.io/?EIO=4&transport=polling&sid={sid}", content=f'40{{"token":"{MARK}"}}')
        await http.post(f"/socket.io/?EIO=4&transport=polling&sid={sid}", content=MARK)
    reader, writer = await asyncio.open_connection(
        urlsplit(node.address).hostname, urlsplit(node.address).port
    )
    writer.write(f"GET /{MARK} {MARK}\r\n\r\n".encode())
    await reader.read()
    writer.close()


async def speak_through(node: Process, *proxies: Proxy) -> None:
    """Speak while the servers are cut off, refuse, and answer nothing; then until all is well."""
    async with contextlib.AsyncExitStack() as stack:
        alice = await stack.enter_async_context(client(node.url, "alice", {"open": 0}))
        for fail in (Proxy.cut, Proxy.reset, Proxy.refuse, Proxy.hold):
            for proxy in proxies:
                fail(proxy)
            with contextlib.suppress(Refused):
                await alice.post("open", f"{MARK} in trouble")
            with contextlib.suppress(Refused):
                await alice.say("room:list")
            for proxy in proxies:
                await proxy.restore()
            await until_well(alice)


async def until_well(alice: Client) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                await alice.post("open", f"{MARK} well again")
            except Refused:
                await asyncio.sleep(0.05)
            else:
                return


@pytest.mark.logs("bus_failed")
async def test_log_lines_are_json_without_content_or_secrets(database: Database, servers: Servers) -> None:
    secrets = {
        "ONRECORD_JWT_SECRET": SECRET,
        "ONRECORD_BUS_KEY": base64.b64encode(os.urandom(32)).decode(),
        "ONRECORD_KEY_ENCRYPTION_KEY": base64.b64encode(os.urandom(32)).decode(),
        "ONRECORD_METRICS_TOKEN": f"{MARK}-metrics-token",
    }
    login = f"login_{os.urandom(4).hex()}"
    with logged_in(database, login):
        own = database.app_url.replace(urlsplit(database.app_url).netloc.split("@")[0], f"{login}:{PASSWORD}")
        async with (
            proxied(own, Proxy) as (postgres, url),
            proxied(f"{servers.redis_url}/", Proxy) as (redis, bus),
        ):
            env = environment(
                database,
                **secrets,
                ONRECORD_DATABASE_URL=url,
                ONRECORD_PROJECTOR_DATABASE_URL=url,
                ONRECORD_REDIS_URL=bus,
                ONRECORD_DATABASE_TIMEOUT="1",
                ONRECORD_REDIS_TIMEOUT="0.5",
            )
            async with (
                running(env | {"ONRECORD_NODE": "one"}, "serve") as one,
                running(env | {"ONRECORD_NODE": "other"}, "serve") as other,
                running(env | {"ONRECORD_NODE": "projector"}, "project", "run") as projector,
            ):
                await say_everything(one, other)
                await send_garbage(one)
                await speak_through(one, postgres, redis)
            wrong = env | {"ONRECORD_DATABASE_URL": url.replace(PASSWORD, f"{MARK}-wrong-password")}
            _, out, err = await run(wrong, "serve")
            _, more, words = await run(env | {"ONRECORD_REDIS_URL": f"redis://:{MARK}/word@here:1"}, "serve")
    redis_password = urlsplit(servers.redis_url).password or "there is none"
    for secret in (MARK, PASSWORD, redis_password, *secrets.values()):
        assert not [
            line for line in [*said_by(one, other, projector), out, err, more, words] if secret in line
        ]
    lines = [json.loads(line) for line in said_by(one, other, projector)]
    assert {line["node"] for line in lines} == {"one", "other", "projector"}
    assert all(line.keys() >= {"at", "level", "logger", "event"} for line in lines)
    events = {line["event"] for line in lines}
    assert events >= {"connected", "disconnected", "bus_lost", "append_retry", "projection_waits"}
    ended = {line["reason"] for line in lines if line["event"] == "disconnected"}
    assert ended >= {"client", "malformed", "connection_lost"}


async def test_sign_in_erasure_and_doctor_log_no_content_or_secret(
    database: Database,
) -> None:
    """With an identity provider: every code, token and cookie that was given is searched for, too."""
    secret = f"{MARK}-client-secret"
    more = {"ONRECORD_OIDC_CLIENT_SECRET": secret}
    async with (
        signing_in(database, more, renewing=True, secret=secret) as (node, provider),
        httpx.AsyncClient(base_url=node.address) as http,
    ):
        provider.spoil_id = lambda claims: claims | {"name": f"{MARK} Alice"}
        given = [secret]
        back = await visit(await begin(http), user="alice")
        told = (await http.post("/signin/finish", json=back)).json()
        given += [back["code"], back["state"], told["token"], *map(str, http.cookies.values())]
        renewed = (await http.post("/signin/renew", json={"renewal": told["renewal"]})).json()
        given += [renewed["token"], *map(str, http.cookies.values())]
        for wrong in ({"code": MARK}, {"error": MARK}, {"error": "access_denied"}, {"iss": MARK}):
            back = await visit(await begin(http), user="alice")
            assert (await http.post("/signin/finish", json=back | wrong)).status_code >= 400
        provider.spoil_answer = lambda answer: answer | {"error": f"{MARK} {MARK}", "error_description": MARK}
        assert (await http.post("/signin/renew", json={"renewal": told["renewal"]})).status_code == 503
        provider.spoil_answer = lambda answer: answer | {"id_token": MARK}
        assert (await http.post("/signin/renew", json={"renewal": told["renewal"]})).status_code == 401
        async with raw(node.url) as socket:
            await socket.send(json.dumps({"type": "connect", "protocol": 1, "token": renewed["token"]}))
            await socket.recv()
            await socket.send(json.dumps({"type": "room:join", "ref": "1", "roomId": "open"}))
            said = {"type": "message:send", "ref": "2", "roomId": "open", "content": f"{MARK} message"}
            await socket.send(json.dumps(said))
            while json.loads(await socket.recv()).get("ref") != "2":
                pass
        admin = signed(provider.key, "RS256", iss=provider.issuer, aud=AUDIENCE, sub="root", scope="admin")
        given += [admin, *provider.refreshing]
        erased = await http.post(
            "/admin/people/alice/erase",
            json={"ground": f"{MARK} asked"},
            headers={"Authorization": f"Bearer {admin}"},
        )
        assert erased.status_code in (200, 503), (
            erased.text
        )  # 503: no projector runs, so who was where is not known
        env = settings(database, provider, **more)
        code, out, err = await run(env, "doctor")
        assert code in (0, 1), err
    for word in (MARK, *given):
        assert not [line for line in [*node.words, out, err] if word in line], word
    lines = [json.loads(line) for line in node.words]
    assert {line["event"] for line in lines} >= {
        "connected",
        "disconnected",
        "signin_failed",
        "signin_refused",
    }
    assert all(re.fullmatch(r"[a-z_]+", line["event"]) for line in lines), "one event, by its name, a line"


@contextlib.contextmanager
def logged_in(database: Database, login: str) -> Iterator[None]:
    """Give a login a marked password and the rights of the application, for as long as a block lasts."""
    name, password = sql.Identifier(login), sql.Literal(PASSWORD)
    with psycopg.connect(database.superuser_url, autocommit=True) as owner:
        owner.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(name, password))
        owner.execute(sql.SQL("GRANT onrecord_node, onrecord_projector, onrecord_sealer TO {}").format(name))
        try:
            yield
        finally:
            owner.execute(sql.SQL("DROP OWNED BY {}").format(name))
            owner.execute(sql.SQL("DROP ROLE {}").format(name))
