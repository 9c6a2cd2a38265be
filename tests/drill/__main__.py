"""`python -m tests.drill run | check`: runs drills, a JSON line each, or checks a kept history again.

Exit codes: 0 nothing found, 1 a promise was broken (or a seeded bug not caught), 2 wrong usage.
"""

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from service import embedded
from service.cli import stoppable
from tests.drill.checker import Finding, judge
from tests.drill.drill import BROKEN, Plan, run
from tests.drill.evidence import history as histories
from tests.drill.evidence.history import Delivery, History, Operation
from tests.drill.faults import FAULTS
from tests.drill.faulty import BUGS
from tests.support.processes.failures import unexpected

SHOWN = 5
"""Findings of one rule that a line shows; the others are counted, and a kept history has all of them."""


def main() -> int:
    """Run one command; return its exit code."""
    args = _parser().parse_args()
    with stoppable():
        code: int = args.run(args)
    return code


def drill(args: argparse.Namespace) -> int:
    """`run`: every requested fault and bug."""
    good = True
    with embedded.throwaway() as servers:
        for plan in _plans(args):
            began = time.monotonic()
            history, facts, words = asyncio.run(run(servers, plan))
            findings = judge(history.records)
            failures = unexpected(words, plan.faults[0].logs)
            expected = plan.bug.rule if plan.bug else None
            caught = expected in {one.rule for one in findings}
            passed = caught if expected else not findings and not failures
            line = {
                "fault": ",".join(fault.name for fault in plan.faults),
                "seed": plan.seed,
                **({"bug": plan.bug.name, "caught": passed} if plan.bug else {}),
                **counts(history),
                **facts,
                "findings": shown(findings),
                **({} if plan.bug else {"failures logged": dict(Counter(failures))}),
                "took": round(time.monotonic() - began, 1),
            }
            print(json.dumps(line), flush=True)  # noqa: T201 - a command's output
            good = good and passed
            if args.keep and (findings or failures or args.keep_all):
                _keep(args.keep, plan, history, words)
    return 0 if good else 1


def check(args: argparse.Namespace) -> int:
    """`check`: check a history again."""
    findings = judge(histories.load(args.file).records)
    for one in findings:
        print(json.dumps({"rule": one.rule, "finding": one.sentence}))  # noqa: T201 - a command's output
    return 1 if findings else 0


def counts(history: History) -> dict[str, int]:
    """Return how many records of each kind a history has."""
    tries = [one for one in history.records if isinstance(one, Operation)]
    refs = Counter((one.user, one.ref) for one in tries if one.op in ("send", "join", "leave"))
    return {
        "ops": len(tries),
        "acked": sum(one.outcome == "ok" for one in tries),
        "refused": sum(one.outcome == "refused" for one in tries),
        "unknown": sum(one.outcome == "unknown" for one in tries),
        "retried": sum(times - 1 for times in refs.values()),
        "connections": len({one.connection for one in tries}),
        "delivered": sum(isinstance(one, Delivery) for one in history.records),
    }


def shown(findings: list[Finding]) -> list[str]:
    """Return the findings that a line shows."""
    by_rule: dict[str, list[str]] = {}
    for one in findings:
        by_rule.setdefault(one.rule, []).append(one.sentence)
    lines = []
    for rule, sentences in by_rule.items():
        lines += [f"{rule}: {sentence}" for sentence in sentences[:SHOWN]]
        if len(sentences) > SHOWN:
            lines.append(f"{rule}: and {len(sentences) - SHOWN} more")
    return lines


def _plans(args: argparse.Namespace) -> list[Plan]:
    common: dict[str, Any] = {
        "seed": args.seed,
        "seconds": args.seconds,
        "rate": args.rate,
        "nodes": args.nodes,
    }
    if args.bugs:
        return [
            Plan(faults=(FAULTS[bug.fault],), bug=bug, **BROKEN, projector=True, **common)
            for bug in map(BUGS.__getitem__, args.bugs)
        ]
    return [Plan(faults=(FAULTS[name],), projector=True, **common) for name in args.faults]


def _keep(place: Path, plan: Plan, history: History, words: list[str]) -> None:
    place.mkdir(parents=True, exist_ok=True)
    name = f"{plan.bug.name if plan.bug else plan.faults[0].name}-{plan.seed}"
    history.save(place / f"{name}.ndjson")
    (place / f"{name}.log").write_text("".join(words))


def _names(known: dict[str, Any]) -> Any:
    def parse(word: str) -> list[str]:
        names = list(known) if word == "all" else word.split(",")
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"there is no {unknown[0]}; there are {', '.join(known)}")
        return names

    return parse


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.drill", description="Fault drills.")
    words = parser.add_subparsers(required=True, metavar="COMMAND")
    doing = words.add_parser("run", help="break things under load; a JSON line per fault")
    doing.set_defaults(run=drill)
    doing.add_argument("--faults", type=_names(FAULTS), default=list(FAULTS), metavar="A,B|all")
    doing.add_argument("--bugs", type=_names(BUGS), nargs="?", const=list(BUGS), metavar="A,B|all")
    doing.add_argument("--seed", type=int, default=1)
    doing.add_argument("--seconds", type=float, default=12.0, help="under load, beside the fault")
    doing.add_argument("--rate", type=float, default=60.0, help="actions a second, of everybody together")
    doing.add_argument("--nodes", type=int, default=2)
    doing.add_argument("--keep", type=Path, metavar="DIR", help="where histories with findings are kept")
    doing.add_argument("--keep-all", action="store_true", help="keep the others too")
    judging = words.add_parser("check", help="judge a history that was kept")
    judging.set_defaults(run=check)
    judging.add_argument("file", type=Path)
    return parser


if __name__ == "__main__":
    sys.exit(main())
