"""Reads a kept corpus, and the rows of a database, in forms that can be compared between versions.

Invariant: tables and views are found by name, in any schema, so that a migration may move them.
"""

import json
import lzma
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from service.embedded import Servers
from tests.support.servers.databases import Database

PLACE = Path(__file__).parents[2] / "corpus"
"""Has a folder for each corpus, named by the commit whose servers wrote it."""

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Corpus:
    """A database that an earlier version has written, as files in a folder."""

    place: Path

    @cached_property
    def about(self) -> dict[str, Any]:
        """The key encryption keys of the database, and marks of content that has expired, is erased or is held."""
        return dict(json.loads((self.place / "corpus.json").read_text()))

    @cached_property
    def expected(self) -> dict[str, Any]:
        """The output of that version: `replay` by room, `log` line by line, and the rows of each of its `views`."""
        return dict(json.loads(lzma.decompress((self.place / "expected.json.xz").read_bytes())))

    @cached_property
    def dump(self) -> str:
        """The output of `pg_dump`, plain SQL for `psql`."""
        return lzma.decompress((self.place / "dump.sql.xz").read_bytes()).decode()

    @property
    def checkpoint(self) -> Path:
        """The last checkpoint of that log, as `onrecord audit checkpoint` printed it."""
        return self.place / "checkpoint"

    @property
    def key_encryption_keys(self) -> str:
        """The value of ONRECORD_KEY_ENCRYPTION_KEY."""
        return str(self.about["keyEncryptionKeys"])

    def rows(self, table: str) -> Iterator[dict[str, str | None]]:
        """Return the rows of a table in the dump as texts, in the order in which they were dumped."""
        found = re.search(
            rf"^COPY \w+\.{table} \((.*?)\) FROM stdin;\n(.*?)^\\\.$", self.dump, re.DOTALL | re.MULTILINE
        )
        assert found, f"the dump has no table {table}"
        columns = [column.strip('" ') for column in found[1].split(",")]
        for line in found[2].splitlines():
            yield dict(zip(columns, map(_field, line.split("\t")), strict=True))

    def readable_rows(self) -> Iterator[dict[str, Any]]:
        """Return every stored event as `EventSerializer.to_recorded` reads it, from the view `readable_events`."""
        keys = {row["key_id"]: row["wrapped"] for row in self.rows("person_keys")}
        carried = self._carried_words()
        for row in sorted(self.rows("stored_events"), key=lambda one: int(one["notification_id"] or 0)):
            state, key_id = _bytes(row["state"]), row["key_id"]
            moved = carried.get(row["notification_id"])
            if moved and keys.get(key_id) is None:
                key_id, state = moved["key_id"], _carried(state or b"", moved)
            yield {
                **{name: row[name] for name in ("stream", "topic", "subject", "recorded_by")},
                **{name: int(row[name] or 0) for name in ("originator_version", "notification_id")},
                "recorded_at": datetime.fromisoformat(row["recorded_at"] or ""),
                "key_id": key_id and UUID(key_id),
                "wrapped": _bytes(keys.get(key_id)),
                "state": state,
            }

    def _carried_words(self) -> dict[str | None, dict[str, str | None]]:
        """Return by position the carried content in effect: of a living key, preferably a general one."""
        keys = {row["key_id"]: row for row in self.rows("person_keys")}

        def last(row: dict[str, str | None]) -> tuple[bool, bool, str]:
            key = keys.get(row["key_id"], {})
            return key.get("wrapped") is None, key.get("scope") != "", row["key_id"] or ""

        rows = sorted(self.rows("carried_words"), key=last, reverse=True)
        return {row["position"]: row for row in rows}

    def restore(self, servers: Servers, database: Database) -> None:
        """Restore the dump into an empty database, as a superuser; the roles that it names have to exist."""
        postgres(servers, "psql", database, "--quiet", "--set=ON_ERROR_STOP=1", "--file=-", given=self.dump)


def corpora() -> list[Corpus]:
    """Return every kept corpus."""
    return [Corpus(found.parent) for found in sorted(PLACE.glob("*/corpus.json"))]


def postgres(servers: Servers, program: str, database: Database, *words: str, given: str = "") -> str:
    """Run a program of PostgreSQL on a database, as the superuser; return its output."""
    place = Path(servers.postgres.command()[0]).parent
    done = subprocess.run(
        [place / program, *words, "--dbname", database.superuser_url],
        input=given, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def tables(connection: psycopg.Connection[Any]) -> dict[str, list[Rows]]:
    """Return the rows of every table by its name; a name that several schemas have has the rows of each."""
    return _relations(connection, "r")


def views(connection: psycopg.Connection[Any]) -> dict[str, list[Rows]]:
    """Return the rows of every view by its name; those for analysts as `analytics.NAME`."""
    return _relations(connection, "v")


def _relations(connection: psycopg.Connection[Any], kind: str) -> dict[str, list[Rows]]:
    found: dict[str, list[Rows]] = {}
    for schema, name in connection.execute(_RELATIONS, [kind]).fetchall():
        rows = connection.execute(
            sql.SQL("SELECT to_jsonb(r) FROM {} r").format(sql.Identifier(schema, name))
        ).fetchall()
        found.setdefault(f"{schema}.{name}" if schema == "analytics" else name, []).append(
            sorted((row for (row,) in rows), key=json.dumps)
        )
    return found


def of_columns(rows: Rows, like: Rows) -> Rows:
    """Return rows with only the columns of other rows, since a later version may add columns."""
    columns = like[0].keys() if like else ()
    return sorted(({name: row.get(name) for name in columns} for row in rows), key=json.dumps)


_RELATIONS = """
    SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = %s AND n.nspname NOT LIKE 'pg\\_%%' AND n.nspname <> 'information_schema' ORDER BY 1, 2
"""
_ESCAPED = re.compile(r"\\(.)")
_MEANT = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def _field(text: str) -> str | None:
    """Return the value of a field in the format of COPY."""
    return None if text == r"\N" else _ESCAPED.sub(lambda found: _MEANT.get(found[1], found[1]), text)


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text.removeprefix(r"\x"))


def _carried(state: bytes, moved: dict[str, str | None]) -> bytes:
    """Return stored bytes with the carried content, as the view `readable_events` does."""
    fields = json.loads(state)
    for name, sealed in json.loads(moved["sealed"] or "").items():
        fields[name] = {"k": moved["key_id"], "h": fields[name]["h"], "c": sealed}
    return json.dumps(fields).encode()
