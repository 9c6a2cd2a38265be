"""What a benchmark starts ends with it: on Ctrl-C, and when either of its processes is killed."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from bench.world import build
from tests.support.waiting import until

# A measurement during a peer's turn. The peer and a process that it starts in a session of its own ignore SIGTERM.
MEASUREMENT = """
import json, os, sys, time
import psutil
from bench import candidates
from bench.lifetime import supervised
from bench.world.fixtures import Shape
from service import embedded

candidates.STOPS_WITHIN = 0.1
PEER = '''
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"], start_new_session=True)
print("PORT 1", flush=True)
time.sleep(3600)
'''
peer = candidates.Candidate("peer", "plain", 1, lambda: [sys.executable, "-c", PEER], uses_redis=True)

def measure():
    with embedded.throwaway() as servers, peer.running(servers, Shape(people=1, rooms=1)):
        started = psutil.Process().children(recursive=True)
        pids = {"measuring": os.getpid(), "started": [process.pid for process in started]}
        print(json.dumps(pids | {"directory": str(servers.data_dir)}), flush=True)
        time.sleep(3600)

sys.exit(supervised(measure))
"""


def interrupt(supervisor: int, _measuring: int) -> None:
    """Send what Ctrl-C sends to a terminal's foreground job."""
    os.killpg(supervisor, signal.SIGINT)


def kill_supervisor(supervisor: int, _measuring: int) -> None:
    os.kill(supervisor, signal.SIGKILL)


def kill_measuring_process(_supervisor: int, measuring: int) -> None:
    os.kill(measuring, signal.SIGKILL)


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("end", [interrupt, kill_supervisor, kill_measuring_process])
async def test_every_process_ends_with_the_benchmark(end: Callable[[int, int], None]) -> None:
    command = [sys.executable, "-c", MEASUREMENT]
    with subprocess.Popen(  # noqa: ASYNC220 - the loop has no other work
        command, cwd=build.ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        pids = json.loads(process.stdout.readline())
        started = [psutil.Process(pid).name() for pid in pids["started"]]
        assert {"postgres", "valkey-server"} <= set(started)
        assert sum(name.startswith("python") for name in started) == 2, "the peer, and what it started"
        end(process.pid, pids["measuring"])
        process.wait()
        await until(lambda: not any(map(lives, [pids["measuring"], *pids["started"]])))


def test_every_benchmark_is_supervised() -> None:
    programs = {
        path.relative_to(build.HERE): path.read_text()
        for path in build.HERE.rglob("*.py")
        if "peers" not in path.parts and re.search("^if __name__ ==", path.read_text(), re.MULTILINE)
    }
    assert len(programs) == 13
    assert {str(place) for place, text in programs.items() if "sys.exit(supervised(main))\n" not in text} == {
        "__main__.py",  # `--background` starts a process that outlives it; all others end with it
        "experiments/cpu_profile.py",  # runs a module in its own process, and starts none
    }
    assert programs[Path("__main__.py")].count("return supervised(") == 1
