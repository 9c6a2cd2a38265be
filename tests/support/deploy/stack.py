"""docker-compose.yml without containers: its exact commands and environment as plain processes.

The tasks of a container engine are replaced: a service's name and port by a port of 127.0.0.1, the image's
programs by those of this machine, and a mounted configuration by its file. The image of PostgreSQL makes its
cluster by itself, so here it comes from the wheel, with the same passwords and the file's own SQL for its roles.
"""

import asyncio
import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import yaml

from service import embedded
from service.config import development
from service.embedded.daemon import free_port
from tests.support.environment import KEY_ENCRYPTION_KEY, ROOT, SECRET
from tests.support.processes.processes import Process, collect, ended, watched
from tests.support.servers.brokers import program
from tests.support.servers.databases import Database, database_of

STARTS = 60.0
"""Seconds within which a service has to become healthy; otherwise the stack fails."""

NAMES = (
    "postgres:5432",
    "redis:6379",
    "node1:8000",
    "node2:8000",
    "demo:8000",
    "0.0.0.0:8000",
    "0.0.0.0:5432",
)


def variables() -> dict[str, str]:
    """Return what `scripts/secrets` writes to .env, with the tests' own keys, and with rooms that a join opens."""
    with tempfile.TemporaryDirectory() as place:
        subprocess.run([ROOT / "scripts" / "secrets", f"{place}/.env"], check=True)
        lines = (Path(place) / ".env").read_text().splitlines()
    made = dict(line.split("=", 1) for line in lines)
    assert {"ONRECORD_JWT_SECRET", "ONRECORD_KEY_ENCRYPTION_KEY", "ONRECORD_BUS_KEY"} < made.keys()
    own = {"ONRECORD_JWT_SECRET": SECRET, "ONRECORD_KEY_ENCRYPTION_KEY": KEY_ENCRYPTION_KEY}
    return made | own | {"JOIN_CREATES": "true"}


def document(given: dict[str, str]) -> dict[str, Any]:
    """Return docker-compose.yml with its variables replaced, as Compose does.

    Raises:
        KeyError: a required variable is not set.
    """

    def value(found: "re.Match[str]") -> str:
        name, operator, rest = found.groups()
        if name is None:
            return "$"
        return given.get(name) or rest if operator == ":-" else given[name]

    def filled(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: filled(one) for key, one in part.items()}
        if isinstance(part, list):
            return [filled(one) for one in part]
        return re.sub(r"\$\$|\$\{(\w+)(:[-?]|\?)([^}]*)\}", value, part) if isinstance(part, str) else part

    return dict(filled(yaml.safe_load((ROOT / "docker-compose.yml").read_text())))


def image() -> dict[str, Any]:
    """Return the environment and entrypoint in the Dockerfile."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    env = dict(re.findall(r"(\w+)=(\S+)", " ".join(re.findall(r"^ENV (.*)$", text, re.MULTILINE))))
    (entrypoint,) = re.findall(r"^ENTRYPOINT (.*)$", text, re.MULTILINE)
    (healthcheck,) = re.findall(r"^HEALTHCHECK .*?CMD (.*)$", text, re.MULTILINE)
    return {
        "environment": {name: value for name, value in env.items() if name.startswith("ONRECORD_")},
        "entrypoint": json.loads(entrypoint),
        "healthcheck": json.loads(healthcheck),
    }


@dataclass
class Stack:
    """The running services, with their addresses."""

    document: dict[str, Any]
    variables: dict[str, str]
    database: Database
    addresses: dict[str, str]
    programs: Path
    place: Path
    running: dict[str, Process] = field(default_factory=dict)
    collecting: list["asyncio.Task[None]"] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The balancer's address for clients."""
        return f"http://{self.addresses['0.0.0.0:8000']}"

    def environment(self, name: str) -> dict[str, str]:
        """Return a service's environment: the image's, the file's, and the replaced addresses."""
        service = self.document["services"][name]
        own = image()["environment"] if "build" in service else {}
        given = {key: str(value) for key, value in (own | service.get("environment", {})).items()}
        for old, new in self.addresses.items():
            given = {key: value.replace(old, new) for key, value in given.items()}
        if "PGHOST" in given:
            given["PGHOST"], _, given["PGPORT"] = self.addresses["postgres:5432"].partition(":")
        if "ONRECORD_HOST" in given:
            given["ONRECORD_HOST"] = "127.0.0.1"
            port = self.addresses.get(f"{name}:8000", ":0").rpartition(":")[2]
            given |= {"ONRECORD_PORT": port, "ONRECORD_METRICS_PORT": str(free_port())}
        return given | {"PATH": os.environ["PATH"]}

    def command(self, name: str) -> list[str]:
        """Return the command that starts a service."""
        service = self.document["services"][name]
        words: list[str] = [*(image()["entrypoint"] if "build" in service else []), *service["command"]]
        for config in service.get("configs", []):
            source = self.document["configs"][config["source"]]
            words = [word.replace(config["target"], str(self._mounted(source))) for word in words]
        if words[0] == "psql":
            words[0] = str(self.programs / "psql")
        if words[0] == "onrecord":
            words[0] = str(Path(sys.executable).with_name("onrecord"))
        if words[0] == "valkey-server":
            host, _, port = self.addresses["redis:6379"].partition(":")
            words = [program("valkey"), *words[1:], "--bind", host, "--port", port]
        return words

    def _mounted(self, source: dict[str, str]) -> Path:
        """Return the file that the engine mounts for a configuration."""
        if "file" in source:
            return ROOT / source["file"]
        with tempfile.NamedTemporaryFile("w", suffix=".sql", dir=self.place, delete=False) as file:
            file.write(source["content"])
        return Path(file.name)

    async def run(self, name: str) -> tuple[int, str]:
        """Run a service to its end; return its exit code and what it printed."""
        process = await asyncio.create_subprocess_exec(
            *self.command(name), env=self.environment(name), cwd="/",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        code, out, _ = await ended(watched(Process(process)))
        return code, out

    async def start(self, name: str) -> None:
        """Start a service; returns when its health check is content."""
        process = await asyncio.create_subprocess_exec(
            *self.command(name), env=self.environment(name), cwd=tempfile.gettempdir(),
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self.running[name] = started = watched(Process(process))
        self.collecting.append(asyncio.create_task(collect(started)))
        async with asyncio.timeout(STARTS):
            while not await self.healthy(name):
                assert process.returncode is None, f"{name} ended: {''.join(started.words)}"
                await asyncio.sleep(0.05)

    async def healthy(self, name: str) -> bool:
        """Run a service's own health check: that of the image is for liveness, that of the file for readiness."""
        service = self.document["services"][name]
        test = service.get("healthcheck", {}).get("test", [])[1:]
        if not test:
            listening = {"redis": "redis:6379", "balancer": "0.0.0.0:8000", "analytics": "0.0.0.0:5432"}
            return await self._listens(listening.get(name, ""))
        return all([await self._asked(name, words) for words in (test, image()["healthcheck"])])

    async def _listens(self, name: str) -> bool:
        """Return whether an address accepts connections; true for no address."""
        if not name:
            return True
        host, _, port = self.addresses[name].partition(":")
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    async def _asked(self, name: str, words: list[str]) -> bool:
        here = [word.replace("127.0.0.1:8000", self.addresses[f"{name}:8000"]) for word in words]
        assert here[0] == "python"
        asking = await asyncio.create_subprocess_exec(
            sys.executable, *here[1:], env=self.environment(name), stderr=asyncio.subprocess.DEVNULL
        )
        return await asking.wait() == 0

    async def stop(self, name: str) -> int:
        """Stop a service as the engine does, after its grace period by force. Return its exit code."""
        grace = float(self.document["services"][name].get("stop_grace_period", "10s").removesuffix("s"))
        async with asyncio.timeout(grace):
            return await self.running.pop(name).stop()

    async def close(self) -> None:
        """Stop the running services, the last first."""
        for name in reversed(list(self.running)):
            process = self.running.pop(name)
            if process.process.returncode is None:
                await process.stop()
            print(f"--- {name}\n{''.join(process.words)}")  # noqa: T201 - pytest shows it where a test has failed
        await asyncio.gather(*self.collecting)


@contextmanager
def postgres(place: Path, given: dict[str, str]) -> Iterator[embedded.Servers]:
    """Give a PostgreSQL with the passwords of the file."""
    keys = development.Keys(owner_password=given["POSTGRES_PASSWORD"], app_password=given["APP_PASSWORD"])
    (place / development.KEYS).write_text(json.dumps(dataclasses.asdict(keys)))
    with embedded.servers(place) as servers:
        yield servers


@asynccontextmanager
async def stack(place: Path) -> AsyncIterator[Stack]:
    """Give all services of the file, started in the order of their dependencies."""
    given = variables()
    filled = document(given)
    with postgres(place, given) as servers:
        addresses = {name: f"127.0.0.1:{free_port()}" for name in NAMES}
        addresses["postgres:5432"] = f"127.0.0.1:{servers.postgres.port}"
        with psycopg.connect(servers.superuser_database_url, autocommit=True) as owner:
            owner.execute("DROP ROLE onrecord_app, onrecord_worker")
        database = database_of(servers)
        made = Stack(filled, given, database, addresses, servers.postgres.programs, place)
        try:
            await made.start("redis")
            assert await made.run("roles") == (0, "")
            code, versions = await made.run("migrate")
            assert code == 0
            assert versions, "nothing was migrated"
            await asyncio.gather(*map(made.start, ("node1", "node2", "projector")))
            await made.start("balancer")
            yield made
        finally:
            await made.close()
