"""A database of an earlier version comes to this one without loss: a real dump is restored, migrated and served.

Invariant: what is compared was written by the earlier version itself, and not by this one.
"""

import json
from collections.abc import Iterator

import psycopg
import pytest

from service.embedded import Servers
from tests.corpus.conftest import Upgraded, of_logins
from tests.support.audit.proof import all_sealed
from tests.support.clients.native import Refused, client, raw
from tests.support.corpus.kept import Rows, of_columns, postgres
from tests.support.corpus.life import Env, command
from tests.support.environment import environment, token
from tests.support.processes.cluster import still_open
from tests.support.processes.processes import run, running
from tests.support.servers.databases import Database, fresh_database
from tests.support.waiting import projected, until

GROWING = {"notification_tracking"}
"""Tables that a migration may add rows to: a new read model begins at a position of its own."""


def env_of(upgraded: Upgraded, database: Database | None = None) -> Env:
    keys = upgraded.corpus.key_encryption_keys
    return environment(database or upgraded.database, ONRECORD_KEY_ENCRYPTION_KEY=keys)


def test_no_row_is_lost_or_changed(upgraded: Upgraded) -> None:
    after = upgraded.tables_after
    assert len(upgraded.tables_before) > 15
    for name, (rows,) in upgraded.tables_before.items():
        if name == "alembic_version" or _is_followed(name, set(after)):
            continue
        assert len(after.get(name, [])) == 1, f"{name} is in {len(after.get(name, []))} schemas"
        found = of_columns(after[name][0], rows)
        if name in GROWING:
            found = [row for row in found if row in rows]
        assert found == of_columns(rows, rows), name


def _is_followed(name: str, present: set[str]) -> bool:
    """Return whether a table is a version of a read model that a later version has replaced."""
    model, _, version = name.rpartition("_v")
    if name in present or not (model and version.isdecimal()):
        return False
    return any(f"{model}_v{later}" in present for later in range(int(version) + 1, int(version) + 100))


def test_every_view_shows_the_rows_that_it_showed(upgraded: Upgraded) -> None:
    views: dict[str, Rows] = upgraded.corpus.expected["views"]
    assert {"messages", "rooms", "memberships", "analytics.messages"} <= views.keys()
    for name, rows in views.items():
        assert upgraded.views_after.get(name), f"the view {name} is gone"
        for found in upgraded.views_after[name]:
            assert of_columns(found, rows) == of_columns(rows, rows), name


def test_the_sequence_goes_on_behind_the_last_event(upgraded: Upgraded) -> None:
    with psycopg.connect(upgraded.database.superuser_url) as reader:
        row = reader.execute(
            "SELECT (SELECT last_value FROM stored_events_notification_id_seq), max(notification_id) FROM stored_events"
        ).fetchone()
    assert row is not None
    assert row[0] >= row[1]


async def test_a_replay_of_every_room_is_the_same_to_the_byte(upgraded: Upgraded) -> None:
    replays: dict[str, str] = upgraded.corpus.expected["replay"]
    assert len(replays) > 5
    for room, lines in replays.items():
        assert await command(env_of(upgraded), "audit", "replay", "--room", room) == lines, room


async def test_the_record_extends_the_checkpoint_that_was_kept(upgraded: Upgraded) -> None:
    env, kept = env_of(upgraded), str(upgraded.corpus.checkpoint)
    size = upgraded.corpus.about["events"]
    assert await command(env, "audit", "verify", "--against", kept) == f"ok {size}\n"
    assert await command(env, "audit", "verify", "--words", "--against", kept) == f"ok {size}\n"
    assert await command(env, "audit", "checkpoint") == upgraded.corpus.checkpoint.read_text()


async def test_the_read_models_equal_a_fold_of_the_log(upgraded: Upgraded) -> None:
    """A read model whose rebuild a migration has requested is equal once a projector has rebuilt it."""
    _, out, said = await run(env_of(upgraded), "project", "verify")
    reports = [json.loads(line) for line in out.splitlines()]
    assert len(reports) >= 5, said
    requested = {row["application_name"] for row in upgraded.tables_after["notification_tracking"][0]}
    differing = {f"{report['name']}_v{report['version']}_again" for report in reports if not report["equal"]}
    assert differing <= requested


async def test_words_that_were_gone_stay_gone(servers: Servers, upgraded: Upgraded) -> None:
    words = upgraded.corpus.about["words"]
    shown = postgres(servers, "pg_dump", upgraded.database)
    for room in upgraded.corpus.expected["replay"]:
        shown += await command(env_of(upgraded), "audit", "replay", "--room", room)
    assert words["held"] in shown, "a legal hold protects these"
    for gone in (words["expired"], words["erased"]):
        assert gone not in shown
        assert gone.encode().hex() not in shown
    (keys,) = upgraded.tables_after["person_keys"]
    dead = [key for key in keys if key["wrapped"] is None]
    assert {"erin", "frank", "alice"} <= {key["person"] for key in dead}


@pytest.fixture
def copy(servers: Servers, upgraded: Upgraded) -> Iterator[Database]:
    """Give a copy of the upgraded database that a test may change."""
    with fresh_database(servers, upgraded.database.name) as made:
        yield of_logins(made, narrow=upgraded.database.owner_url != upgraded.database.superuser_url)


async def test_members_resume_post_and_are_projected(upgraded: Upgraded, copy: Database) -> None:
    env = env_of(upgraded, copy)
    head = len(upgraded.corpus.expected["replay"]["lobby"].splitlines())
    async with running(env, "serve") as node, running(env, "project", "run"):
        async with (
            client(node.url, "alice", {"lobby": head - 5}) as alice,
            client(node.url, "bob", {"lobby": head, "general": 1}) as bob,
        ):
            ack = await alice.post("lobby", "After the upgrade")
            assert ack["seq"] == head + 1
            await alice.until(lambda: alice.events("message:new", content="After the upgrade"))
            await bob.until(lambda: bob.events("message:new", content="After the upgrade"))
            assert alice.seqs("lobby") == list(range(head - 4, head + 2))
            assert bob.seqs("lobby") == [head + 1]
            page = await bob.say("message:history", roomId="general", limit=200)
            said = [message["content"] for message in page["messages"]]
            assert None in said, "what is over"
            assert any("Recent when the rule came" in (words or "") for words in said), "what is carried over"
            await bob.post("general", "Under the key of the day")
            await until(lambda: still_open(copy) == 2)  # the sessions of the node that was killed are closed
            await _still_out(node.url)
        await projected(copy)
        await all_sealed(copy)
        await _still_whole(upgraded, copy, env)


async def _still_out(url: str) -> None:
    """Show that people who were erased, suspended or banned remain so."""
    for user, code in (("erin", 4504), ("frank", 4504), ("heidi", 4503)):
        async with raw(url) as socket:
            await socket.send(json.dumps({"type": "connect", "protocol": 1, "token": token(user)}))
            await socket.wait_closed()
            assert socket.close_code == code, user
    async with client(url, "ivan") as ivan:
        with pytest.raises(Refused) as refused:
            await ivan.say("room:join", roomId="team")
        assert refused.value.code == "banned"


async def _still_whole(upgraded: Upgraded, copy: Database, env: Env) -> None:
    checkpoint = str(upgraded.corpus.checkpoint)
    code, ok, words = await run(env, "audit", "verify", "--words", "--against", checkpoint)
    assert code == 0, words
    assert int(ok.split()[1]) > upgraded.corpus.about["events"]
    await command(env, "project", "verify")
    with psycopg.connect(copy.app_url) as reader:
        found = reader.execute(
            "SELECT content FROM messages WHERE room_id = 'lobby' ORDER BY id DESC LIMIT 1"
        ).fetchone()
    assert found == ("After the upgrade",)
