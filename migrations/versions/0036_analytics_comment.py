"""Where the views for analysts are described."""

from migrations.run import run_sql

revision = "0036_analytics_comment"
down_revision = "0032_key_encryption_keys"


def upgrade() -> None:
    """Correct the comment of the schema `analytics`."""
    run_sql("0036_analytics_comment.sql")
