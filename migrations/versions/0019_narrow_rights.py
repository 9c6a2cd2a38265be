"""Roles and schemas that keep the logins of nodes and of the projector from gaining the rights of the owner."""

from migrations.run import run_sql

revision = "0019_narrow_rights"
down_revision = "0018_people_by_index"


def upgrade() -> None:
    """Move the read models to a schema of their own, and let only functions write the log."""
    run_sql("0019_narrow_rights.sql")
