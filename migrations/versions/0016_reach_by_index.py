"""Appending reaches its rows by index, also where its plans were made on small tables."""

from migrations.run import run_sql

revision = "0016_reach_by_index"
down_revision = "0015_views_for_analysts"


def upgrade() -> None:
    """Plan what `chat_append` asks without reading whole tables."""
    run_sql("0016_reach_by_index.sql")
