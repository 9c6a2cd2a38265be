"""The measured servers: how each is started (as an operator would), and which of its processes are watched."""

import base64
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

import psutil

from bench.ballast import Ballast, ballast
from bench.world import build, fixtures
from bench.world.fixtures import Shape
from service.embedded import Servers

PEERS = build.HERE / "peers"
STOPS_WITHIN = 30.0


class DidNotStart(Exception):
    """A server ended before it printed its port; the message has the end of its log."""


@dataclass
class Running:
    """A server that listens. `parts` are the processes to watch; `server` is the one whose cost is compared."""

    port: int
    parts: dict[str, psutil.Process]
    tokens: Path | None = None
    cursor: int = 0
    """The seq up to which clients have already read their room."""
    database: str = ""
    """The URL of the server's database, for experiments that query it."""
    ballast: Ballast | None = None
    """What commits as many posts beside a server that commits none; None for no such load."""


@dataclass(frozen=True)
class Candidate:
    """A server to measure.

    `door` is the protocol that the generator speaks to it. `content` is the length of a message's content, chosen so
    that a delivered message has about 200 bytes.
    """

    name: str
    door: str
    content: int
    command: Callable[[], list[str]]
    uses_redis: bool = False
    workers: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    ballast: bool = False
    """Whether Postgres commits the posts beside it; see `bench.ballast`."""

    @property
    def is_onrecord(self) -> bool:
        """Whether it is OnRecord, with a database and a projector."""
        return self.name.startswith("onrecord")

    @contextmanager
    def running(self, servers: Servers, shape: Shape) -> Iterator[Running]:
        """Run the server until the block ends."""
        with ExitStack() as stack:
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="onrecord-bench-")))
            env = {key: value for key, value in os.environ.items() if not key.startswith("ONRECORD_")}
            env |= self.environment
            if self.is_onrecord:
                yield _onrecord(self, stack, servers, shape, place, env)
                return
            parts = {}
            if self.uses_redis:
                env["REDIS_URL"] = servers.redis_url
                parts["redis"] = _valkey(servers)
            process, port = _start(stack, self.command(), env, place / "server.log", "PORT ")
            running = Running(port, {"server": process, **parts})
            if self.ballast:
                running.parts["postgres"] = _postgres(servers)
                running.ballast = stack.enter_context(ballast(servers))
            yield running


def _onrecord(
    candidate: Candidate, stack: ExitStack, servers: Servers, shape: Shape, place: Path, env: dict[str, str]
) -> Running:
    """Start a node (or several on one port) and a projector on a new database."""
    app, owner, worker = stack.enter_context(fixtures.database(servers, shape))
    parts = {"postgres": _postgres(servers)}
    env |= {
        "ONRECORD_PORT": "0",
        "ONRECORD_DATA_DIR": str(place / "none"),
        "ONRECORD_DATABASE_URL": app,
        "ONRECORD_MIGRATE_DATABASE_URL": owner,
        "ONRECORD_PROJECTOR_DATABASE_URL": worker,
        "ONRECORD_JWT_SECRET": fixtures.SECRET,
        "ONRECORD_KEY_ENCRYPTION_KEY": base64.b64encode(fixtures.KEY).decode(),
        "ONRECORD_RATE_BURST": "0",  # no limit: ten users of each room send all messages
        "ONRECORD_SESSION_BURST": "0",  # no limit: users of the churn connect again and again
        "ONRECORD_HANDSHAKE_BURST": "0",  # no limit: all connections come from one address
    }
    if candidate.uses_redis:
        env |= {
            "ONRECORD_REDIS_URL": servers.redis_url,
            "ONRECORD_BUS_KEY": base64.b64encode(os.urandom(32)).decode(),
        }
        parts["redis"] = _valkey(servers)
    serve = [*candidate.command(), *(["--workers", str(candidate.workers)] if candidate.workers > 1 else [])]
    parts["server"], port = _start(stack, serve, env, place / "serve.log", "http://")
    project = [serve[0], "-m", "service.cli", "project", "run"]
    parts["projector"], _ = _start(stack, project, env, place / "project.log", None)
    return Running(port, parts, fixtures.tokens(shape, place / "tokens"), shape.head, app)


def _start(
    stack: ExitStack, command: list[str], env: dict[str, str], log: Path, marker: str | None
) -> tuple[psutil.Process, int]:
    """Start a process that is stopped with the stack; return it and the port in the output line with `marker`."""
    stderr = stack.enter_context(log.open("wb"))
    process = subprocess.Popen(command, cwd=build.ROOT, env=env, stdout=subprocess.PIPE, stderr=stderr)
    stack.callback(_stop, process)
    assert process.stdout is not None
    port = _port(process, process.stdout, log, marker) if marker else 0
    return psutil.Process(process.pid), port


def _port(process: "subprocess.Popen[bytes]", out: IO[bytes], log: Path, marker: str) -> int:
    for line in iter(out.readline, b""):
        if marker in (text := line.decode()):
            return int(text.strip().rstrip("/").replace(":", " ").split()[-1])
    process.wait()
    raise DidNotStart(f"it ended with {process.returncode}: {log.read_text()[-2000:]}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdout is not None
    process.stdout.close()
    process.terminate()
    try:
        process.wait(STOPS_WITHIN)
    except subprocess.TimeoutExpired:
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
        process.kill()
        process.wait()


def _postgres(servers: Servers) -> psutil.Process:
    return psutil.Process(servers.postgres.pid)


def _valkey(servers: Servers) -> psutil.Process:
    return psutil.Process(servers.valkey.pid)


def _serve() -> list[str]:
    return [sys.executable, "-m", "service.cli", "serve"]


def _node(script: str) -> Callable[[], list[str]]:
    return lambda: ["node", str(_placed(script))]


def _placed(script: str) -> Path:
    """Copy a script into the folder of its packages, where Node resolves them; return its path."""
    place = build.node_modules() / script
    text = (PEERS / script).read_bytes()
    if not place.exists() or place.read_bytes() != text:
        place.write_bytes(text)
    return place


def _python(script: str) -> Callable[[], list[str]]:
    return lambda: [str(build.python()), str(PEERS / script)]


PRODUCTION = {"NODE_ENV": "production"}

ONRECORD = Candidate("onrecord", "native", 42, _serve)
ONRECORD_SOCKETIO = Candidate("onrecord", "onrecord-socketio", 42, _serve)
ONRECORD_TWO = Candidate("onrecord", "native", 42, _serve, uses_redis=True, workers=2)
LIMIT = Candidate("c-limit", "plain", 116, lambda: [str(build.limit())])
LIMIT_BALLAST = Candidate("c-limit-ballast", "plain", 116, lambda: [str(build.limit())], ballast=True)
LIMIT_JOINED = Candidate("c-limit", "plain", 116, lambda: [str(build.limit()), "10"])
NODE_WS = Candidate("node-ws", "plain", 91, _node("ws.cjs"), environment=PRODUCTION)
NODE_SOCKETIO = Candidate("node-socketio", "socketio", 95, _node("socketio.cjs"), environment=PRODUCTION)
NODE_SOCKETIO_REDIS = Candidate(
    "node-socketio-redis", "socketio", 95, _node("socketio.cjs"), uses_redis=True, environment=PRODUCTION
)
PYTHON_SOCKETIO = Candidate("python-socketio", "socketio", 87, _python("python_socketio.py"))
STARLETTE = Candidate("starlette-broadcaster", "plain", 76, _python("starlette_broadcaster.py"))
PEERS_IN_ORDER = (NODE_WS, NODE_SOCKETIO, NODE_SOCKETIO_REDIS, PYTHON_SOCKETIO, STARLETTE)


def variant(name: str) -> Candidate:
    """Return OnRecord as `onrecord@PYTHON`, `onrecord,NAME=VALUE,...` or both describe it.

    PYTHON is the path of an interpreter, whose environment has the packages; NAME a setting without `ONRECORD_`.

    Raises:
        ValueError: the name has another form.
    """
    server, *settings = name.split(",")
    base, _, python = server.partition("@")
    pairs = [setting.partition("=") for setting in settings]
    if base != "onrecord" or not all(setting and equals for setting, equals, _ in pairs):
        raise ValueError(f"{name!r} is no server: give onrecord@PYTHON or onrecord,SETTING=VALUE")
    chosen = {f"ONRECORD_{setting}": value for setting, _, value in pairs}
    return replace(
        ONRECORD,
        name=name,
        command=lambda: [python or sys.executable, "-m", "service.cli", "serve"],
        environment=chosen,
    )
