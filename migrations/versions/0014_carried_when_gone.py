"""Carried content is used only once the old key is destroyed."""

from migrations.run import run_sql

revision = "0014_carried_when_gone"
down_revision = "0013_reach_back"


def upgrade() -> None:
    """Make a replacement of keys that stopped half way change nothing."""
    run_sql("0014_carried_when_gone.sql")
