"""Retention per room."""

from migrations.run import run_sql

revision = "0011_retention"
down_revision = "0010_rotation"


def upgrade() -> None:
    """Make messages unreadable once their time limit has passed."""
    run_sql("0011_retention.sql")
