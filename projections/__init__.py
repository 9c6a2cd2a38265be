"""The read models: tables that can be dropped and rebuilt from the log, and the queries over them.

Each module is one read model: how events become its rows, and its queries. A query answers as of the log's head
(`engine.snapshot`); only `engine.runner` and `check` write.
"""

from projections import (
    activity,
    directory_rows,
    memberships,
    messages,
    people,
    profiles,
    read_receipts,
    rooms,
    unread_bitmaps,
    unread_markers,
)
from projections.engine.projection import Projection

PROJECTIONS: tuple[Projection, ...] = (
    messages.PROJECTION,
    memberships.PROJECTION,
    read_receipts.PROJECTION,
    rooms.PROJECTION,
    activity.PROJECTION,
    unread_bitmaps.PROJECTION,
    people.PROJECTION,
    directory_rows.PROJECTION,
    unread_markers.PROJECTION,
    profiles.PROJECTION,
)
"""Every read model."""
