"""What people are called and may do is read by an index of its own, also in a log of one large room."""

from migrations.run import run_sql

revision = "0018_people_by_index"
down_revision = "0017_tallies"


def upgrade() -> None:
    """Index the streams of people."""
    run_sql("0018_people_by_index.sql")
