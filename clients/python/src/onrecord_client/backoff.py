"""When to connect again: the meaning of close codes and HTTP statuses, and the delays. Pure, except for the jitter.

Invariant: the first retry comes within a second unless the server asked for more, and a delay is never longer than
`LONGEST_S` plus what the server asked for.
"""

import random
from dataclasses import dataclass

FIRST_S = 0.5
LONGEST_S = 30.0
LIMITED_S = 5.0
"""Seconds to stay away after 4009, or 429 without `Retry-After`."""

LONGEST_EARLY_S = 60.0
"""Seconds to wait at most for a token to become valid: a wrong clock may be corrected."""

TOKEN_NOT_YET_VALID = 4002
TOO_MANY_REQUESTS = 4009

COME_BACK = {
    4000: "The server is restarting.",
    4001: "The token expired.",
    4002: "The token is not valid yet.",
    4008: "The connection was too slow.",
    4009: "Too many requests.",
    4010: "The connection was silent.",
    4011: "The server is catching up with the others.",
}
STAY_AWAY = {
    1009: "The server refused a frame that is too large.",
    4500: "The server refused the token.",
    4501: "The server could not read a frame of this client.",
    4502: "The server speaks another version of the protocol.",
    4503: "This account is suspended.",
    4504: "This account was erased.",
}
"""Close codes after which the client does not come back. Every other code, known or not, means: come back."""

LATER = frozenset({408, 425, 429})
CLIENT_ERRORS = range(400, 500)


@dataclass(frozen=True)
class Ended:
    """Why a connection ended, or could not be opened. `at_least` is in seconds."""

    reason: str
    final: bool = False
    at_least: float = 0.0


def closed(code: int | None, reason: str = "", retry_after: float | None = None) -> Ended:
    """Return what a close code means; None: the connection was lost. `retry_after` is from the last `error` frame."""
    words = STAY_AWAY.get(code or 0) or COME_BACK.get(code or 0) or "The connection was lost."
    words = f"{words} ({code}: {reason})" if code and reason else words
    if code in STAY_AWAY:
        return Ended(words, final=True)
    if code == TOKEN_NOT_YET_VALID:
        return Ended(words, at_least=min(LIMITED_S if retry_after is None else retry_after, LONGEST_EARLY_S))
    return Ended(words, at_least=max(retry_after or 0.0, LIMITED_S if code == TOO_MANY_REQUESTS else 0.0))


def refused(status: int, retry_after: str | None, *, connected_before: bool) -> Ended:
    """Return what the HTTP status of a refused upgrade means.

    A client error ends a client that has never been connected, since its address is wrong. Later the same status comes
    from something between the two, and passes.
    """
    words = f"The server answered the upgrade with {status}."
    if status in CLIENT_ERRORS and status not in LATER and not connected_before:
        return Ended(words, final=True)
    asked = float(retry_after) if retry_after and retry_after.isdecimal() else 0.0
    return Ended(words, at_least=min(max(asked, LIMITED_S if status in LATER else 0.0), LONGEST_EARLY_S))


class Backoff:
    """The delays between attempts: exponential, with jitter, from `FIRST_S` on after each `connected`."""

    def __init__(self) -> None:
        self._attempts = 0

    def reset(self) -> None:
        """Start again from the shortest pause, since the client is connected."""
        self._attempts = 0

    def delay(self, ended: Ended) -> float:
        """Return the seconds until the next attempt."""
        ceiling = min(LONGEST_S, FIRST_S * 2.0 ** min(self._attempts, 16))
        self._attempts += 1
        # Clients of a restarted server come back spread over time.
        return ended.at_least + ceiling * random.uniform(0.5, 1.0)  # noqa: S311 - no secret depends on it
