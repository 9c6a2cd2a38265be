"""The read models of all chat actions: edits, deletions, reactions, pins, topics, archives, bans and mutes."""

from migrations.run import run_sql

revision = "0004_chat_actions"
down_revision = "0003_nodes"


def upgrade() -> None:
    """Create the second versions of the read models, copy the rows, and repoint the views."""
    run_sql("0004_chat_actions.sql")
