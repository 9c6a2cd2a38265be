"""A later `onrecord dev` runs the migrations only where they would change something."""

import psycopg
import pytest

from migrations import newest
from service.cli.node import _CURRENT
from tests.support.servers.databases import Database


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("SELECT", (True,)),
        ("REVOKE onrecord_node FROM onrecord_app", (False,)),
        ("REVOKE onrecord_projector FROM onrecord_worker", (False,)),
        ("REVOKE onrecord_sealer FROM onrecord_worker", (False,)),
        ("GRANT onrecord_projector TO onrecord_app", (False,)),
        ("GRANT onrecord_sealer TO onrecord_app", (False,)),
        ("UPDATE alembic_version SET version_num = '0001_log'", (False,)),
        ("DELETE FROM alembic_version", None),
    ],
)
def test_a_change_of_the_version_or_of_a_membership_is_seen(
    database: Database, change: str, expected: tuple[bool] | None
) -> None:
    """Within a transaction that is rolled back, since other tests use the same roles."""
    with psycopg.connect(database.owner_url) as owner:
        owner.execute(change.encode())
        row = owner.execute(_CURRENT, [newest(), "onrecord_app", "onrecord_worker"]).fetchone()
        owner.rollback()
    assert row == expected
