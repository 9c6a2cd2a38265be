"""Which key encryption keys wrap keys of people, so that a process knows whether it lacks one."""

from migrations.run import run_sql

revision = "0032_key_encryption_keys"
down_revision = "0031_readers"


def upgrade() -> None:
    """Create the empty table; nodes fill it when they create keys, `onrecord keys rotate` when it rewraps."""
    run_sql("0032_key_encryption_keys.sql")
