"""People are found by the beginnings of their user ids and names."""

from migrations.run import run_sql

revision = "0029_people"
down_revision = "0028_directory"


def upgrade() -> None:
    """Create the read model of the people who have signed in."""
    run_sql("0029_people.sql")
