"""User ids are the subjects of OpenID Connect."""

from migrations.run import run_sql

revision = "0026_any_subject"
down_revision = "0024_erased_unread"


def upgrade() -> None:
    """Accept any printable ASCII without spaces as a user id in `require_form`."""
    run_sql("0026_any_subject.sql")
