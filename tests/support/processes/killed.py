"""A command of OnRecord that is killed with SIGKILL at a chosen point, as by a power cut or the kernel.

    python -m tests.support.processes.killed MODULE:FUNCTION:before|after:TIMES[,MODULE:NAME=NUMBER] audit erase ...

The process is killed before or after the named function of the real program is called for the TIMES-th time.
"""

import functools
import importlib
import inspect
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from service.cli import main


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _deadly(function: Callable[..., Any], when: str, times: int) -> Callable[..., Any]:
    calls = 0

    def count(now: str) -> None:
        nonlocal calls
        calls += now == when
        if calls == times:
            _die()

    @functools.wraps(function)
    def plain(*args: Any, **kwargs: Any) -> Any:
        count("before")
        answer = function(*args, **kwargs)
        count("after")
        return answer

    @functools.wraps(function)
    async def awaited(*args: Any, **kwargs: Any) -> Any:
        count("before")
        answer = await function(*args, **kwargs)
        count("after")
        return answer

    return awaited if inspect.iscoroutinefunction(function) else plain


def _arm(point: str) -> None:
    deadly, *numbers = point.split(",")
    for change in numbers:
        module, _, assignment = change.partition(":")
        name, _, number = assignment.partition("=")
        setattr(importlib.import_module(module), name, int(number))
    module, path, when, times = deadly.split(":")
    *owners, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for each in owners:
        owner = getattr(owner, each)
    setattr(owner, name, _deadly(getattr(owner, name), when, int(times)))


if __name__ == "__main__":
    _arm(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
