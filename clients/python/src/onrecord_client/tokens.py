"""The tokens of the application.

Invariant: the result of the application's function is a token or an `OnRecordError`, within `TOKEN_S`.
"""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable

from onrecord_client.errors import TOKEN_UNAVAILABLE, OnRecordError

log = logging.getLogger("onrecord_client")

Token = str | Callable[[], str | Awaitable[str]]

TOKEN_S = 30.0
"""Seconds for a coroutine function to give a token."""


class Tokens:
    """Gives tokens from a token, a function or a coroutine function."""

    def __init__(self, source: Token) -> None:
        self._source = source

    async def new(self) -> str:
        """Return a token of the application.

        Raises:
            OnRecordError: it gave none. The application forbids to try again by an `OnRecordError` of its own.
        """
        if isinstance(self._source, str):
            return self._source
        try:
            given = self._source()
            return await asyncio.wait_for(given, TOKEN_S) if inspect.isawaitable(given) else given
        except OnRecordError:
            raise
        except Exception as error:
            log.exception("the function that gives the token failed")
            raise OnRecordError(TOKEN_UNAVAILABLE, f"There is no token: {error!r}", retryable=True) from error
