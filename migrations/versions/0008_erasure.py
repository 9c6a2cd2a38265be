"""Erasing a person."""

from migrations.run import run_sql

revision = "0008_erasure"
down_revision = "0007_seals"


def upgrade() -> None:
    """Let keys be destroyed, on the record."""
    run_sql("0008_erasure.sql")
