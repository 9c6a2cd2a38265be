"""Runs the benchmark: `python -m bench short | full | churn | one WORKLOAD SERVER | readme [--background]`.

`churn` is the hour-long one of `full` alone; `readme` puts what was measured last into README.md.

The rule: what was measured is written down and shown as it comes; what could not be measured is named, does not stop
the rest, and makes the exit code 1. A run that was cut off goes on where it was, on the same commit, a churn in its
middle. Two runs never measure at once.
"""

import argparse
import fcntl
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace

from bench import plan
from bench.measure import machine
from bench.report import results, tables
from bench.report.results import Notebook, Round
from bench.server_run import server_run
from bench.workloads import FULL, SHORT, Pace, Workload
from bench.world import build
from service import embedded


def main() -> int:
    options = _options()
    if options.form == "readme":
        tables.into_readme()
        return 0
    if options.background:
        return _in_background([word for word in sys.argv[1:] if word != "--background"])
    build.CACHE.mkdir(parents=True, exist_ok=True)
    with (build.CACHE / "measuring").open("w") as alone:
        try:
            fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another run is measuring; two at once would measure each other.", file=sys.stderr)
            return 2
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # in order: the servers end too
        return _measure(options)


def _in_background(words: list[str]) -> int:
    """Start the same run as a process that nobody waits for."""
    said = build.CACHE / f"{words[0]}.log"
    said.parent.mkdir(parents=True, exist_ok=True)
    with said.open("ab") as file:
        started = subprocess.Popen(
            [sys.executable, "-m", "bench", *words],
            cwd=build.ROOT,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    print(f"Process {started.pid} measures; its words are in {said.relative_to(build.ROOT)}.")
    print(f"`kill {started.pid}` cuts it off, and the same command goes on where it was.")
    return 0


def _measure(options: argparse.Namespace) -> int:
    commit = machine.commit()
    plans = {"short": plan.short, "full": plan.full, "churn": plan.churn}
    tasks = plans.get(options.form, lambda: plan.one(*options.what))()
    if not tasks:
        print("No such workload and server; see docs/explanation/speed.md.", file=sys.stderr)
        return 2
    notebook = Notebook(build.CACHE / f"rounds-{options.form}-{commit}.jsonl")
    unfinished = build.CACHE / f"churn-{options.form}-{commit}.jsonl"
    if options.form == "one" or options.fresh:
        notebook.close()
        unfinished.unlink(missing_ok=True)
        notebook = Notebook(build.CACHE / f"rounds-{options.form}-{commit}.jsonl")
    about = machine.described(" ".join(["python -m bench", options.form, *options.what]))
    pace = replace(FULL if options.form in ("full", "churn") else SHORT, unfinished=unfinished)
    failed = _run(tasks, notebook, pace, commit, about, keep=options.form in ("short", "full"))
    print("\n" + tables.report(results.rows(notebook.rounds), notebook.rounds, about))
    for words in failed:
        print(f"Not measured: {words}", file=sys.stderr)
    if not failed:
        notebook.close()
        unfinished.unlink(missing_ok=True)
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
    print(tables.table([]), end="", flush=True)
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
                        tables.write(notebook.rounds, about)
                    print(
                        "| " + " | ".join(tables.cells(row)) + f" | {time.monotonic() - began:.0f} s",
                        flush=True,
                    )
            except Exception as error:  # noqa: BLE001 - one server that fails is not the end of the others
                traceback.print_exc()
                names = " and ".join(one.name for one in left)
                failed.append(f"{names} of {task.candidate.name}, round {task.number}: {error}")
    return failed


def _visit(task: plan.Task, left: list[Workload], servers: embedded.Servers, pace: Pace) -> Iterator[Round]:
    if left:
        with server_run(task.candidate, servers, left[0].shape, left[0].posters) as visit:
            for workload in left:
                yield workload.measure(visit, pace)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("form", choices=["short", "full", "churn", "one", "readme"])
    parser.add_argument("what", nargs="*", help="for `one`: a workload and a server, or `all` servers")
    parser.add_argument(
        "--fresh", action="store_true", help="measure again what an unfinished run has measured"
    )
    parser.add_argument("--background", action="store_true", help="measure in a process of its own")
    options = parser.parse_args()
    if options.form == "one" and len(options.what) != 2:
        parser.error("`one` needs a workload and a server")
    return options


if __name__ == "__main__":
    sys.exit(main())
