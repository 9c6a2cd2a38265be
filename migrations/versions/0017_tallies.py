"""Counts of unread messages in rooms of any size."""

from migrations.run import run_sql

revision = "0017_tallies"
down_revision = "0016_reach_by_index"


def upgrade() -> None:
    """Create the read model of undeleted messages, and fill it from the messages."""
    run_sql("0017_tallies.sql")
