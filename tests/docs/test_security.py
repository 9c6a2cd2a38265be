"""docs/explanation/security.md: each threat has a defence and a test, and every named test is run."""

from tests.support.docs.named_tests import NAMED, named_in, not_collected
from tests.support.environment import ROOT

DOCUMENT = (ROOT / "docs" / "explanation" / "security.md").read_text()


def test_every_threat_has_what_holds_and_a_test_that_shows_it() -> None:
    rows = [line.strip("|").split("|") for line in DOCUMENT.splitlines() if line.startswith("| ")]
    threats = [row for row in rows if row[0].strip() != "what somebody tries"]
    assert threats
    for row in threats:
        threat, holds, shown = row
        assert threat.strip()
        assert holds.strip()
        assert NAMED.search(shown), threat


async def test_every_test_that_is_named_is_collected() -> None:
    assert await not_collected(named_in(DOCUMENT)) == set()
