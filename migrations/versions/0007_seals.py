"""The proof of the log."""

from migrations.run import run_sql

revision = "0007_seals"
down_revision = "0006_rebuilding"


def upgrade() -> None:
    """Create the tables of seals, of kept subtrees and of signing keys."""
    run_sql("0007_seals.sql")
