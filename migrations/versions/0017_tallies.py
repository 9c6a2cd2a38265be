"""Counting unread messages at any size."""

from migrations.run import run_sql

revision = "0017_tallies"
down_revision = "0016_reach_by_index"


def upgrade() -> None:
    """Create the read model of which messages stand, from the messages as they are."""
    run_sql("0017_tallies.sql")
