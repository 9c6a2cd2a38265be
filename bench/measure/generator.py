"""Runs the load generator (`bench/load`) as a process: commands go to its stdin, figures come from its stdout."""

import json
import os
import select
import subprocess
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import psutil

from bench.world import build

Figures = dict[str, Any]
"""The generator's answer to a command; see the top of `bench/load/main.c`."""

PATIENCE = 90.0
"""Seconds that a command may take beyond its own duration, before the generator counts as stuck."""

AT_ONCE = 200
"""Concurrent handshakes while the clients connect, unless all are to connect at once."""


class GeneratorFailed(Exception):
    """The generator ended or is stuck: the server refused connections, or the machine lacks resources for them."""


class Generator:
    """Connections to one server, spread evenly over its rooms; `posters` clients of each room write.

    `door` is the protocol, `content` the length of a message's content, `cursor` the seq from which clients read.
    """

    def __init__(
        self,
        port: int,
        door: str,
        *,
        connections: int,
        rooms: int,
        posters: int,
        content: int = 80,
        tokens: Path | None = None,
        cursor: int = 0,
    ) -> None:
        self.connections = connections
        arguments = [
            port,
            door,
            connections,
            rooms,
            posters,
            uuid4().hex[:8],
            "x" * content,
            tokens or "-",
            cursor,
        ]
        self._process = subprocess.Popen(
            [build.generator(), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )

    @property
    def process(self) -> psutil.Process:
        """The generator's process, which is watched like the servers."""
        return psutil.Process(self._process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:  # closes its pipes
            self._process.kill()

    def connect(self, at_once: int = AT_ONCE, within: float = 120.0) -> Figures:
        """Connect all clients that are not connected.

        Raises:
            GeneratorFailed: not all were connected `within` this many seconds.
        """
        figures = self._command(within, "connect", at_once, within)
        if not figures["all"]:
            raise GeneratorFailed(
                f"only {figures['ready']} of {self.connections} connected within {within:g} s: {figures}"
            )
        return figures

    def post(
        self,
        rate: float,
        seconds: float,
        limit_ms: float = 1e6,
        what: str = "deliveries",
        patience: float = 10.0,
    ) -> Figures:
        """Post at a rate; stop early once more than 1 % of `what` (deliveries or acks) took longer than the limit.

        Deliveries that are missing after `patience` seconds without any delivery count as lost.
        """
        return self._command(seconds, "post", rate, seconds, limit_ms, what, patience)

    def cut(self, seats: int) -> Figures:
        """Disconnect all clients except the first `seats` of each room."""
        return self._command(0, "cut", seats)

    def idle(self, seconds: float) -> Figures:
        """Only answer heartbeats for this long."""
        return self._command(seconds, "idle", seconds)

    def _command(self, seconds: float, *words: object) -> Figures:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write((" ".join(map(str, words)) + "\n").encode())
        except BrokenPipeError as error:
            raise GeneratorFailed("the generator has ended; its output is above") from error
        line = b""
        while not line.endswith(b"\n"):
            if not select.select([self._process.stdout], [], [], seconds + PATIENCE)[0]:
                raise GeneratorFailed(f"no answer to {words[0]}")
            part = os.read(self._process.stdout.fileno(), 65536)
            if not part:
                raise GeneratorFailed(f"the generator ended during {words[0]}; its output is above")
            line += part
        figures: Figures = json.loads(line)
        return figures
