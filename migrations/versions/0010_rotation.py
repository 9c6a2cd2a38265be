"""Rotation of the key encryption key."""

from migrations.run import run_sql

revision = "0010_rotation"
down_revision = "0009_holds"


def upgrade() -> None:
    """Recognize commands by fingerprints under several keys."""
    run_sql("0010_rotation.sql")
