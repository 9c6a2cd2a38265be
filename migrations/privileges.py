"""The privileges that the logins of nodes and projectors need, checked before they start to work."""

from typing import Any

NODE = {
    "stored_events": ("SELECT",),
    "log_end": ("SELECT",),
    "person_keys": ("SELECT",),
    "key_days_since": ("SELECT",),
    "key_encryption_keys": ("SELECT", "INSERT"),
    "log_epoch": ("SELECT",),
    "message_summaries": ("SELECT",),
    "message_users": ("SELECT",),
    "reports": ("SELECT",),
    "holds": ("SELECT",),
    "carried_words": ("SELECT",),
    "reached_back": ("SELECT",),
    "alembic_version": ("SELECT",),
    "incarnations": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "open_sessions": ("SELECT", "INSERT", "DELETE"),
    "notification_tracking": ("SELECT",),
    "seals": ("SELECT",),
    "seal_nodes": ("SELECT",),
    "seal_keys": ("SELECT",),
}
"""The privileges of a node's login, per table; it has none on `refs`, which only functions read and write."""

PROJECTOR = {
    "stored_events": ("SELECT",),
    "log_end": ("SELECT",),
    "person_keys": ("SELECT",),
    "key_encryption_keys": ("SELECT",),
    "log_epoch": ("SELECT",),
    "message_summaries": ("SELECT",),
    "message_users": ("SELECT",),
    "carried_words": ("SELECT",),
    "alembic_version": ("SELECT",),
    "notification_tracking": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "seals": ("SELECT", "INSERT"),
    "seal_nodes": ("SELECT", "INSERT"),
    "seal_keys": ("SELECT", "INSERT"),
}
"""The same for the login of `onrecord project run`, which also seals."""


class PrivilegesMissing(Exception):
    """The login of a process lacks a privilege that the process needs; the message is one sentence."""


async def lacking(connection: Any, login: str, wanted: dict[str, tuple[str, ...]]) -> list[str]:
    """Return the privileges that a login lacks, of those `wanted` per table."""
    pairs = [(table, privilege) for table, privileges in wanted.items() for privilege in privileges]
    tables, privileges = zip(*pairs, strict=True)
    return [row["lacks"] for row in await connection.fetch(_LACKING, login, tables, privileges)]


async def lacking_of_node(connection: Any, login: str) -> list[str]:
    """Return the privileges of a node that a login lacks."""
    lacks = await lacking(connection, login, NODE)
    if not await connection.fetchval(_MAY_APPEND, login):
        lacks.append("EXECUTE on chat_append")
    return lacks


async def require_node(connection: Any) -> None:
    """Check that the login of this connection may serve.

    Raises:
        PrivilegesMissing: it lacks a privilege of a node.
    """
    login = await connection.fetchval(_LOGIN)
    if lacks := await lacking_of_node(connection, login):
        if await seals(connection, login):
            raise PrivilegesMissing(
                f"{_PROJECTORS_LOGIN.format(login=login)}, which lacks {', '.join(lacks)}."
            )
        raise PrivilegesMissing(
            f"The login {login} of ONRECORD_DATABASE_URL lacks {', '.join(lacks)}: set the address of the nodes' "
            "login, or run `onrecord migrate` with ONRECORD_DATABASE_URL set to this one."
        )


async def seals(connection: Any, login: str) -> bool:
    """Return whether a login may seal, as only that of the projector should."""
    return bool(await connection.fetchval("SELECT has_table_privilege($1, 'seals', 'INSERT')", login))


async def require_projector(connection: Any, *, own_login: bool) -> None:
    """Check that the login of this connection may project and seal; without `own_login` it is that of the nodes.

    Raises:
        PrivilegesMissing: it lacks a privilege of a projector.
    """
    login = await connection.fetchval(_LOGIN)
    if lacks := await lacking(connection, login, PROJECTOR):
        if not own_login:
            raise PrivilegesMissing(
                f"ONRECORD_PROJECTOR_DATABASE_URL is not set, and the nodes' login {login} lacks {', '.join(lacks)}: "
                "set it to the address of the projector's login."
            )
        raise PrivilegesMissing(
            f"The projector's login {login} lacks {', '.join(lacks)}: run `onrecord migrate` with "
            "ONRECORD_PROJECTOR_DATABASE_URL set to it."
        )


_PROJECTORS_LOGIN = (
    "ONRECORD_DATABASE_URL has to be the address of the nodes' login, and names the projector's, {login}"
)
_LOGIN = "SELECT current_user::text"
_LACKING = """
    SELECT format('%s on %s', privilege, name) AS lacks
    FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS wanted (name, privilege, number)
    WHERE NOT has_table_privilege($1, name, privilege) ORDER BY number
"""
_MAY_APPEND = """
    SELECT coalesce(bool_and(has_function_privilege($1::name, oid, 'EXECUTE')), false)
    FROM pg_proc WHERE proname = 'chat_append'
"""
