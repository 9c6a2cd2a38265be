"""The read side: tables that may be dropped and built again from the log, and the queries over them.

Each module is one read model: how its rows follow from the log, and what is asked of them. A query answers as of the
log's head when it came (`tail`); only `runner` and `check` write.
"""

from projections import activity, memberships, messages, read_receipts, rooms, unread_bitmaps
from projections.engine.projection import Projection

PROJECTIONS: tuple[Projection, ...] = (
    messages.PROJECTION,
    memberships.PROJECTION,
    read_receipts.PROJECTION,
    rooms.PROJECTION,
    activity.PROJECTION,
    unread_bitmaps.PROJECTION,
)
"""Every read model."""
