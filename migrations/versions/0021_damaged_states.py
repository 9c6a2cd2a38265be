"""Queries that apply carried content to a damaged state do not fail."""

from migrations.run import run_sql

revision = "0021_damaged_states"
down_revision = "0020_privacy"


def upgrade() -> None:
    """Let `carried_state` return a state that is no JSON object unchanged."""
    run_sql("0021_damaged_states.sql")
