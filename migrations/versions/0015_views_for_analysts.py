"""Views that need no function."""

from migrations.run import run_sql

revision = "0015_views_for_analysts"
down_revision = "0014_carried_when_gone"


def upgrade() -> None:
    """Let analysts read what was carried over, and call nothing."""
    run_sql("0015_views_for_analysts.sql")
