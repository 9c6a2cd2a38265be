"""Pairs: servers that are measured in turns, their variants, and the database beside a peer that has none."""

import psycopg
import pytest

from bench import paired
from bench.ballast import ballast
from bench.candidates import variant
from bench.world.fixtures import Shape
from service.embedded import Servers


def test_a_variant_of_onrecord_has_its_interpreter_and_settings() -> None:
    plain = variant("onrecord,URING=off,MAX_ROOMS=7")
    assert plain.environment == {"ONRECORD_URING": "off", "ONRECORD_MAX_ROOMS": "7"}
    assert plain.is_onrecord
    other = variant("onrecord@/usr/bin/python3")
    assert other.command()[0] == "/usr/bin/python3"
    assert other.environment == {}


@pytest.mark.parametrize(
    "name", ["socketio", "onrecord,URING", "onrecord,=off", "c-limit@/usr/bin/python3", ""]
)
def test_another_name_is_no_server(name: str) -> None:
    with pytest.raises(ValueError, match="is no server"):
        paired.server(name)


def test_the_ballast_commits_each_post_once(servers: Servers) -> None:
    with ballast(servers) as beside, psycopg.connect(servers.migrate_database_url) as connection:
        for _ in range(2):
            with beside(200, 0.2):
                pass
        assert connection.execute("SELECT count(*), min(length(state)) FROM ballast").fetchone() == (80, 480)


def test_an_error_of_the_ballast_fails_the_slice(servers: Servers) -> None:
    with (
        ballast(servers) as beside,
        psycopg.connect(servers.migrate_database_url, autocommit=True) as connection,
    ):
        connection.execute("ALTER TABLE ballast DROP COLUMN state")
        with pytest.raises(psycopg.errors.UndefinedColumn), beside(200, 0.1):
            pass


@pytest.mark.needs("cc")
def test_two_servers_are_measured_in_turns(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    small = paired.Load(Shape(people=40, rooms=4), 40.0, 0.5, paired.posting)
    monkeypatch.setattr(paired, "LOADS", {"W1": small})
    rows = paired.measured("W1", "c-limit", "c-limit-ballast", servers, 2)
    assert {(row.server, row.peer_server) for row in rows} == {("c-limit", "c-limit-ballast")}
    assert {row.figure for row in rows} >= {"p50_ms", "p99_ms"}
    assert all(row.low <= row.ratio <= row.high for row in rows)
