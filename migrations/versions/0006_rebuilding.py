"""Read models that are rebuilt while they serve."""

from migrations.run import run_sql

revision = "0006_rebuilding"
down_revision = "0005_analytics"


def upgrade() -> None:
    """Let the projector strike out the position of a table that has taken another's place."""
    run_sql("0006_rebuilding.sql")
