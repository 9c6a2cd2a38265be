"""Read models that are rebuilt while they serve."""

from migrations.run import run_sql

revision = "0006_rebuilding"
down_revision = "0005_analytics"


def upgrade() -> None:
    """Let the projector delete the position of a table that has replaced another."""
    run_sql("0006_rebuilding.sql")
