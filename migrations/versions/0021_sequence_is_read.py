"""The last position that was given out, for those who check the log."""

from service.log.schema import run_sql

revision = "0021_sequence_is_read"
down_revision = "0018_people_by_index"


def upgrade() -> None:
    """Let the roles of a node and of the projector read the sequence of positions."""
    run_sql("0021_sequence_is_read.sql")
