"""The plans of the benchmark's forms. Servers take turns, so that a slow minute of the machine affects them all."""

from typing import NamedTuple

from bench import candidates as c
from bench import workloads as w


class Task(NamedTuple):
    """Workloads to measure on one server, one after the other; all have the same users and rooms."""

    workloads: tuple[w.Workload, ...]
    candidate: c.Candidate
    number: int


def short() -> list[Task]:
    """Return the tasks of `make bench`, about ten minutes."""
    return [
        *_rounds(w.W1, (c.LIMIT,), 1),
        Task((w.W1, w.W4), c.ONRECORD, 1),
        *_rounds(w.W1, c.PEERS_IN_ORDER, 1),
        *_rounds(w.W2, (c.LIMIT, c.ONRECORD, c.NODE_WS, c.NODE_SOCKETIO), 1),
        Task((w.W3, w.CHURN), c.ONRECORD, 1),
        *_rounds(w.HOT_ROOMS, (c.ONRECORD_TWO,), 1),
        *_rounds(w.W5, (c.ONRECORD_TWO,), 1),
        *_rounds(w.W1, (c.LIMIT, c.ONRECORD), 1, first=2),
        *_rounds(w.W2, (c.LIMIT, c.ONRECORD), 1, first=2),
    ]


def full() -> list[Task]:
    """Return the tasks of `make bench-full`."""
    return [
        *_rounds(w.W1, (c.LIMIT, c.ONRECORD, *c.PEERS_IN_ORDER), 3),
        *_rounds(w.W1_JOINED, (c.LIMIT_JOINED,), 3),
        *_rounds(w.W1_SOCKETIO, (c.ONRECORD_SOCKETIO,), 3),
        *(
            task
            for rate in (1.0, 2.0, 5.0, 10.0)
            for task in _rounds(
                w.Fixed("W2" if rate == 1.0 else f"W2-{rate:g}", w.ONE_ROOM, rate=rate),
                (c.LIMIT, c.ONRECORD, *(c.PEERS_IN_ORDER if rate == 1.0 else ())),
                3,
            )
        ),
        *_rounds(w.Fixed("W2-two", w.ONE_ROOM), (c.ONRECORD_TWO,), 3),
        *_rounds(w.W3, (c.ONRECORD,), 3),
        *_rounds(w.W4, (c.ONRECORD,), 3),
        *_rounds(w.HOT_ROOMS, (c.ONRECORD_TWO,), 3),
        *_rounds(w.W5, (c.ONRECORD_TWO,), 3),
        *churn(),
    ]


def churn() -> list[Task]:
    """Return the hour-long churn of the full form."""
    return _rounds(w.CHURN, (c.ONRECORD,), 1)


def one(workload: str, server: str) -> list[Task]:
    """Return the tasks of either form that are about a workload and a server, once each."""
    return list(
        {
            task.candidate.name: Task((measured,), task.candidate, 1)
            for task in full()
            for measured in task.workloads
            if measured.name == workload and server in (task.candidate.name, "all")
        }.values()
    )


def _rounds(
    workload: w.Workload, servers: tuple[c.Candidate, ...], rounds: int, first: int = 1
) -> list[Task]:
    return [Task((workload,), server, first + number) for number in range(rounds) for server in servers]
