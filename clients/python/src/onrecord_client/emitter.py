"""Listeners by event name.

Invariant: an exception of a listener is logged and reaches neither the caller nor the other listeners.
"""

import inspect
import logging
from collections.abc import Callable
from typing import Any

log = logging.getLogger("onrecord_client")

Listener = Callable[[Any], object]


class Emitter:
    """Calls listeners in the order in which they were added."""

    def __init__(self, *events: str) -> None:
        self._listeners: dict[str, list[Listener]] = {event: [] for event in events}

    def on(self, event: str, listener: Listener) -> None:
        """Call `listener` with the value of every such event from now on.

        Raises:
            TypeError: the listener is a coroutine function. Coroutines without a reader have no bound; read
                `Room.stream()`, or start tasks of your own.
            ValueError: there is no such event.
        """
        if inspect.iscoroutinefunction(listener):
            raise TypeError("a listener is a plain function; async code reads room.stream() or starts a task")
        self._of(event).append(listener)

    def off(self, event: str, listener: Listener) -> None:
        """Call `listener` no more.

        Raises:
            ValueError: there is no such event.
        """
        if listener in self._of(event):
            self._of(event).remove(listener)

    def emit(self, event: str, value: object) -> None:
        """Call the listeners of an event."""
        for listener in [*self._listeners[event]]:
            try:
                listener(value)
            except Exception:
                log.exception("a listener of %s failed", event)

    def _of(self, event: str) -> list[Listener]:
        if event not in self._listeners:
            raise ValueError(f"there is no event {event!r}; there are {', '.join(self._listeners)}")
        return self._listeners[event]
