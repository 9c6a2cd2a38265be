"""The result of a check."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """The severity: none, soon or under load, or now."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """The level, the name of what was checked (stable between versions) and a sentence.

    `code` is the exit code for this finding alone.
    """

    level: Level
    name: str
    words: str
    code: int = 0

    def __str__(self) -> str:
        return f"{self.level:4}  {self.name:12}  {self.words}"


def ok(name: str, words: str) -> Finding:
    """Return a finding that nothing is wrong."""
    return Finding(Level.OK, name, words)


def warn(name: str, words: str) -> Finding:
    """Return a finding of something that works, but not for long or not under load."""
    return Finding(Level.WARN, name, words)


def fail(name: str, words: str, code: int = 1) -> Finding:
    """Return a finding of something that does not work, or breaks a promise."""
    return Finding(Level.FAIL, name, words, code)


WRONG, UNREACHED = 2, 3
"""Exit codes of `service.cli`: wrong settings, and a server that cannot be reached."""
