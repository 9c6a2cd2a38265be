"""The first versions of the read models."""

from migrations.run import run_sql

revision = "0002_read_models"
down_revision = "0001_log"


def upgrade() -> None:
    """Create the tables of the read models, the stable views over them, and their positions in the log."""
    run_sql("0002_read_models.sql")
