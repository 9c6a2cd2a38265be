"""Messages of erased users do not count as unread."""

from migrations.run import run_sql

revision = "0024_erased_unread"
down_revision = "0023_reports"


def upgrade() -> None:
    """Create the second version of the unread bitmaps from the first, without the bits of erased users' messages."""
    run_sql("0024_erased_unread.sql")
