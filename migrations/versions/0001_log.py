"""The log."""

from migrations.run import run_sql

revision = "0001_log"
down_revision = None


def upgrade() -> None:
    """Create the log's tables, `chat_append` and the narrow roles."""
    run_sql("0001_log.sql")
