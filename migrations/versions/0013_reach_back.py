"""Retention of messages that are older than the time limit of their room."""

from migrations.run import run_sql

revision = "0013_reach_back"
down_revision = "0012_keys_at_once"


def upgrade() -> None:
    """Let the content of messages be carried over to other keys."""
    run_sql("0013_reach_back.sql")
