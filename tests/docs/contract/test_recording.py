"""The recording of the examples is what a server sends today."""

import pytest

from service.embedded import Servers
from tests.support.processes.failures import OUTAGE
from tests.support.servers.databases import Database
from tests.support.story.record import RECORDING, recorded


@pytest.mark.logs(*OUTAGE, "signin_refused")
async def test_the_story_is_played_as_it_is_recorded(servers: Servers, database: Database) -> None:
    text = await recorded(servers, database)
    assert text.splitlines() == RECORDING.read_text().splitlines(), "if this is intended, run `make docs`"
