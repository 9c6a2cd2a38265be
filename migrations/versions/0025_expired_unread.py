"""Messages whose retention is over do not count as unread."""

from migrations.run import run_sql

revision = "0025_expired_unread"
down_revision = "0024_erased_unread"


def upgrade() -> None:
    """Request a rebuild of the unread bitmaps, if content has expired so far."""
    run_sql("0025_expired_unread.sql")
