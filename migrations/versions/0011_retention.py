"""Retention per room."""

from migrations.run import run_sql

revision = "0011_retention"
down_revision = "0010_rotation"


def upgrade() -> None:
    """Let what was said be made unreadable when its time is over."""
    run_sql("0011_retention.sql")
