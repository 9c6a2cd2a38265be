"""Detects decoded events that differ from the recorded ones, and logs each unreadable position once."""

import logging
from collections import OrderedDict

from service.domain.events import MessagePosted, Recorded
from service.domain.salvage import belongs
from service.domain.streams import message_subject

LARGEST = 2**63 - 1
"""The largest number that a column of a read model can hold."""

MAX_POSITIONS = 100_000
"""Unreadable positions kept in memory so that each is logged once; the earliest is evicted first."""

log = logging.getLogger("onrecord.log")


def mismatch(recorded: Recorded) -> str | None:
    """Return why a decoded event cannot be the one that was recorded, None if it can be.

    The subject of a recorded event was derived from its state, and all its values fit into columns of read models.
    """
    event = recorded.event
    if not belongs(event.TOPIC, recorded.stream):
        return "the topic does not belong to this stream"
    own = message_subject(recorded.seq) if isinstance(event, MessagePosted) else event.subject
    if own != recorded.subject:
        return "the subject was not derived from this state"
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if isinstance(value, int) and abs(value) > LARGEST:
            return f"{name} is out of range"
        if isinstance(value, str | tuple) and "\0" in "".join(map(str, value)):
            return f"{name} contains a NUL character"
    return None


class Damaged:
    """The unreadable positions that this process has found; `count` counts each once."""

    def __init__(self) -> None:
        self.count = 0
        self._positions: OrderedDict[int, None] = OrderedDict()

    def note(self, recorded: Recorded) -> None:
        """Count and log an event with `damage`."""
        damage = recorded.damage
        if damage is None or recorded.position in self._positions:
            return
        self.count += 1
        self._positions[recorded.position] = None
        if len(self._positions) > MAX_POSITIONS:
            self._positions.popitem(last=False)
        log.error(
            "unreadable_event",
            extra={
                "position": recorded.position,
                "stream": recorded.stream,
                "seq": recorded.seq,
                "topic": damage.topic,
                "part": damage.part,
                "reason": damage.reason,
            },
        )
