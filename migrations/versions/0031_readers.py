"""What auditors and analysts look up: the rooms of a person, names, and the state of each message."""

from migrations.run import run_sql

revision = "0031_readers"
down_revision = "0029_people"


def upgrade() -> None:
    """Add an index of events about members, the read model `people`, and columns and views for analysts."""
    run_sql("0031_readers.sql")
