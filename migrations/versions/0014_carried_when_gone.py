"""Words that were carried over count once their old key is gone."""

from migrations.run import run_sql

revision = "0014_carried_when_gone"
down_revision = "0013_reach_back"


def upgrade() -> None:
    """Let a replacement that stopped half way change nothing."""
    run_sql("0014_carried_when_gone.sql")
