"""Erasure of a person."""

from migrations.run import run_sql

revision = "0008_erasure"
down_revision = "0007_seals"


def upgrade() -> None:
    """Let keys be destroyed, with an event that records it."""
    run_sql("0008_erasure.sql")
