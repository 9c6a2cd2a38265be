"""Short drills: a cluster survives what breaks under load, and the checker catches every bug that is planted.

The long form, with every fault, is `make drill`.
"""

from typing import Any

import pytest

from service.embedded import Servers
from tests.drill.__main__ import counts
from tests.drill.checker import judge
from tests.drill.drill import BROKEN, Plan, run
from tests.drill.faults import FAULTS
from tests.drill.faulty import BUGS, Bug
from tests.support.processes.failures import OUTAGE, unexpected

SHORT: dict[str, Any] = {"seconds": 3.0, "projector": True}

# One of each kind: a node dies, the bus is gone when it matters, the log refuses, the clients are cut off.
ENOUGH = ("kill", "redis-silence", "backends", "commits", "cuts")


@pytest.mark.logs(*OUTAGE)
@pytest.mark.parametrize("fault", ENOUGH)
async def test_no_promise_is_broken_while_the_cluster_is(servers: Servers, fault: str) -> None:
    history, facts, words = await run(servers, Plan(faults=(FAULTS[fault],), seed=11, **SHORT))
    assert unexpected(words, FAULTS[fault].logs) == []
    assert judge(history.records) == []
    assert facts["settled"], "everybody was answered in the end"
    assert counts(history)["acked"] > 100
    assert counts(history)["delivered"] > 500


@pytest.mark.needs("pgbouncer")
@pytest.mark.logs(*OUTAGE)
@pytest.mark.parametrize("mode", ["session", "transaction"])
async def test_no_promise_is_broken_behind_a_pooler(servers: Servers, mode: str) -> None:
    fault = "backends"
    plan = Plan(faults=(FAULTS[fault],), seed=11, pooler=mode, **SHORT)
    history, facts, words = await run(servers, plan)
    assert unexpected(words, FAULTS[fault].logs) == []
    assert judge(history.records) == []
    assert facts["settled"], "everybody was answered in the end"
    assert counts(history)["acked"] > 100
    assert counts(history)["delivered"] > 500


@pytest.mark.logs(*OUTAGE, "not_on_record")
@pytest.mark.parametrize("bug", BUGS.values(), ids=BUGS)
async def test_a_planted_bug_is_caught(servers: Servers, bug: Bug) -> None:
    plan = Plan(faults=(FAULTS[bug.fault],), seed=11, bug=bug, **BROKEN, **SHORT)
    history, _, _ = await run(servers, plan)
    assert bug.rule in {finding.rule for finding in judge(history.records)}
