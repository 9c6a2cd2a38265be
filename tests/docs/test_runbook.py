"""Every alert and log event is in the runbook, with a cause and an action."""

import pytest
import yaml

from service.protocol.close_codes import Close
from tests.support.docs.log_events import log_events
from tests.support.environment import ROOT

RUNBOOK = (
    (ROOT / "docs" / "guides" / "troubleshoot.md").read_text().partition("## When something is wrong")[2]
)
ALERTS = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())
COMPLAINTS = [name for name, event in log_events().items() if event.levels - {"info"} and name != "?"]


@pytest.mark.parametrize("event", COMPLAINTS)
def test_every_log_line_that_complains_has_a_cause_and_an_action(event: str) -> None:
    assert f"`{event}`" in RUNBOOK


@pytest.mark.parametrize("alert", [rule["alert"] for group in ALERTS["groups"] for rule in group["rules"]])
def test_every_alert_has_a_cause_and_an_action(alert: str) -> None:
    assert f"`{alert}`" in RUNBOOK


@pytest.mark.parametrize("close", Close)
def test_every_close_code_has_a_cause_and_an_action(close: Close) -> None:
    codes = " ".join(line.split("|")[1] for line in RUNBOOK.splitlines() if line.startswith("| "))
    assert str(close.value) in codes


def test_no_row_of_the_runbook_leaves_its_action_out() -> None:
    rows = [line.strip("|").split("|") for line in RUNBOOK.splitlines() if line.startswith("| ")]
    assert all(len(row) == 3 and all(cell.strip() for cell in row) for row in rows)
