"""Every log event is documented as it is, and none that is not there."""

import re

import pytest

from tests.support.docs.log_events import LogEvent, log_events
from tests.support.environment import ROOT

EVENTS = log_events()
SECTION = (ROOT / "docs" / "reference" / "log-events.md").read_text()


@pytest.mark.parametrize(("name", "event"), EVENTS.items())
def test_every_log_event_is_documented_with_its_level_and_fields(name: str, event: LogEvent) -> None:
    assert re.fullmatch(r"[a-z_]+", name), "an event is a name, and its fields are written where it is logged"
    fields = ", ".join(f"`{field}`" for field in sorted(event.fields - {"exception"}))
    assert f"| `{name}` | {'/'.join(sorted(event.levels))} | {fields} |" in SECTION


def test_no_log_event_is_documented_that_is_not_there() -> None:
    assert set(re.findall(r"^\| `([a-z_]+)` \|", SECTION, re.MULTILINE)) == set(EVENTS)
