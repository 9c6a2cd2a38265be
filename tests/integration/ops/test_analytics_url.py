"""`onrecord analytics url`: the login that it names reads the views for analysts and nothing else.

The examples of the page for pandas and DuckDB are not run with these, which are large: their SQL is run through asyncpg
with the address that the command prints.
"""

import ast
import os
import re
from functools import partial
from pathlib import Path

import asyncpg
import pytest

from service.config.settings import BY_VARIABLE
from tests.support.clients.native import client
from tests.support.environment import ROOT, SECRET
from tests.support.processes.processes import run, running
from tests.support.projections.views import VIEWS
from tests.support.waiting import until

PAGE = (ROOT / "docs" / "guides" / "analyse-read-models.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
REFUSED = (
    "SELECT * FROM public.stored_events",
    "SELECT * FROM public.person_keys",
    "SELECT * FROM read_models.messages",
    "SELECT * FROM read_models.profiles",
    "DELETE FROM analytics.daily_activity",
    "CREATE TABLE analytics.mine (x integer)",
    "SET ROLE onrecord_projector",
)


def environment(place: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in BY_VARIABLE}
    own = {"ONRECORD_DATA_DIR": str(place), "ONRECORD_PORT": "0", "ONRECORD_JWT_SECRET": SECRET}
    return inherited | own


def queries(code: str) -> list[str]:
    """Return the queries in Python code, as PostgreSQL understands them."""
    constants = [node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)]
    texts = [text for text in constants if isinstance(text, str) and text.startswith("SELECT")]
    return [text.replace("chat.analytics.", "analytics.") for text in texts]


async def test_the_address_reads_the_views_and_nothing_else(place: Path) -> None:
    env = environment(place)
    async with running(env, "dev") as node, client(node.url, "alice", name="Alice Ng") as alice:
        await alice.join("general")
        await alice.post("general", "hello")
        code, url, words = await run(env, "analytics", "url")
        assert (code, words, url.count("\n")) == (0, "", 1)
        connection = await asyncpg.connect(url.strip())
        try:
            await until(
                lambda: connection.fetchval("SELECT count(*) = 1 FROM messages")
            )  # by the search path
            await until(
                lambda: connection.fetchval("SELECT count(*) = 1 FROM people WHERE name = 'Alice Ng'")
            )
            for view in VIEWS:
                await connection.fetch(f"SELECT * FROM analytics.{view}")
            assert await connection.fetchval("SHOW default_transaction_read_only") == "on"
            await connection.execute("SET default_transaction_read_only = off")
            for statement in REFUSED:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)
            found = [query for code in PYTHON for query in queries(code)]
            assert len(found) == 3
            for query in found:
                await until(partial(connection.fetch, query))  # each read model catches up by itself
        finally:
            await connection.close()


async def test_without_a_server_the_command_says_what_to_do(tmp_path: Path) -> None:
    code, out, words = await run(environment(tmp_path), "analytics", "url")
    assert (code, out) == (2, "")
    assert words.startswith(f"No `onrecord dev` (`make run`) runs in {tmp_path}: start it")
    set_up = environment(tmp_path) | {"ONRECORD_DATABASE_URL": "postgresql://x/y"}
    code, out, words = await run(set_up, "analytics", "url")
    assert (code, out) == (2, "")
    assert words.startswith("ONRECORD_DATABASE_URL is set")
    assert "docs/guides/analyse-read-models.md" in words
