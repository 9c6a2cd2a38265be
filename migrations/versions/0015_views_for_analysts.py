"""Views for analysts that need no function."""

from migrations.run import run_sql

revision = "0015_views_for_analysts"
down_revision = "0014_carried_when_gone"


def upgrade() -> None:
    """Let analysts read carried content, and call no function."""
    run_sql("0015_views_for_analysts.sql")
