"""The read model of the room directory."""

from migrations.run import run_sql

revision = "0028_directory"
down_revision = "0026_any_subject"


def upgrade() -> None:
    """Create `directory_v1`, which a projector fills."""
    run_sql("0028_directory.sql")
