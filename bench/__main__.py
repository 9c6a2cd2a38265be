"""Runs the benchmark: `python -m bench pairs | short | full | churn | one | pair | readme`; `--help` has the arguments.

`one WORKLOAD SERVER` measures one server. `pair WORKLOAD SERVER PEER` measures two in turns (`bench.paired`) and saves
the ratios in `bench/results/paired.json`; `pairs` does so for OnRecord and each peer of the plan. `churn` runs only the
hour-long churn of `full`. `readme` writes the last results into README.md.

Each result is saved and printed as soon as it is known. A failed measurement is reported, does not stop the others and
makes the exit code 1. An interrupted run resumes on the same commit; an interrupted churn resumes too. A lock prevents
two runs at once. Every process that a run starts ends with it (`bench.lifetime`).
"""

import argparse
import fcntl
import subprocess
import sys
import time
import traceback
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace

from bench import paired, plan
from bench.lifetime import supervised
from bench.measure import machine
from bench.report import ratios, results, tables
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
    return supervised(lambda: _measure_alone(options))


def _measure_alone(options: argparse.Namespace) -> int:
    """Measure, unless another run does."""
    build.CACHE.mkdir(parents=True, exist_ok=True)
    with (build.CACHE / "measuring").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another run is measuring; two at once would measure each other.", file=sys.stderr)
            return 2
        return _measure(options)


def _in_background(arguments: list[str]) -> int:
    """Start the same run as a detached process that writes to a log file."""
    log = build.CACHE / f"{arguments[0]}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        started = subprocess.Popen(
            [sys.executable, "-m", "bench", *arguments],
            cwd=build.ROOT,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    print(f"Process {started.pid} measures; its output is in {log.relative_to(build.ROOT)}.")
    print(f"`kill {started.pid}` interrupts it; the same command resumes it.")
    return 0


def _measure_pair(options: argparse.Namespace) -> int:
    """Measure two servers in turns; print the ratios of their figures."""
    workload, ours, peer = options.what
    with embedded.throwaway() as servers:
        print(ratios.table(_pair(options, servers, workload, ours, peer)))
    return 0


def _measure_pairs(options: argparse.Namespace) -> int:
    """Measure OnRecord in turns with each peer of the plan; a peer that fails does not stop the others."""
    about, failed = machine.described("python -m bench pairs"), []
    with embedded.throwaway() as servers:
        for workload, peer in paired.PLAN:
            try:
                print(ratios.table(_pair(options, servers, workload, "onrecord", peer)), flush=True)
            except Exception as error:  # noqa: BLE001 - reported at the end
                traceback.print_exc()
                failed.append(f"{workload} with {peer}: {error}")
            results.PAIRED_PAGE.write_text(ratios.report(ratios.merged(results.PAIRED, []), about))
    for failure in failed:
        print(f"Not measured: {failure}", file=sys.stderr)
    return 1 if failed else 0


def _pair(
    options: argparse.Namespace, servers: embedded.Servers, workload: str, ours: str, peer: str
) -> list[ratios.Ratio]:
    """Measure two servers in turns, and save the ratios of their figures."""
    words = ["pair", workload, ours, peer, "--pairs", str(options.pairs)]
    words += [] if options.rate is None else ["--rate", f"{options.rate:g}"]
    command = " ".join(["python -m bench", *words])
    found = paired.measured(workload, ours, peer, servers, options.pairs, options.rate)
    rows = [replace(row, commit=machine.commit(), command=command) for row in found]
    ratios.write(results.PAIRED, ratios.merged(results.PAIRED, rows))
    return rows


def _measure(options: argparse.Namespace) -> int:
    if options.form in ("pair", "pairs"):
        return _measure_pair(options) if options.form == "pair" else _measure_pairs(options)
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
    for failure in failed:
        print(f"Not measured: {failure}", file=sys.stderr)
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
    """Measure what is not in the notebook yet; return a line per failed measurement."""
    failed = []
    print(tables.table([]), end="", flush=True)
    with embedded.throwaway() as servers:
        for task in tasks:
            left = [
                workload
                for workload in task.workloads
                if not notebook.has(workload.name, task.candidate.name, task.number)
            ]
            began = time.monotonic()
            try:
                with closing(_measure_task(task, left, servers, pace)) as rounds:
                    for found in rounds:
                        command = f"python -m bench one {found.row.workload} {found.row.server}"
                        row = replace(found.row, commit=commit, command=command)
                        notebook.add(replace(found, row=row, number=task.number))
                        if keep:
                            tables.write(notebook.rounds, about)
                        print(
                            "| " + " | ".join(tables.cells(row)) + f" | {time.monotonic() - began:.0f} s",
                            flush=True,
                        )
            except Exception as error:  # noqa: BLE001 - a server that fails must not stop the others
                traceback.print_exc()
                names = " and ".join(workload.name for workload in left)
                failed.append(f"{names} of {task.candidate.name}, round {task.number}: {error}")
    return failed


def _measure_task(
    task: plan.Task, left: list[Workload], servers: embedded.Servers, pace: Pace
) -> Generator[Round, None, None]:
    if left:
        with server_run(task.candidate, servers, left[0].shape, left[0].posters) as run:
            for workload in left:
                yield workload.measure(run, pace)


def _is_pair(words: list[str]) -> bool:
    if len(words) != 3 or words[0] not in paired.LOADS:
        return False
    try:
        return all(paired.server(name) for name in words[1:])
    except ValueError:
        return False


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("form", choices=["pairs", "short", "full", "churn", "one", "pair", "readme"])
    parser.add_argument(
        "what",
        nargs="*",
        help="for `one`: a workload and a server, or `all`; for `pair`: a workload and two servers",
    )
    parser.add_argument(
        "--fresh", action="store_true", help="discard the results of an unfinished run and start over"
    )
    parser.add_argument("--background", action="store_true", help="measure in a detached process")
    parser.add_argument(
        "--pairs", type=int, default=paired.PAIRS, help="for `pair`: how many (default: %(default)s)"
    )
    parser.add_argument("--rate", type=float, help="for `pair`: posts a second instead of the workload's")
    options = parser.parse_args()
    if options.form == "pair" and not _is_pair(options.what):
        known = (
            f"{', '.join(paired.LOADS)}; {', '.join(paired.SERVERS)}, onrecord@PYTHON, onrecord,SETTING=VALUE"
        )
        parser.error(f"`pair` needs a workload and two servers, of: {known}")
    if options.form == "one" and len(options.what) != 2:
        parser.error("`one` needs a workload and a server")
    return options


if __name__ == "__main__":
    sys.exit(main())
