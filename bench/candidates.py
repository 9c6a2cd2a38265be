"""The servers that are measured, each started as an operator would start it, and what is watched of each."""

import base64
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil

from bench.world import build, fixtures
from bench.world.fixtures import Shape
from service.embedded import Servers

PEERS = build.HERE / "peers"
STOPS_WITHIN = 30.0


class DidNotStart(Exception):
    """A server ended, or said nothing; the message has its last words."""


@dataclass
class Running:
    """A server that listens. `parts` are the processes to watch; `server` is the one whose cost is compared."""

    port: int
    parts: dict[str, psutil.Process]
    tokens: Path | None = None
    cursor: int = 0
    """The seq that people have heard their room up to."""
    database: str = ""
    """Where its log is, for whoever looks there too."""


@dataclass(frozen=True)
class Candidate:
    """`content` is such that a message is about 200 bytes when it is delivered."""

    name: str
    door: str
    content: int
    command: Callable[[], list[str]]
    uses_redis: bool = False
    workers: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)

    @contextmanager
    def running(self, servers: Servers, shape: Shape) -> Iterator[Running]:
        """Run it until the block ends."""
        with ExitStack() as stack:
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="onrecord-bench-")))
            env = {key: value for key, value in os.environ.items() if not key.startswith("ONRECORD_")}
            env |= self.environment
            if self.name == "onrecord":
                yield _onrecord(self, stack, servers, shape, place, env)
                return
            parts = {}
            if self.uses_redis:
                env["REDIS_URL"] = servers.redis_url
                parts["redis"] = _valkey(servers)
            process, port = _start(stack, self.command(), env, place / "server.log", "PORT ")
            yield Running(port, {"server": process, **parts})


def _onrecord(
    candidate: Candidate, stack: ExitStack, servers: Servers, shape: Shape, place: Path, env: dict[str, str]
) -> Running:
    """A node (or several on one port) and a projector, over a database of this run's own."""
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
        "ONRECORD_RATE_BURST": "0",  # ten people of a room write for all
        "ONRECORD_HANDSHAKE_BURST": "0",  # everybody comes from one address
    }
    if candidate.uses_redis:
        env |= {
            "ONRECORD_REDIS_URL": servers.redis_url,
            "ONRECORD_BUS_KEY": base64.b64encode(os.urandom(32)).decode(),
        }
        parts["redis"] = _valkey(servers)
    serve = [*candidate.command(), *(["--workers", str(candidate.workers)] if candidate.workers > 1 else [])]
    parts["server"], port = _start(stack, serve, env, place / "serve.log", "http://")
    project = [sys.executable, "-m", "service.cli", "project", "run"]
    parts["projector"], _ = _start(stack, project, env, place / "project.log", None)
    return Running(port, parts, fixtures.tokens(shape, place / "tokens"), shape.head, app)


def _start(
    stack: ExitStack, command: list[str], env: dict[str, str], log: Path, says: str | None
) -> tuple[psutil.Process, int]:
    """Start a process that is stopped with the stack; return it and the port that it says, if it is to say one."""
    words = stack.enter_context(log.open("wb"))
    process = subprocess.Popen(command, cwd=build.ROOT, env=env, stdout=subprocess.PIPE, stderr=words)
    stack.callback(_stop, process)
    assert process.stdout is not None
    port = _port(process, process.stdout, log, says) if says else 0
    return psutil.Process(process.pid), port


def _port(process: "subprocess.Popen[bytes]", out: IO[bytes], log: Path, says: str) -> int:
    for line in iter(out.readline, b""):
        if says in (text := line.decode()):
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
    """A script beside its packages: Node looks for them from where the script is."""
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
LIMIT_JOINED = Candidate("c-limit", "plain", 116, lambda: [str(build.limit()), "10"])
NODE_WS = Candidate("node-ws", "plain", 91, _node("ws.cjs"), environment=PRODUCTION)
NODE_SOCKETIO = Candidate("node-socketio", "socketio", 95, _node("socketio.cjs"), environment=PRODUCTION)
NODE_SOCKETIO_REDIS = Candidate(
    "node-socketio-redis", "socketio", 95, _node("socketio.cjs"), uses_redis=True, environment=PRODUCTION
)
PYTHON_SOCKETIO = Candidate("python-socketio", "socketio", 87, _python("python_socketio.py"))
STARLETTE = Candidate("starlette-broadcaster", "plain", 76, _python("starlette_broadcaster.py"))
PEERS_IN_ORDER = (NODE_WS, NODE_SOCKETIO, NODE_SOCKETIO_REDIS, PYTHON_SOCKETIO, STARLETTE)
