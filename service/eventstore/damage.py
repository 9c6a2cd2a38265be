"""Finds decoded events that cannot be the recorded ones, and logs each unreadable position once."""

import logging
from collections import OrderedDict

from service.domain.events import MessagePosted, Recorded
from service.domain.salvage import belongs
from service.domain.streams import message_subject

LARGEST = 2**63 - 1
"""The largest number that a column can hold."""

REMEMBERED = 100_000
"""Unreadable positions that are remembered, so that each is logged once; the earliest goes first."""

log = logging.getLogger("onrecord.log")


def misfit(recorded: Recorded) -> str | None:
    """Return why a decoded event cannot be the recorded one; None where it can.

    The recorded subject was derived from the state, and every value fits into a column of a read model.
    """
    event = recorded.event
    if not belongs(event.TOPIC, recorded.stream):
        return "the topic is none of this stream"
    own = message_subject(recorded.seq) if isinstance(event, MessagePosted) else event.subject
    if own != recorded.subject:
        return "the state is about something else than the subject"
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if isinstance(value, int) and abs(value) > LARGEST:
            return f"{name} is out of range"
        if isinstance(value, str | tuple) and "\0" in "".join(map(str, value)):
            return f"{name} holds a NUL"
    return None


class Damaged:
    """The unreadable positions that this process met; each is logged once and counted in `count`."""

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
        if len(self._positions) > REMEMBERED:
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
