"""The people of the record with their present display names, for analysts.

A person has a row from the first event that names them or makes them a member. The name is the one that chat shows
(`service.domain.content.names`). An erasure purges it; the view `read_models.profiles` hides it at once, even before
the projector has reached the erasure.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from projections.engine.projection import Projection
from service.domain.content.names import clean_name
from service.domain.events import MemberJoined, PersonErased, PersonNamed, Recorded
from service.domain.streams import user_of_subject

if TYPE_CHECKING:
    import asyncpg


class ProfileRow(msgspec.Struct, frozen=True):
    """What a batch says of a person; `named_at` and `erased_at` are None where the batch says nothing of them."""

    user_id: str
    name: str | None
    named_at: datetime | None
    first_at: datetime
    erased_at: datetime | None


async def apply(connection: "asyncpg.Connection[Any]", table: str, batch: Sequence[Recorded]) -> None:
    """See `projections.engine.projection.Apply`."""
    rows: dict[str, ProfileRow] = {}
    for recorded in batch:
        user = _user(recorded)
        row = rows.get(user) or ProfileRow(user, None, None, recorded.at, None)
        rows[user] = msgspec.structs.replace(row, **_change(recorded))
    columns = [[getattr(row, name) for row in rows.values()] for name in ProfileRow.__struct_fields__]
    await connection.execute(_SAVE.format(table=table), *columns)


def _change(recorded: Recorded) -> dict[str, Any]:
    match recorded.event:
        case PersonNamed(name=name):
            return {"name": clean_name(name or "") or None, "named_at": recorded.at}
        case PersonErased():
            return {"name": None, "erased_at": recorded.at}
        case _:
            return {}


def _user(recorded: Recorded) -> str:
    return user_of_subject(recorded.subject)


PROJECTION = Projection(
    name="profiles",
    version=1,
    topics=(PersonNamed.TOPIC, MemberJoined.TOPIC, PersonErased.TOPIC),
    key=("user_id",),
    apply=apply,
    forget="UPDATE {table} SET name = NULL WHERE user_id = ANY ($1::text[]) AND name IS NOT NULL",
    row_key=lambda recorded: (_user(recorded),),
)
_SAVE = """
    INSERT INTO {table} AS known (user_id, name, named_at, first_at, erased_at)
    SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[])
    ON CONFLICT (user_id) DO UPDATE SET
        name = CASE WHEN coalesce(excluded.named_at, excluded.erased_at) IS NULL THEN known.name ELSE excluded.name END,
        named_at = coalesce(excluded.named_at, known.named_at),
        erased_at = coalesce(known.erased_at, excluded.erased_at)
    WHERE excluded.named_at IS NOT NULL OR excluded.erased_at IS NOT NULL
"""
