"""Which errors of the database are an outage, which a wrong setting at the start, and which a fault."""

import asyncpg
import pytest

from service.runtime.database_retry import is_rejected, is_transient


@pytest.mark.parametrize(
    ("error", "transient", "rejected"),
    [
        (asyncpg.ReadOnlySQLTransactionError("read-only"), True, False),
        (asyncpg.InvalidPasswordError("password authentication failed"), True, True),
        (asyncpg.InvalidAuthorizationSpecificationError("no such login"), True, True),
        (asyncpg.InvalidCatalogNameError("no such database"), True, True),
        (asyncpg.CannotConnectNowError("starting"), True, False),
        (ConnectionRefusedError(), True, False),
        (asyncpg.InsufficientPrivilegeError("permission denied"), False, False),
        (asyncpg.UniqueViolationError("twice"), False, False),
        (asyncpg.ActiveSQLTransactionError("25001"), False, False),
        (ValueError(), False, False),
    ],
    ids=repr,
)
def test_errors_by_kind(error: Exception, *, transient: bool, rejected: bool) -> None:
    assert (is_transient(error), is_rejected(error)) == (transient, rejected)
