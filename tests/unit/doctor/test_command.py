"""`onrecord doctor` as an operator runs it: lines out, and an exit code that a script can go by."""

import asyncio
import re
import subprocess
import sys

from service import embedded
from service.doctor.configuration import FEW_FILES
from tests.support.environment import ROOT, environment
from tests.support.needs import refused
from tests.support.processes.processes import run, running
from tests.support.servers.databases import Database

LEVELS = ("ok", "warn", "fail")


def lines(out: str) -> dict[str, str]:
    """Return the level of each thing looked at; where there are several, the last."""
    found = {}
    for line in out.splitlines():
        level, name, words = line[:4].strip(), line[6:18].strip(), line[20:]
        assert level in LEVELS, line
        assert name, line
        assert words.endswith((".", ")")), line
        found[name] = level
    return found


async def test_a_whole_installation_is_found_well(database: Database, servers: embedded.Servers) -> None:
    env = environment(database, ONRECORD_REDIS_URL=servers.redis_url)
    async with running(env, "serve"), running(env, "project", "run"):
        while True:
            code, out, words = await run(env, "doctor")
            if lines(out)["projector"] == lines(out)["sealer"] == "ok":
                break
    found = lines(out)
    assert (code, words) == (0, "")
    assert [name for name, level in found.items() if level == "fail"] == []
    assert found["publish"] == "ok"
    for secret in ("ONRECORD_JWT_SECRET", "ONRECORD_KEY_ENCRYPTION_KEY", "ONRECORD_BUS_KEY"):
        assert env[secret] not in out
    assert "@" not in out, "an address with its password"


async def test_what_is_found_is_exit_code_1(database: Database) -> None:
    code, out, _ = await run(environment(database, ONRECORD_DATABASE_URL=database.superuser_url), "doctor")
    assert code == 1
    assert re.search(r"^fail +powers ", out, re.MULTILINE), out


async def test_a_setting_that_is_missing_is_exit_code_2(database: Database) -> None:
    code, out, _ = await run(environment(database, ONRECORD_JWT_SECRET=""), "doctor")
    assert code == 2
    assert "ONRECORD_JWT_SECRET not set" in out
    code, out, words = await run(environment(database, ONRECORD_PORT="many"), "doctor")
    assert (code, out) == (2, "")
    assert words.startswith("ONRECORD_PORT ")


async def test_unreachable_server_is_exit_code_3_and_others_are_checked(database: Database) -> None:
    nowhere = "redis://127.0.0.1:1/0"
    code, out, _ = await run(environment(database, ONRECORD_REDIS_URL=nowhere), "doctor")
    assert (code, lines(out)["redis"], lines(out)["schema"]) == (3, "fail", "ok")
    gone = "postgresql://onrecord_app@127.0.0.1:1/onrecord"
    code, out, _ = await run(environment(database, ONRECORD_DATABASE_URL=gone), "doctor")
    assert (code, lines(out)["database"]) == (3, "fail")


async def test_a_wrong_password_is_exit_code_3_and_is_not_shown(database: Database) -> None:
    before, _, after = database.app_url.partition("onrecord_app:")
    mistaken = f"{before}onrecord_app:mistaken@{after.partition('@')[2]}"
    code, out, words = await run(environment(database, ONRECORD_DATABASE_URL=mistaken), "doctor")
    assert (code, lines(out)["database"], words) == (3, "fail", "")
    assert "password authentication failed" in out
    assert "mistaken" not in out


async def test_a_process_that_may_open_few_files_is_told(database: Database) -> None:
    command = f"ulimit -Sn 1024; exec {sys.executable} -m service.cli doctor"
    done = await asyncio.to_thread(
        subprocess.run,
        ["/bin/sh", "-c", command],
        env=environment(database), cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert lines(done.stdout)["files"] == "warn"
    assert "1,024 files" in done.stdout
    assert FEW_FILES > 10_000


async def test_whether_one_call_writes_to_many_connections_is_reported(database: Database) -> None:
    _, out, _ = await run(environment(database, ONRECORD_URING="off"), "doctor")
    assert lines(out)["uring"] == "ok"
    assert "ONRECORD_URING is off" in out
    _, out, _ = await run(environment(database), "doctor")
    assert lines(out)["uring"] == "ok"
    assert refused() in out
