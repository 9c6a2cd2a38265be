"""What a check says."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is: nothing, soon or under load, or now."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """One line: the level, the name of what was looked at (it stays the same from version to version), a sentence.

    `code` is the exit code that this finding alone would give.
    """

    level: Level
    name: str
    words: str
    code: int = 0

    def __str__(self) -> str:
        return f"{self.level:4}  {self.name:12}  {self.words}"


def ok(name: str, words: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, name, words)


def warn(name: str, words: str) -> Finding:
    """It works, and will not for long, or not under load."""
    return Finding(Level.WARN, name, words)


def fail(name: str, words: str, code: int = 1) -> Finding:
    """It does not work, or a promise is broken."""
    return Finding(Level.FAIL, name, words, code)


WRONG, UNREACHED = 2, 3
"""Exit codes of `service.cli`: wrong settings, and a server that cannot be reached."""
