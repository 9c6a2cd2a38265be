"""Nothing is left behind: a process that ends the drill's processes when the drill itself is gone, however it went.

It reads `+ PID` and `- PID` from its input. The end of the input is the end of the drill, also by SIGKILL: it
kills every process that was named and not taken back. It runs in a session of its own, so that Ctrl-C leaves it alone.
"""

import contextlib
import os
import signal
import subprocess
import sys


class Reaper:
    """Watches over processes for as long as this one lives."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, text=True, start_new_session=True
        )

    def watch(self, pid: int) -> None:
        """End a process when this one is gone."""
        self._tell(f"+ {pid}")

    def release(self, pid: int) -> None:
        """Forget a process that has ended: its number may soon be another's."""
        self._tell(f"- {pid}")

    def close(self) -> None:
        """End what is still watched, and the watching."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _tell(self, words: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(words + "\n")
        self._process.stdin.flush()


def main() -> None:
    """Listen until the drill is gone; then end what it left behind."""
    watched: set[int] = set()
    for line in sys.stdin:
        word, pid = line.split()
        (watched.add if word == "+" else watched.discard)(int(pid))
    for left in watched:
        with contextlib.suppress(ProcessLookupError):
            os.kill(left, signal.SIGKILL)


if __name__ == "__main__":
    main()
