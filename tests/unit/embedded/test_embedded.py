"""Real servers, killed and restarted. Every test here has its own, and waits for what happens, never for a time."""

import asyncio
import json
import os
import pwd
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import psycopg
import pytest
import redis

from service import embedded
from service.config import development
from service.embedded import account
from service.embedded.valkey import Valkey

# A process that holds servers until it is stopped, as `onrecord dev` does in a terminal. The tests may run under nohup.
OWNER = """
import json, signal, sys, time
from pathlib import Path
from service import embedded
from service.cli import stoppable

signal.signal(signal.SIGHUP, signal.SIG_DFL)
with stoppable(), embedded.servers(Path(sys.argv[1])) as running:
    print(json.dumps({"url": running.database_url, "pids": [running.postgres.pid, running.valkey.pid]}), flush=True)
    while True:  # a signal that arrives just before `signal.pause()` would be handled only after the next one
        time.sleep(0.1)
"""


STOPS_WITHIN = 60.0
"""Seconds; both servers together have less for all their signals before SIGKILL."""


@contextmanager
def owner(place: Path) -> Iterator[tuple["subprocess.Popen[str]", dict[str, Any]]]:
    """An owner of servers in a session of its own, as if in another terminal; stopped at the end if it still runs."""
    command = [sys.executable, "-c", OWNER, str(place)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            process.terminate()
            try:
                process.wait(STOPS_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def lives(pid: int | None) -> bool:
    """Whether a process runs. A zombie that was not waited for yet (init may be slow) does not count."""
    try:
        return pid is not None and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def ask(url: str, question: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(question).fetchone()
        return row and row[0]


def test_the_application_connects_with_each_driver_and_is_no_superuser(servers: embedded.Servers) -> None:
    async def user() -> object:
        connection = await asyncpg.connect(servers.database_url)
        try:
            return await connection.fetchval("SELECT current_user || ':' || current_database()")
        finally:
            await connection.close()

    assert asyncio.run(user()) == "onrecord_app:onrecord"
    assert ask(servers.database_url, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
    assert (
        ask(servers.migrate_database_url, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        is False
    )


def test_durability_is_on(servers: embedded.Servers) -> None:
    assert ask(servers.database_url, "SHOW fsync") == "on"
    assert ask(servers.database_url, "SHOW synchronous_commit") == "on"
    assert ask(servers.database_url, "SHOW full_page_writes") == "on"


def test_nobody_enters_without_a_password(servers: embedded.Servers) -> None:
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(servers.migrate_database_url.replace("_owner:", "_owner:not"))
    stranger = redis.Redis(port=servers.valkey.port)
    with pytest.raises(redis.AuthenticationError):
        stranger.ping()
    stranger.close()


@pytest.mark.parametrize("abruptly", [False, True])
def test_a_restart_keeps_the_address_and_the_data(place: Path, *, abruptly: bool) -> None:
    with embedded.servers(place) as running:
        before = running.addresses
        with psycopg.connect(running.migrate_database_url) as connection:
            connection.execute("CREATE TABLE said AS SELECT 'hello' AS text")

        running.postgres.restart(abruptly=abruptly)
        running.valkey.restart(abruptly=abruptly)

        assert running.addresses == before
        assert ask(running.migrate_database_url, "SELECT text FROM said") == "hello"
        with redis.Redis.from_url(running.redis_url) as client:
            assert client.ping()


def test_history_and_keys_survive_from_one_start_to_the_next(place: Path) -> None:
    with embedded.servers(place) as running:
        keys = development.keys(place)
        with psycopg.connect(running.migrate_database_url) as connection:
            connection.execute("CREATE TABLE said AS SELECT 'hello' AS text")

    with embedded.servers(place) as running:
        assert development.keys(place) == keys
        assert ask(running.migrate_database_url, "SELECT text FROM said") == "hello"


def test_commands_beside_it_find_the_servers_only_while_they_run(place: Path) -> None:
    with embedded.servers(place) as running:
        assert development.known_settings(place)["database_url"] == running.database_url
        assert development.known_settings(place)["redis_url"] == running.redis_url

    assert development.known_settings(place) == {}


def command_lines() -> str:
    """Return the command lines of all processes below this one. A backend of Postgres may end while it is read."""
    words = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            words += process.cmdline()
    return " ".join(words)


def test_what_is_secret_is_readable_by_its_owner_only(place: Path) -> None:
    with embedded.servers(place) as running:
        for name in (development.KEYS, development.SERVERS):
            assert stat.S_IMODE((place / name).stat().st_mode) == 0o600
        words = command_lines()
        assert running.data_dir.name in words
        assert development.keys(place).redis_password not in words


def test_nothing_runs_after_the_end(place: Path) -> None:
    with embedded.servers(place) as running:
        pids = [running.postgres.pid, running.valkey.pid]

    assert not any(map(lives, pids))


def test_a_server_that_does_not_end_is_named_and_the_other_is_stopped(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(embedded.EmbeddedFailed, match=r"Valkey \(process \d+\) does not end"):
        with embedded.servers(place) as running:
            postgres, valkey = running.postgres.pid, running.valkey.pid
            assert valkey is not None
            monkeypatch.setattr("service.embedded.daemon.START_TIMEOUT", 0.1)
            monkeypatch.setattr(Valkey, "stop_signals", ())
            signals = psutil.Process.send_signal
            monkeypatch.setattr(
                psutil.Process, "send_signal", lambda to, number: to.pid == valkey or signals(to, number)
            )
    assert lives(valkey)
    assert not lives(postgres)
    monkeypatch.undo()
    running.valkey.kill()


def test_a_second_owner_is_refused_in_one_sentence(place: Path) -> None:
    with (
        owner(place) as (process, _),
        pytest.raises(
            embedded.AlreadyRunning, match=f"Process {process.pid} runs servers in {place} already"
        ),
    ):
        embedded.servers(place).__enter__()


def test_servers_orphaned_by_a_killed_owner_are_replaced_and_stopped(place: Path) -> None:
    with owner(place) as (process, left):
        assert ask(left["url"], "SELECT 1") == 1
        process.kill()
        process.wait()
    assert all(map(lives, left["pids"]))

    with embedded.servers(place) as running:
        assert not any(map(lives, left["pids"]))
        assert ask(running.database_url, "SELECT 1") == 1
        pids = [running.postgres.pid, running.valkey.pid]
    assert not any(map(lives, pids))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_whole_terminal_stops_the_servers_in_order(
    place: Path, number: signal.Signals
) -> None:
    with owner(place) as (process, left):
        os.killpg(process.pid, number)
        process.wait()

    assert not any(map(lives, left["pids"]))
    log = (place / "postgres.log").read_text()
    assert log.count("received fast shutdown request") == 1
    assert log.rstrip().endswith("database system is shut down")


def test_reused_process_id_is_left_alone(place: Path) -> None:
    with embedded.servers(place) as running:
        cluster = place / "servers" / "postgres"
        file = (cluster / "postmaster.pid").read_text()
        pid = running.postgres.pid
    (cluster / "postmaster.pid").write_text(file.replace(str(pid), str(os.getpid()), 1))
    (place / "servers" / "valkey" / "valkey.pid").write_text(str(os.getpid()))

    with embedded.servers(place) as running:
        assert ask(running.database_url, "SELECT 1") == 1


def test_a_start_that_was_killed_half_way_is_begun_anew(place: Path) -> None:
    half = place / "servers" / "postgres.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18")

    with embedded.servers(place) as running:
        assert ask(running.database_url, "SELECT 1") == 1


def test_a_server_that_cannot_start_says_what_it_logged(place: Path) -> None:
    with embedded.servers(place):
        pass
    (place / "servers" / "postgres" / "global" / "pg_control").unlink()

    with pytest.raises(embedded.ServerDidNotStart, match="pg_control"):
        embedded.servers(place).__enter__()


def test_lost_keys_are_named_as_the_reason(place: Path) -> None:
    with embedded.servers(place):
        pass
    (place / development.KEYS).unlink()

    with pytest.raises(embedded.ServerDidNotStart, match=r"keys\.json"):
        embedded.servers(place).__enter__()


def test_a_directory_that_cannot_be_made_is_refused_in_one_sentence(place: Path) -> None:
    (place / "file").touch()

    with pytest.raises(development.DataDirUnusable, match="cannot be created"):
        embedded.servers(place / "file" / "data").__enter__()


@pytest.mark.needs("root")
def test_a_directory_of_someone_elses_is_refused(place: Path) -> None:
    theirs = place / "theirs"
    theirs.mkdir()
    os.chown(theirs, 12345, 12345)

    with pytest.raises(development.DataDirUnusable, match="belongs to another user"):
        embedded.servers(theirs).__enter__()


@pytest.mark.needs("root")
def test_a_link_of_someone_elses_is_refused(place: Path) -> None:
    (place / "link").symlink_to(place)
    os.lchown(place / "link", 12345, 12345)

    with pytest.raises(development.DataDirUnusable, match="belongs to another user"):
        embedded.servers(place / "link").__enter__()


@pytest.mark.needs("root")
def test_roots_closed_directories_are_refused_and_stay_closed(place: Path) -> None:
    place.chmod(0o700)

    with pytest.raises(embedded.EmbeddedFailed, match=f"since {place} is closed to others"):
        embedded.servers(place / "data").__enter__()

    assert stat.S_IMODE(place.stat().st_mode) == 0o700


@pytest.mark.needs("root")
def test_programs_that_the_system_user_cannot_reach_are_copied(place: Path) -> None:
    user = account.account()
    account.open_to(user, place)
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    (closed / "tool").mkdir()
    (closed / "tool" / "run").write_text("#!/bin/sh\n")
    (closed / "tool" / "run").chmod(0o755)
    (closed / "tool.libs").mkdir()

    assert not account._can_run(closed / "tool" / "run", user)
    copy = account._copy(closed / "tool", place)
    assert account._can_run(copy / "run", user)
    assert (copy.parent / "tool.libs").is_dir()


@pytest.mark.needs("root")
def test_as_root_the_servers_run_as_the_system_user(servers: embedded.Servers) -> None:
    expected = pwd.getpwnam(account.SYSTEM_USER).pw_uid

    for pid in (servers.postgres.pid, servers.valkey.pid):
        assert pid is not None
        assert set(psutil.Process(pid).uids()) == {expected}


def test_a_throwaway_is_deleted_and_those_of_killed_owners_with_it(place: Path) -> None:
    root = place / "root"
    with embedded.throwaway(root) as first, embedded.throwaway(root) as second:
        assert first.data_dir != second.data_dir
        left = root / "run-left"
        left.mkdir()
        with owner(left) as (process, pids):
            process.kill()

        with embedded.throwaway(root):
            assert not left.exists()
            assert not any(map(lives, pids["pids"]))
        assert first.data_dir.exists()
    assert list(root.glob("run-*")) == []


def test_servers_can_be_had_outside_the_main_thread(place: Path) -> None:
    answers = []

    def work() -> None:
        with embedded.servers(place) as running:
            answers.append(ask(running.database_url, "SELECT 1"))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert answers == [1]
