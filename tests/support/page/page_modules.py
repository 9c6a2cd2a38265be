"""The page's modules in one long-running Node process, without a browser."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.environment import ROOT

STATIC = ROOT / "service" / "static"
DRIVER = Path(__file__).with_suffix(".mjs")


class PageModules:
    """Calls of the page's functions; values are JSON, maps are objects."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def begin(self, user: str) -> Any:
        """Return the state of a user before the first action."""
        return self._ask({"request": "begin", "userId": user})

    def apply(self, *actions: dict[str, Any]) -> Any:
        """Return the state after further actions."""
        return self._ask({"request": "apply", "actions": actions})

    def call(self, module: str, name: str, *args: object) -> Any:
        """Return what a function of a module returns."""
        return self._ask({"request": "call", "module": module, "name": name, "args": args})

    def line(self) -> None:
        """Begin with a new outbox and heartbeat, at the time 0 of a clock that only `advance` moves."""
        self._ask({"request": "line"})

    def add(self, kind: str, ref: str, **fields: object) -> list[Any]:
        """Add a command to the outbox. Like the next three, return what happened: frames, results, pings, `dead`."""
        return self._happened({"request": "add", "type": kind, "ref": ref, "fields": fields})

    def outbox(self, method: str, *args: object) -> list[Any]:
        """Call a method of the outbox."""
        return self._happened({"request": "outbox", "method": method, "args": args})

    def heartbeat(self, method: str, *args: object) -> list[Any]:
        """Call a method of the heartbeat."""
        return self._happened({"request": "heartbeat", "method": method, "args": args})

    def advance(self, seconds: float) -> list[Any]:
        """Let seconds pass."""
        return self._happened({"request": "advance", "seconds": seconds})

    def _happened(self, request: dict[str, Any]) -> list[Any]:
        happened = self._ask(request)
        assert isinstance(happened, list)
        return happened

    def _ask(self, request: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer["value"]


@contextmanager
def page_modules(place: Path) -> Iterator[PageModules]:
    """Give the modules for as long as the block lasts. `place` gets a copy of them that Node takes for ES modules."""
    shutil.copytree(STATIC, place, dirs_exist_ok=True)
    (place / "package.json").write_text('{"type": "module"}')
    command = ["node", str(DRIVER), str(place)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield PageModules(process)
        finally:
            process.kill()
