"""An index for the names and account states of people, for a log that one large room dominates."""

from migrations.run import run_sql

revision = "0018_people_by_index"
down_revision = "0017_tallies"


def upgrade() -> None:
    """Index the streams of people."""
    run_sql("0018_people_by_index.sql")
