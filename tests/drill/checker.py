"""Checks a history as Jepsen does: from what clients saw and the log, without knowledge of how the server works.

Pure: the same history always gives the same findings, so a failed one can be kept, read and checked again
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
    """Return every breach in a history."""
    evidence = Evidence(records)
    return [Finding(name, sentence) for name, rule in RULES.items() for sentence in rule(evidence)]
