"""A process that kills the drill's processes when the drill has ended for any reason.

It reads `+ PID` and `- PID` from its input. The end of the input is the end of the drill, also by SIGKILL: it
kills every process that was added and not removed. It runs in a separate session, so Ctrl-C does not reach it.
"""

import contextlib
import os
import signal
import subprocess
import sys


class Reaper:
    """Registers processes to be killed when this one ends."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, text=True, start_new_session=True
        )

    def watch(self, pid: int) -> None:
        """Kill a process when this one has ended."""
        self._tell(f"+ {pid}")

    def release(self, pid: int) -> None:
        """Remove a process that has ended, since its number may be reused."""
        self._tell(f"- {pid}")

    def close(self) -> None:
        """Kill the remaining processes, and end the reaper."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _tell(self, words: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(words + "\n")
        self._process.stdin.flush()


def main() -> None:
    """Read until the drill has ended, then kill its remaining processes."""
    watched: set[int] = set()
    for line in sys.stdin:
        word, pid = line.split()
        (watched.add if word == "+" else watched.discard)(int(pid))
    for left in watched:
        with contextlib.suppress(ProcessLookupError):
            os.kill(left, signal.SIGKILL)


if __name__ == "__main__":
    main()
