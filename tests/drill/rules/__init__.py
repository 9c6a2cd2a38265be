"""The rules, by name: each takes the evidence and yields a sentence with the observation for each breach.

Invariant: rules are pure, and no rule relies on the result of another.
"""

from collections.abc import Callable, Iterator

from tests.drill.evidence.evidence import Evidence
from tests.drill.rules import answers, log, pages, streams

Rule = Callable[[Evidence], Iterator[str]]

RULES: dict[str, Rule] = {
    "lost": answers.acknowledged,
    "twice": log.once,
    "invented": log.meant,
    "hole": log.numbered,
    "clock": log.clock,
    "retry": answers.same_answer,
    "real-time": answers.real_time,
    "refused": answers.refused,
    "unanswered": answers.unanswered,
    "order": streams.contiguous,
    "told-wrong": streams.true,
    "too-early": streams.not_before_it_was_said,
    "skipped": streams.continued,
    "unheard": streams.heard_in_silence,
    "absent": streams.present,
    "leak": streams.permitted,
    "unrecovered": streams.recovered,
    "closed": streams.closed,
    "page": pages.whole,
    "page-wrong": pages.true,
}
"""Every rule. Its docstring is its meaning, which the table in docs/explanation/reliability.md repeats."""
