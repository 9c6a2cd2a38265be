"""A command about a message is decided on a summary of it, which a trigger on the log maintains."""

from migrations.run import run_sql

revision = "0022_message_summaries"
down_revision = "0021_damaged_states"


def upgrade() -> None:
    """Create the summaries, maintain them with the log, and fill them from the log so far."""
    run_sql("0022_message_summaries.sql")
