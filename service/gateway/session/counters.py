"""Counters of the endpoints: connections by outcome, commands by type and answer, and closes.

Plain numbers, as in `service.observability.histogram`: a command costs two look-ups. Deliveries are not counted here.
"""

from collections import Counter, defaultdict
from time import monotonic

from service.errors import OnRecordError
from service.observability.histogram import Histogram

UNREAD = "unread"
"""The type of a command that was refused before it was decoded."""

OK = "ok"


class Counters:
    """The counts of one node. An outcome is `ok` or an error code."""

    def __init__(self) -> None:
        self.handshakes: Counter[tuple[str, str]] = Counter()
        """By endpoint and outcome, which for some refusals is a more specific word, such as `foreign_origin`."""
        self.commands: Counter[tuple[str, str]] = Counter()
        """By type and outcome."""
        self.command_seconds: defaultdict[str, Histogram] = defaultdict(Histogram)
        """By type, from the frame to the answer."""
        self.requests: Counter[str] = Counter()
        """Connections that were closed because of a request, by reason; see `TimedHttpProtocol.cut`."""
        self.closes: Counter[tuple[str, int]] = Counter()
        """By endpoint and close code."""

    def answered(self, kind: str, error: BaseException | None, began: float) -> None:
        """Count a command that began at `began`, a time of `time.monotonic`, and is answered now."""
        self.commands[kind, OK if error is None else outcome(error)] += 1
        self.command_seconds[kind].observe(monotonic() - began)


def outcome(error: BaseException | None) -> str:
    """Return the outcome of an answer; an unexpected exception is answered as `unavailable`."""
    if error is None:
        return OK
    return error.code if isinstance(error, OnRecordError) else "unavailable"
