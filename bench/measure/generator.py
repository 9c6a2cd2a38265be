"""The load generator (`bench/load`), as a process that is told what to do and answers with figures."""

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
"""What the generator answered: see the commands at the top of `bench/load/main.c`."""

PATIENCE = 90.0
"""Seconds that a command may take beyond what it was told, before the generator counts as stuck."""

AT_ONCE = 200
"""Handshakes under way at any time while everybody connects, unless all come at once."""


class GeneratorFailed(Exception):
    """It ended or is stuck: the server refused the connections, or the machine has not what they need."""


class Generator:
    """So many connections to one server, spread evenly over its rooms; `posters` of each room write."""

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
        words = [
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
            [build.generator(), *map(str, words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )

    @property
    def process(self) -> psutil.Process:
        """The generator itself, to be watched like the servers."""
        return psutil.Process(self._process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:  # closes its pipes
            self._process.kill()

    def connect(self, at_once: int = AT_ONCE, within: float = 120.0) -> Figures:
        """Let everybody in who is away.

        Raises:
            GeneratorFailed: not all came in time.
        """
        figures = self._tell(within, "connect", at_once, within)
        if not figures["all"]:
            raise GeneratorFailed(
                f"only {figures['ready']} of {self.connections} came in {within:g} s: {figures}"
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

        What is missing after `patience` seconds in which nothing came counts as lost.
        """
        return self._tell(seconds, "post", rate, seconds, limit_ms, what, patience)

    def cut(self, seats: int) -> Figures:
        """Cut everybody off but the first seats of each room."""
        return self._tell(0, "cut", seats)

    def idle(self, seconds: float) -> Figures:
        """Do nothing but answer heartbeats."""
        return self._tell(seconds, "idle", seconds)

    def _tell(self, seconds: float, *words: object) -> Figures:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write((" ".join(map(str, words)) + "\n").encode())
        except BrokenPipeError as error:
            raise GeneratorFailed("the generator has ended; its last words are above") from error
        line = b""
        while not line.endswith(b"\n"):
            if not select.select([self._process.stdout], [], [], seconds + PATIENCE)[0]:
                raise GeneratorFailed(f"no answer to {words[0]}")
            part = os.read(self._process.stdout.fileno(), 65536)
            if not part:
                raise GeneratorFailed(f"it ended during {words[0]}; its last words are above")
            line += part
        figures: Figures = json.loads(line)
        return figures
