"""The read models of every chat action: edits, deletions, reactions, pins, topics, archives, bans and mutes."""

from migrations.run import run_sql

revision = "0004_chat_actions"
down_revision = "0003_nodes"


def upgrade() -> None:
    """Create the second versions, carry the rows over, and repoint the views."""
    run_sql("0004_chat_actions.sql")
