"""Retention of messages from before a room had a time limit."""

from migrations.run import run_sql

revision = "0013_reach_back"
down_revision = "0012_keys_at_once"


def upgrade() -> None:
    """Let words be carried over to other keys."""
    run_sql("0013_reach_back.sql")
