"""Reports of messages are listed and counted in a table that a trigger on the log maintains."""

from migrations.run import run_sql

revision = "0023_reports"
down_revision = "0022_message_summaries"


def upgrade() -> None:
    """Create the table of reports, and maintain it with the log."""
    run_sql("0023_reports.sql")
