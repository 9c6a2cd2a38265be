"""People are found by the beginning of the user id or of a word of the name, as of the log's head."""

from collections.abc import Sequence

import pytest

from projections import people
from projections.check import verify
from projections.people import Found, find
from service.audit.privacy.erasure import erase
from service.domain.events import MemberJoined, MemberLeft, PersonNamed, RoomOpened, SessionOpened
from service.domain.streams import person_stream, room_stream, session_stream
from tests.support.oracles.projected_log import Act, World

PLACES = pytest.mark.parametrize("projected", [0, 1, 2], ids=["in the tail", "in both", "in the table"])


def named(user: str, name: str | None) -> Act:
    return user, person_stream(user), (PersonNamed(user=user, name=name),)


def came(user: str) -> Act:
    opened = SessionOpened(session=f"of-{user}", node="n", incarnation="i", address=None, client=None)
    return user, session_stream(user), (opened,)


def room(name: str, *members: str) -> Act:
    joined = [MemberJoined(user=user) for user in members]
    return members[0], room_stream(name), (RoomOpened(name=name), *joined)


async def found(
    here: World, query: str, *, by: str = "carol", shared: bool = False, limit: int = 20
) -> Found:
    return await find(here.reads, here.node.serializer, query, by, shared=shared, limit=limit)


async def happen(here: World, projected: int, *parts: Sequence[Act]) -> None:
    """Append acts in two parts, and project as many of them."""
    for number, acts in enumerate(parts):
        await here.happen(*acts)
        if number < projected:
            await here.project()


@PLACES
async def test_people_are_found_by_id_and_by_each_word_of_the_name(here: World, projected: int) -> None:
    first = [named("u1", "José Núñez"), came("u1"), named("u2", "Ann Marie Smith"), came("Bob")]
    await happen(here, projected, first, [came("u1"), named("u2", "Ann Lee"), came("org/ann"), came("u3")])
    for query, users in {
        "jose": ["u1"],
        "JOSÉ NU": ["u1"],
        "nunez": ["u1"],
        "bob": ["Bob"],
        "ann": ["u2"],
        "lee": ["u2"],
        "smith": [],
        "marie": [],
        "org/": ["org/ann"],
        "u": ["u1", "u2", "u3"],
        "u3": ["u3"],
        "nn": [],
        "\u0301": [],
        "%": [],
    }.items():
        assert await found(here, query) == Found(users, has_more=False), query
    await here.project()
    report = await verify(here.connection, here.node.serializer, people.PROJECTION)
    assert report["equal"], report


@PLACES
async def test_an_erased_person_is_not_found(here: World, projected: int) -> None:
    await happen(here, projected, [named("ann", "Ann Lee"), came("ann"), came("anna")], [])
    await erase(here.node.pool, "ann", ground="g", by="root", deadline=20)
    for project in (False, True):
        for query in ("ann", "lee"):
            assert "ann" not in (await found(here, query)).users
        assert (await found(here, "ann")).users == ["anna"]
        if project:
            assert [row["user_id"] for row in await here.rows(people.PROJECTION)] == ["anna"]
        await here.project()
    await here.happen(("bob", *came("ann")[1:]))  # recorded late, without a key
    for _ in range(2):
        assert (await found(here, "ann")).users == ["anna"]
        await here.project()
    report = await verify(here.connection, here.node.serializer, people.PROJECTION)
    assert report["equal"], report


@PLACES
async def test_a_page_is_limited_and_the_exact_id_comes_first(here: World, projected: int) -> None:
    many = [named(f"u{number:02}", "Ann Lee") for number in range(30)]
    await happen(here, projected, many[:15], [*many[15:], came("ann")])
    page = await found(here, "ann", limit=3)
    assert page == Found(["ann", "u00", "u01"], has_more=True)
    assert await found(here, "ann", limit=31) == Found(
        ["ann", *(f"u{number:02}" for number in range(30))], has_more=False
    )
    await here.happen(named("u00", "Zoe"), came("lee"))
    assert (await found(here, "lee", limit=2)).users == ["lee", "u01"]


async def test_with_shared_only_people_in_a_common_room_are_found(here: World) -> None:
    await here.happen(
        *(came(user) for user in ("ann", "anna", "anne", "annie", "carol")),
        room("one", "carol", "ann", "anne"),
        room("two", "anna", "annie"),
        ("anne", room_stream("one"), (MemberLeft(user="anne"),)),
    )
    await here.project()
    assert (await found(here, "ann")).users == ["ann", "anna", "anne", "annie"]
    assert (await found(here, "ann", shared=True)).users == ["ann"]
    assert (await found(here, "anna", shared=True)).users == []
    assert (await found(here, "carol", shared=True)).users == ["carol"]


async def test_shared_rooms_are_looked_up_by_index_for_each_person(here: World) -> None:
    await here.as_owner(
        """INSERT INTO read_models.memberships_v2
               (room_id, user_id, role, joined_seq, joined_at, banned, muted)
           SELECT DISTINCT ON (1, 2) 'room' || n * r % 100, 'u' || n, 'member', 1, now(), false, false
           FROM generate_series(1, 20000) n, generate_series(1, 5) r"""
    )
    await here.as_owner("VACUUM ANALYZE read_models.memberships_v2")
    names = ", ".join(f"u{number}" for number in range(people.CANDIDATES))
    query = people._SHARING.replace(":users", f"'{{{names}}}'").replace(":user", "'u77'")
    plan = await here.connection.fetch("EXPLAIN (ANALYZE, BUFFERS) " + query)
    text = "\n".join(row[0] for row in plan)
    assert "memberships_v2_user_idx" in text, text
    assert "Seq Scan" not in text, text
    assert int(text.partition("shared hit=")[2].split()[0]) < 3_000, text


@pytest.mark.parametrize("analyzed", [False, True], ids=["without statistics", "with those of few rooms"])
async def test_the_users_own_rooms_are_not_read_for_each_person(here: World, *, analyzed: bool) -> None:
    """The planner does not know that the user is in many rooms, none of which the others are in."""
    add = """INSERT INTO read_models.memberships_v2
                 (room_id, user_id, role, joined_seq, joined_at, banned, muted)
             SELECT {room}, {user}, 'member', 1, now(), false, false FROM {numbers}"""
    if analyzed:
        await here.as_owner(
            add.format(room="'p' || n", user="'v' || n", numbers="generate_series(1, 1000) n")
        )
        await here.as_owner("ANALYZE read_models.memberships_v2")
    await here.as_owner(add.format(room="'own' || n", user="'asker'", numbers="generate_series(1, 2000) n"))
    numbers = "generate_series(1, 100) n, generate_series(1, 10) r"
    await here.as_owner(add.format(room="'room' || n || '-' || r", user="'u' || n", numbers=numbers))
    names = ", ".join(f"u{number + 1}" for number in range(people.CANDIDATES))
    query = people._SHARING.replace(":users", f"'{{{names}}}'").replace(":user", "'asker'")
    plan = await here.connection.fetch("EXPLAIN (ANALYZE, BUFFERS) " + query)
    text = "\n".join(row[0] for row in plan)
    assert "memberships_v2_pkey" in text, text
    assert "Rows Removed by Join Filter" not in text, text
    assert int(text.partition("shared hit=")[2].split()[0]) < 8_000, text


async def test_a_query_reads_a_few_rows_of_100_000_people(here: World) -> None:
    await here.as_owner(
        """INSERT INTO read_models.people_v1 (user_id, place, entry)
           SELECT 'u' || n, place, CASE place WHEN 0 THEN 'u' || n ELSE 'a' || md5(n::text) END
           FROM generate_series(1, 100000) n, generate_series(0, 1) place"""
    )
    await here.as_owner("VACUUM ANALYZE read_models.people_v1")
    query = people._FIND.replace(":begins", "'a'").replace(":ends", "'b'").replace(":exact", "'u77'")
    plan = await here.connection.fetch("EXPLAIN (ANALYZE, BUFFERS) " + query.replace(":most", "189"))
    text = "\n".join(row[0] for row in plan)
    assert "people_v1_entry_idx" in text, text
    assert "people_v1_pkey" in text, text
    assert "Seq Scan" not in text, text
    assert int(text.partition("shared hit=")[2].split()[0]) < 20, text
