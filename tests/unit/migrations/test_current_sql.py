"""`migrations/current/` shows every function and view as a migrated database has it."""

from tests.support.servers.current_sql import FOLDER, current
from tests.support.servers.databases import Database


def test_the_folder_shows_what_a_migrated_database_has(database: Database) -> None:
    kept = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.sql")}
    assert kept == current(database), "run `python -m tests.support.servers.current_sql`"
