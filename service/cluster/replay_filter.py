"""Decides which messages of the bus are accepted: those that are signed, new, timely and of this log.

A receiver keeps the highest counter of each origin, and refuses messages with a counter up to it. Messages are checked
in the order of their arrival, before they are dispatched by channel: a connection to Redis keeps the order in which an
origin published over all channels, so one counter per origin is enough. A publisher that reconnects may overtake its
own last messages; those are refused, and the log is read.

The counter of an origin may have been evicted, or the origin may be older than this process. Messages of an origin
without a counter are accepted only if they were sent after `_floor`: the time at which this receiver learned the log's
epoch, or the last time of an evicted origin. Times are the database's, so the clocks of machines do not matter. A
message that is more than `MAX_SKEW` old is refused: an attacker who controls Redis can delay messages by that much, and
repeat none.

Invariant: no message is accepted twice, or by a process that started after the message was sent.
"""

import logging
from collections import Counter
from collections.abc import Callable
from typing import Literal

from service.cluster.envelope import NO_EPOCH, Envelope, Message, Opened

MAX_SKEW = 30_000_000
"""Maximum microseconds between the time at which a message was sent and this node's time, in either direction."""

MAX_ORIGINS = 1_000
"""Origins, each a node's process, whose counters are kept."""

LOG_EVERY = 10_000_000
"""Microseconds between two log lines for the same reason, however many messages are refused."""

Refusal = Literal["forged", "version", "replayed", "untimely", "epoch"]
REFUSALS: tuple[Refusal, ...] = ("version", "replayed", "untimely", "epoch")
"""The reasons for which a signed message is refused."""

log = logging.getLogger("onrecord.relay")


class ReplayFilter:
    """Opens received messages.

    `request_sync` is called if times differ, because this node's clock may be wrong. For metrics: `received` counts
    messages, except the accepted ones of this node; `refused` counts by reason.
    """

    def __init__(self, envelope: Envelope, request_sync: Callable[[], None]) -> None:
        self._envelope = envelope
        self._request_sync = request_sync
        self._since = self._floor = 0
        self._own = 0
        self._origins: dict[bytes, _Origin] = {}
        self._logged: dict[Refusal, int] = {}
        self.received = 0
        self.refused: Counter[Refusal] = Counter()

    def open(self, channel: str, sealed: bytes) -> Opened | None:
        """Return a message that is signed, new and timely, None if it is refused."""
        opened = self._envelope.open(channel, sealed)
        if opened is None:
            self.received += 1
            known = self._envelope.is_of_other_version(channel, sealed)
            self._refuse("version" if known else "forged", channel)
            return None
        if self._envelope.is_own(opened) and opened.counter > self._own:
            self._own = opened.counter
            return opened
        self.received += 1
        refusal = "replayed" if self._envelope.is_own(opened) else self._check(opened)
        if refusal is not None:
            self._refuse(refusal, channel)
            return None
        return opened

    def decode(self, channel: str, opened: Opened) -> Message | None:
        """Return the content of a message, None if it belongs to another log than the one that is served now."""
        # The log may have been restored while the message waited, so its epoch is compared only now.
        if opened.epoch == self._envelope.epoch:
            return self._envelope.decode(opened)
        self._refuse("epoch", channel)
        return None

    def _check(self, opened: Opened) -> Refusal | None:
        if self._envelope.epoch == NO_EPOCH:
            return "epoch"  # the database's time is not known either, so an old message cannot be detected
        if self._since != self._envelope.since:
            self._since = self._floor = self._envelope.since
            self._origins.clear()
        origin = self._origins.get(opened.origin)
        if opened.sent <= self._floor if origin is None else opened.counter <= origin.counter:
            return "replayed"
        if abs(opened.sent - self._envelope.now()) > MAX_SKEW:
            self._request_sync()
            return "untimely"
        (origin or self._admit(opened.origin)).advance(opened)
        return None

    def _admit(self, name: bytes) -> "_Origin":
        if len(self._origins) >= MAX_ORIGINS:
            oldest = min(self._origins, key=lambda known: self._origins[known].sent)
            self._floor = max(self._floor, self._origins.pop(oldest).sent)
        origin = self._origins[name] = _Origin()
        return origin

    def _refuse(self, reason: Refusal, channel: str) -> None:
        self.refused[reason] += 1
        now = self._envelope.now()
        if reason in self._logged and now - self._logged[reason] < LOG_EVERY:
            return
        self._logged[reason] = now
        if reason == "forged":
            log.warning("bus_message_ignored", extra={"channel": channel})
        else:
            log.warning("bus_message_refused", extra={"channel": channel, "reason": reason})


class _Origin:
    """The highest counter of an origin, and the time of its latest message."""

    __slots__ = ("counter", "sent")

    def __init__(self) -> None:
        self.counter = self.sent = 0

    def advance(self, opened: Opened) -> None:
        self.counter = opened.counter
        self.sent = max(self.sent, opened.sent)
