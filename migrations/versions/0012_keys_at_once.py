"""Batched lookup of keys."""

from migrations.run import run_sql

revision = "0012_keys_at_once"
down_revision = "0011_retention"


def upgrade() -> None:
    """Look up the keys of a batch in one statement."""
    run_sql("0012_keys_at_once.sql")
