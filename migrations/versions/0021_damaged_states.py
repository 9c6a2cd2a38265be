"""Carried words are laid over a damaged state without failing the query that reads it."""

from migrations.run import run_sql

revision = "0021_damaged_states"
down_revision = "0020_privacy"


def upgrade() -> None:
    """Let `carried_state` return a state that is no JSON object as it is."""
    run_sql("0021_damaged_states.sql")
