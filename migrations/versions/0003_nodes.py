"""The leases of nodes, and the open sessions on them."""

from migrations.run import run_sql

revision = "0003_nodes"
down_revision = "0002_read_models"


def upgrade() -> None:
    """Create the tables of incarnations and of open sessions."""
    run_sql("0003_nodes.sql")
