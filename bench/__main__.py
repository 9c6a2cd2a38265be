"""Runs the benchmark: `python -m bench short | full | one WORKLOAD SERVER | readme`.

`readme` puts what was measured last into README.md.

The rule: what was measured is written down and shown as it comes; what could not be measured is named, does not stop
the rest, and makes the exit code 1. A run that was cut off goes on where it was, on the same commit.
"""

import argparse
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace

from bench import building, machine, plan, reports, results
from bench.results import Notebook, Round
from bench.visits import visiting
from bench.workloads import FULL, SHORT, Pace, Workload
from service import embedded


def main() -> int:
    options = _options()
    if options.form == "readme":
        reports.into_readme()
        return 0
    commit = machine.commit()
    tasks = {"short": plan.short, "full": plan.full}.get(options.form, lambda: plan.one(*options.what))()
    if not tasks:
        print("No such workload and server; see docs/speed.md.", file=sys.stderr)
        return 2
    notebook = Notebook(building.CACHE / f"rounds-{options.form}-{commit}.jsonl")
    if options.form == "one" or options.fresh:
        notebook.close()
        notebook = Notebook(building.CACHE / f"rounds-{options.form}-{commit}.jsonl")
    about = machine.described(" ".join(["python -m bench", options.form, *options.what]))
    building.generator()
    failed = _run(
        tasks, notebook, FULL if options.form == "full" else SHORT, commit, about, keep=options.form != "one"
    )
    print("\n" + reports.report(results.rows(notebook.rounds), notebook.rounds, about))
    for words in failed:
        print(f"Not measured: {words}", file=sys.stderr)
    if not failed:
        notebook.close()
    return 1 if failed else 0


def _run(
    tasks: list[plan.Task],
    notebook: Notebook,
    pace: Pace,
    commit: str,
    about: dict[str, object],
    *,
    keep: bool,
) -> list[str]:
    """Measure what the notebook has not; return what could not be measured."""
    failed = []
    print(reports.table([]), end="", flush=True)
    with embedded.throwaway() as servers:
        for task in tasks:
            left = [
                one for one in task.workloads if not notebook.has(one.name, task.candidate.name, task.number)
            ]
            began = time.monotonic()
            try:
                for found in _visit(task, left, servers, pace):
                    command = f"python -m bench one {found.row.workload} {found.row.server}"
                    row = replace(found.row, commit=commit, command=command)
                    notebook.add(replace(found, row=row, number=task.number))
                    if keep:
                        reports.write(notebook.rounds, about)
                    print(
                        "| " + " | ".join(reports.cells(row)) + f" | {time.monotonic() - began:.0f} s",
                        flush=True,
                    )
            except Exception as error:  # noqa: BLE001 - one server that fails is not the end of the others
                traceback.print_exc()
                names = " and ".join(one.name for one in left)
                failed.append(f"{names} of {task.candidate.name}, round {task.number}: {error}")
    return failed


def _visit(task: plan.Task, left: list[Workload], servers: embedded.Servers, pace: Pace) -> Iterator[Round]:
    if left:
        with visiting(task.candidate, servers, left[0].shape, left[0].posters) as visit:
            for workload in left:
                yield workload.measure(visit, pace)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("form", choices=["short", "full", "one", "readme"])
    parser.add_argument("what", nargs="*", help="for `one`: a workload and a server, or `all` servers")
    parser.add_argument(
        "--fresh", action="store_true", help="measure again what an unfinished run has measured"
    )
    options = parser.parse_args()
    if options.form == "one" and len(options.what) != 2:
        parser.error("`one` needs a workload and a server")
    return options


if __name__ == "__main__":
    sys.exit(main())
