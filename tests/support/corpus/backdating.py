"""Moves a fresh log into the past."""

import psycopg
from psycopg import sql


def backdate(superuser_url: str, days: int) -> None:
    """Move all recorded events `days` into the past, before any is sealed or projected."""
    with psycopg.connect(superuser_url) as owner:
        owner.execute("ALTER TABLE stored_events DISABLE TRIGGER append_only")
        for table in ("stored_events", "refs"):
            owner.execute(
                sql.SQL("UPDATE {} SET recorded_at = recorded_at - make_interval(days => {})").format(
                    sql.Identifier(table), sql.Literal(days)
                )
            )
        owner.execute("ALTER TABLE stored_events ENABLE ALWAYS TRIGGER append_only")
        # Positions skip a number, as after a rollback.
        owner.execute("SELECT nextval('stored_events_notification_id_seq')")
        owner.execute(
            "UPDATE person_keys SET scope = split_part(scope, '/', 1) || '/' || "
            "(split_part(scope, '/', 2)::date - %s::integer) WHERE scope LIKE '%%/%%'",
            [days],
        )
