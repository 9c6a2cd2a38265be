"""Messages marked as unread: a read model of where users' own unread counts begin."""

from migrations.run import run_sql

revision = "0027_unread_markers"
down_revision = "0026_any_subject"


def upgrade() -> None:
    """Create `unread_markers_v1`, which starts at the end of the log."""
    run_sql("0027_unread_markers.sql")
