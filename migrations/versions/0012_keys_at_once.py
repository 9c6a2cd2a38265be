"""Looking keys up once for a batch."""

from migrations.run import run_sql

revision = "0012_keys_at_once"
down_revision = "0011_retention"


def upgrade() -> None:
    """Look the keys of a batch up at once."""
    run_sql("0012_keys_at_once.sql")
