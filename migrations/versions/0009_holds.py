"""Legal holds."""

from migrations.run import run_sql

revision = "0009_holds"
down_revision = "0008_erasure"


def upgrade() -> None:
    """Let rooms and people be put on hold."""
    run_sql("0009_holds.sql")
