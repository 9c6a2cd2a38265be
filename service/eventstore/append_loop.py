"""Optimistic concurrency: decide on a stream's state, append, and decide again if the stream has changed since.

`decide` reads the state and returns the request that follows from it. It does not await after its decision, so that
requests are queued in the order of the decisions.
"""

from collections.abc import Awaitable, Callable

from service.errors import Overloaded
from service.eventstore.entries import AppendRequest, AppendResult

TRIES = 8
"""Decisions on a command before the caller is asked to retry later."""


async def append_decided(
    decide: Callable[[], Awaitable[AppendRequest | None]],
    append: Callable[[AppendRequest], Awaitable[AppendResult]],
    must_retry: Callable[[AppendResult], bool] = lambda result: result.outcome == "stale",
    *,
    tries: int = TRIES,
) -> AppendResult | None:
    """Append what `decide` returns; return the result, or None if there is nothing to append.

    Raises:
        Overloaded: each of `tries` decisions was outdated when it reached the log; a retry is safe.
    """
    for _ in range(tries):
        request = await decide()
        if request is None:
            return None
        result = await append(request)
        if not must_retry(result):
            return result
    raise Overloaded
