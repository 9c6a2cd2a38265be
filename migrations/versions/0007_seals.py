"""The proof of the log."""

from migrations.run import run_sql

revision = "0007_seals"
down_revision = "0006_rebuilding"


def upgrade() -> None:
    """Create the seals, the kept subtrees and the keys that sign."""
    run_sql("0007_seals.sql")
