"""The result of a check."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """No fault, a fault that will show later or under load, or a fault now."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """The level, the name of the check (stable between versions), a sentence, and the exit code of this finding."""

    level: Level
    name: str
    words: str
    code: int = 0

    def __str__(self) -> str:
        return f"{self.level:4}  {self.name:12}  {self.words}"


def ok(name: str, words: str) -> Finding:
    """Return a finding without a fault."""
    return Finding(Level.OK, name, words)


def warn(name: str, words: str) -> Finding:
    """Return a fault that will show later or under load."""
    return Finding(Level.WARN, name, words)


def fail(name: str, words: str, code: int = 1) -> Finding:
    """Return a fault: something does not work, or breaks a promise."""
    return Finding(Level.FAIL, name, words, code)


def described(error: BaseException) -> str:
    """Return an error's message in one line, without a full stop."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


WRONG, UNREACHED = 2, 3
"""Exit codes of `service.cli`: wrong settings, and a server that cannot be reached."""
