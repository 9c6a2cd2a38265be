"""The read models: tables that can be dropped and rebuilt from the log, and the queries over them.

Each module is one read model: how events become its rows, and its queries. A query answers as of the log's head
(`engine.snapshot`); only `engine.runner` and `check` write.
"""

from projections import (
    activity,
    directory_rows,
    memberships,
    messages,
    profiles,
    read_receipts,
    rooms,
    unread_bitmaps,
)
from projections.engine.projection import Projection

PROJECTIONS: tuple[Projection, ...] = (
    messages.PROJECTION,
    memberships.PROJECTION,
    read_receipts.PROJECTION,
    rooms.PROJECTION,
    activity.PROJECTION,
    unread_bitmaps.PROJECTION,
    directory_rows.PROJECTION,
    profiles.PROJECTION,
)
"""Every read model."""
