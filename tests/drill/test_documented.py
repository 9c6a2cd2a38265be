"""`docs/explanation/reliability.md` lists every fault, rule and bug of the drill."""

import pytest

from tests.drill.faults import FAULTS
from tests.drill.faulty import BUGS
from tests.drill.rules import RULES
from tests.support.environment import ROOT


@pytest.mark.parametrize("name", [*FAULTS, *RULES, *BUGS])
def test_every_drill_fault_rule_and_bug_is_documented(name: str) -> None:
    fault, rule, bug = FAULTS.get(name), RULES.get(name), BUGS.get(name)
    meaning = (fault and fault.meaning) or (rule and rule.__doc__) or (bug and bug.meaning) or ""
    sentence = " ".join(meaning.strip().split("\n\n")[0].split())
    assert f"| `{name}` | {sentence} |" in (ROOT / "docs" / "explanation" / "reliability.md").read_text()
