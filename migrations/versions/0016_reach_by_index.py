"""Appending finds its rows by index, even with plans that were made on small tables."""

from migrations.run import run_sql

revision = "0016_reach_by_index"
down_revision = "0015_views_for_analysts"


def upgrade() -> None:
    """Plan the statements of `chat_append` without sequential scans."""
    run_sql("0016_reach_by_index.sql")
