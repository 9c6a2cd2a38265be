"""Writes every function and view of a migrated database to `migrations/current/`, for readers.

    python -m tests.support.servers.current_sql

A migration replaces a function, and later ones replace it again. The folder shows the present definitions. Nothing runs
these files.
"""

from pathlib import Path

import psycopg

import migrations
from service import embedded
from tests.support.servers.databases import Database, fresh_database

FOLDER = Path(migrations.__file__).parent / "current"
SCHEMAS = ["public", "read_models", "analytics"]

_FUNCTIONS = """
    SELECT n.nspname, p.proname, string_agg(pg_get_functiondef(p.oid), E';\\n\\n' ORDER BY p.oid::regprocedure::text)
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname = ANY (%s) AND p.prokind = 'f' GROUP BY 1, 2
"""
_VIEWS = """
    SELECT n.nspname, c.relname,
        'CREATE VIEW ' || n.nspname || '.' || c.relname || E' AS\\n' || pg_get_viewdef(c.oid, true)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY (%s) AND c.relkind = 'v'
"""


def current(database: Database) -> dict[str, str]:
    """Return the definition of each function and view by the name of its file."""
    with psycopg.connect(database.superuser_url) as connection:
        rows = [row for query in (_FUNCTIONS, _VIEWS) for row in connection.execute(query, [SCHEMAS])]
    return {f"{schema}.{name}.sql": f"{text.rstrip().rstrip(';')};\n" for schema, name, text in sorted(rows)}


def main() -> None:
    """Write the folder."""
    with embedded.throwaway() as servers, fresh_database(servers) as database:
        found = current(database)
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.sql"):
        old.unlink()
    for name, text in found.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
