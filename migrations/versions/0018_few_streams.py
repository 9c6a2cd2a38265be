"""Streams are reached by their own index, also in a log of one large room."""

from service.log.schema import run_sql

revision = "0018_few_streams"
down_revision = "0017_tallies"


def upgrade() -> None:
    """Tell the planner how many streams a log has, in the long run."""
    run_sql("0018_few_streams.sql")
