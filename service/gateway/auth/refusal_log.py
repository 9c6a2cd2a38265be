"""Logs refusals at the doors: one line each, with the reason and the client's address, and never with the token.

Clients can cause refusals without limit, so lines have a rate per address and in total. The next line has the number of
those that were withheld.
"""

import logging
from collections.abc import Callable

from service.errors import NotAllowed, OnRecordError, TokenExpired, TokenInvalid, TokenNotYetValid
from service.gateway.transport.client_address import address_key
from service.runtime.token_bucket import LineLimit

PER_SECOND, AT_ONCE = 2.0, 20
"""Lines of one node."""

EACH_PER_SECOND, EACH_AT_ONCE = 0.5, 10
"""Lines about one address."""

FOREIGN_ORIGIN = "foreign_origin"
UNLISTED = "not this server's own, and not in ONRECORD_ORIGINS"

log = logging.getLogger("onrecord.door")


class RefusalLog:
    """The refusals of one node; `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._lines = LineLimit(clock, (PER_SECOND, AT_ONCE), (EACH_PER_SECOND, EACH_AT_ONCE))

    def write(self, door: str, address: str | None, reason: str, error: OnRecordError | None = None) -> None:
        """Log that a door refused a client, unless there are too many lines; `reason` is a word, as in the metrics."""
        if (withheld := self._lines.admit(address_key(address))) is None:
            return
        origin = error.data.get("origin") if error is not None else None
        log.warning(
            "refused",
            extra={
                "door": door,
                "reason": reason if origin is None else FOREIGN_ORIGIN,
                "problem": _problem(reason, error) if origin is None else UNLISTED,
                **({} if origin is None else {"origin": origin}),
                "address": address,
                "withheld": withheld,
            },
        )


def _problem(reason: str, error: OnRecordError | None) -> str:
    """Return the details of an error that repeat nothing that the client sent; the reason in words if it has none."""
    if isinstance(error, TokenInvalid):
        return str(error.data.get("logged", error.data["problem"]))
    if isinstance(error, NotAllowed | TokenExpired | TokenNotYetValid):
        return str(error)
    if error is not None and all(isinstance(value, int | float) for value in error.data.values()):
        return str(error)  # numbers are the server's own
    return reason.replace("_", " ")
