"""Functions that derive what they change from one argument, and one lock order for keys."""

from migrations.run import run_sql

revision = "0020_privacy"
down_revision = "0019_narrow_rights"


def upgrade() -> None:
    """Let no login of a node write keys or carried words, and no key outlive its person's erasure."""
    run_sql("0020_privacy.sql")
