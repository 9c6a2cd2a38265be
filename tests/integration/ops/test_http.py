"""The HTTP side of a node: the page, health, and the demo sign-in of development."""

import asyncio
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from service.embedded import Servers
from service.gateway.http.routes import STATIC
from tests.support.clients.native import Client, raw
from tests.support.clients.page import newcomer
from tests.support.environment import environment, token
from tests.support.processes.processes import Process, run, running
from tests.support.servers.databases import Database
from tests.support.servers.key_provider import AUDIENCE, ISSUER, provider, rsa
from tests.support.servers.ports import free_ports
from tests.support.waiting import until


async def test_a_node_says_that_it_lives_and_is_ready(node: Process) -> None:
    async with httpx.AsyncClient(base_url=node.address) as http:
        health = await http.get("/healthz")
        async with asyncio.timeout(60):
            while (ready := await http.get("/readyz")).json()["bus"] != "ok":
                await asyncio.sleep(0.05)
    assert (health.status_code, health.text) == (200, "ok")
    assert ready.status_code == 200
    assert ready.json() == {"ready": True, "log": "ok", "bus": "ok", "connections": 0}


async def test_node_is_not_ready_while_postgres_is_down_and_recovers(
    database: Database, servers: Servers
) -> None:
    async with (
        running(environment(database), "serve") as node,
        httpx.AsyncClient(base_url=node.address) as http,
    ):
        await asyncio.to_thread(servers.postgres.kill)
        try:
            assert (await http.get("/readyz")).status_code == 503
            assert (await http.get("/healthz")).status_code == 200
        finally:
            await asyncio.to_thread(servers.postgres.start)
        async with asyncio.timeout(60):
            while (await http.get("/readyz")).status_code != 200:
                await asyncio.sleep(0.05)


async def test_the_page_may_load_nothing_from_elsewhere(node: Process) -> None:
    async with httpx.AsyncClient(base_url=node.address) as http:
        page = await http.get("/")
        assert page.status_code == 200
        policy = page.headers["content-security-policy"]
        assert policy.startswith("default-src 'self'")
        assert "frame-ancestors 'none'" in policy
        assert (await http.get("/static/app.js")).headers["content-type"].startswith("text/javascript")
        missing = await http.get("/nothing-here")
    assert missing.status_code == 404
    assert missing.headers["content-type"] == "application/problem+json"
    assert missing.json()["title"] == "Not Found"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing-here", 404, "not_found"),
        ("GET", "/static/nothing-here.js", 404, "not_found"),
        ("DELETE", "/healthz", 405, "method_not_allowed"),
        ("POST", "/ws", 426, "upgrade_required"),
    ],
)
async def test_a_request_that_nothing_answers_gets_a_code_and_a_detail(
    node: Process, method: str, path: str, status: int, code: str
) -> None:
    async with httpx.AsyncClient(base_url=node.address) as http:
        answer = await http.request(method, path)
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert problem["detail"].endswith(".")
    assert problem["retryable"] is False


async def test_a_refused_reading_names_the_parameter_and_the_header(node: Process) -> None:
    async with httpx.AsyncClient(base_url=node.address) as http:
        bearer = {"Authorization": f"Bearer {token('alice')}"}
        missing = (await http.get("/api/users", headers=bearer)).json()
        assert (missing["code"], missing["parameter"]) == ("malformed", "query")
        bare = (await http.get("/api/users?query=b", headers={"Authorization": token("alice")})).json()
        assert bare["code"] == "token_invalid"
        assert "Bearer TOKEN" in bare["detail"]


SLASHES = [
    *("/api/me/rooms/", "/api/rooms/general/", "/healthz/", "/signin/", "/asyncapi.yaml/", "/audit/events/"),
    *(
        "/static",
        "/static/",
        "/static/app.js/",
        "/socket.io",
        "/socket.io?EIO=4&transport=polling",
        "/metrics/",
    ),
    *("//api/me/rooms", "/api//me/rooms", "//evil.example/", "/ws/"),
]


async def test_no_path_is_redirected_and_none_becomes_an_address_of_its_host(
    database: Database,
) -> None:
    port = free_ports()
    async with running(environment(database, ONRECORD_METRICS_PORT=str(port)), "serve") as node:
        metrics = f"http://127.0.0.1:{port}"
        paths = [*(node.address + path for path in SLASHES), f"{metrics}/metrics/", f"{metrics}/nothing"]
        async with httpx.AsyncClient(headers={"Host": "evil.example"}) as http:
            for path in paths:
                for method in ("GET", "POST", "HEAD"):
                    answer = await http.request(method, path)
                    served = method == "POST" and "/static/" in path
                    assert answer.status_code == (405 if served else 404), (method, path)
                    assert answer.headers["content-type"] == "application/problem+json", path
                    assert "location" not in answer.headers, path
                    assert "evil" not in answer.text, path


async def test_files_of_the_page_are_revalidated_by_their_content(node: Process) -> None:
    async with httpx.AsyncClient(base_url=node.address) as http:
        names = sorted(path.name for path in STATIC.iterdir() if path.is_file())
        for path in ["/", *(f"/static/{name}" for name in names)]:
            answer = await http.get(path)
            etag = answer.headers["etag"]
            assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache"), path
            assert etag == f'"{sha256(answer.content).hexdigest()}"', path
            for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
                again = await http.get(path, headers={"If-None-Match": known})
                assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag), path
                assert again.headers["cache-control"] == "no-cache"
            for other in ('"other"', etag[:-2] + '"', ""):
                assert (await http.get(path, headers={"If-None-Match": other})).status_code == 200
            head = await http.head(path)
            assert (head.headers["etag"], head.headers["content-length"]) == (etag, str(len(answer.content)))


async def test_no_answer_is_sniffed(node: Process) -> None:
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    requests: list[tuple[str, str, dict[str, str]]] = [
        *(
            ("GET", path, {})
            for path in ("/", "/static/app.js", "/healthz", "/readyz", "/signin", "/openapi.yaml")
        ),
        *(
            ("GET", path, {})
            for path in ("/nothing", "/static/nothing", "/api/me/rooms", "/audit/events", "/metrics")
        ),
        ("DELETE", "/healthz", {}),
        ("GET", "/socket.io/?EIO=4&transport=polling", {}),
        ("GET", "/socket.io/?EIO=3&transport=polling", {}),
        ("GET", "/ws", upgrade),
        ("GET", "/elsewhere", {**upgrade, "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}),
        ("GET", "/healthz", {"Big": "x" * 70_000}),
    ]
    for method, path, headers in requests:
        async with httpx.AsyncClient(base_url=node.address) as http:
            answer = await http.request(method, path, headers=headers)
            assert answer.headers.get_list("x-content-type-options") == ["nosniff"], (
                path,
                answer.status_code,
            )


async def test_an_idle_connection_is_kept_for_as_long_as_the_setting_says(database: Database) -> None:
    async with running(environment(database, ONRECORD_KEEP_ALIVE="0.2"), "serve") as node:
        host, port = node.address.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(60):
            assert (await reader.read()).endswith(b"\r\n\r\nok"), "closed by the server"
        writer.close()


async def test_the_demo_sign_in_is_there_in_development_only(node: Process, place: Path) -> None:
    async with httpx.AsyncClient() as http:
        body = {"userId": "alice", "name": "Alice"}
        assert (await http.post(f"{node.address}/dev/token", json=body)).status_code == 404
        async with running(newcomer(place), "dev") as dev:
            token = (await http.post(f"{dev.address}/dev/token", json=body)).json()["token"]
            async with raw(dev.url) as socket:
                alice = Client(socket, "alice")
                await alice.socket.send(f'{{"type":"connect","protocol":1,"token":"{token}"}}')
                await alice.until(lambda: alice.events("connected", userId="alice"))
                await alice.close()
            for wrong in (b"", b"{}", b'{"userId":"no spaces"}', b'{"userId":"a","more":1}', b"[" * 9_000):
                answer = await http.post(f"{dev.address}/dev/token", content=wrong)
                assert answer.status_code == 400
                assert answer.json()["code"] == "malformed"
            assert (await http.post(f"{dev.address}/dev/token", content=b"x" * 20_000)).status_code == 413
            await until(lambda: any("refused" in line and "reason=malformed" in line for line in dev.words))


async def test_identity_provider_disables_demo_names(place: Path) -> None:
    async with provider(rsa()) as published:
        trusting = {
            "ONRECORD_JWT_JWKS": published.url,
            "ONRECORD_JWT_ISSUER": ISSUER,
            "ONRECORD_JWT_AUDIENCE": AUDIENCE,
        }
        half = newcomer(place) | {"ONRECORD_JWT_JWKS": published.url}
        code, _, words = await run(half, "dev")
        assert (code, words[:46]) == (2, "ONRECORD_JWT_ISSUER and ONRECORD_JWT_AUDIENCE ")
        async with running(newcomer(place) | trusting, "dev") as dev, httpx.AsyncClient() as http:
            refused = await http.post(f"{dev.address}/dev/token", json={"userId": "alice"})
            assert (refused.status_code, refused.json()["code"]) == (403, "not_allowed")
            assert refused.json()["detail"].startswith("Demo names are off: ONRECORD_JWT_JWKS is set")
            assert (await http.get(f"{dev.address}/signin")).json() == {"demo": False, "provider": False}


@pytest.mark.parametrize("path", ["/static/../settings.py", "/static/%2e%2e/settings.py", "//etc/passwd"])
async def test_nothing_but_the_page_is_served(node: Process, path: str) -> None:
    async with httpx.AsyncClient(base_url=node.address) as http:
        assert (await http.get(path)).status_code == 404
