"""What an export of one person contains of other people's streams."""

import pytest

from service.audit.export.scope import OnePerson
from service.domain.events import PersonNamed, UserBlocked
from service.domain.streams import person_stream
from tests.support.eventstore.log_node import node
from tests.support.servers.databases import Database


@pytest.mark.parametrize(("person", "topics"), [("alice", ["UserBlocked"]), ("bob", ["PersonNamed"])])
async def test_a_block_is_in_the_export_of_the_blocker_alone(
    database: Database, person: str, topics: list[str]
) -> None:
    async with node(database) as one:
        await one.append(PersonNamed(user="bob", name="Bob"), stream=person_stream("bob"), by="bob")
        await one.append(UserBlocked(user="bob"), stream=person_stream("alice"), by="alice")
        where, arguments = OnePerson(person).condition()
        for number in (1, 2, 3):
            where = where.replace(f"${number + 3}", f"${number}")
        rows = await one.pool.fetch(f"SELECT topic FROM readable_events WHERE {where}", *arguments)
        assert [row["topic"].split(".")[1] for row in rows] == topics
