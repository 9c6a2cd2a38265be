"""Roles and schemas in which a login of a node, or of the projector, cannot reach the owner."""

from migrations.run import run_sql

revision = "0019_narrow_rights"
down_revision = "0018_people_by_index"


def upgrade() -> None:
    """Move the read models to a schema of their own, and let functions alone write the log."""
    run_sql("0019_narrow_rights.sql")
