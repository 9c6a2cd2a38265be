"""Functions that derive what they change from one argument, and one lock order for keys."""

from migrations.run import run_sql

revision = "0020_privacy"
down_revision = "0019_narrow_rights"


def upgrade() -> None:
    """Let no login of a node write keys or carried content, and let no key survive the erasure of its person."""
    run_sql("0020_privacy.sql")
