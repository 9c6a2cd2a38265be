"""The views for analysts."""

from migrations.run import run_sql

revision = "0005_analytics"
down_revision = "0004_chat_actions"


def upgrade() -> None:
    """Create the activity read model, the schema `analytics` with its views, and the role that can read them."""
    run_sql("0005_analytics.sql")
