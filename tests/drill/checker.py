"""Judges a history as Jepsen would: by what clients saw and the log says, knowing nothing of how the server works.

Pure: the same history is always judged alike, so one that failed can be kept, read and judged again
(`python -m tests.drill check FILE`).
"""

from collections.abc import Iterable

import msgspec

from tests.drill.evidence.evidence import Evidence
from tests.drill.evidence.history import Record
from tests.drill.rules import RULES


class Finding(msgspec.Struct, frozen=True):
    """A breach of a promise: the rule's name, and a sentence with the evidence."""

    rule: str
    sentence: str


def judge(records: Iterable[Record]) -> list[Finding]:
    """Return every breach that a history shows; none means that no promise was seen broken."""
    evidence = Evidence(records)
    return [Finding(name, sentence) for name, rule in RULES.items() for sentence in rule(evidence)]
