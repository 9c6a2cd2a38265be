"""The log."""

from migrations.run import run_sql

revision = "0001_log"
down_revision = None


def upgrade() -> None:
    """Create the tables of the log, `chat_append` and the roles with narrow rights."""
    run_sql("0001_log.sql")
