"""uvicorn's flow control, for a protocol that buffers bytes which it has not parsed."""

import asyncio
from collections.abc import Callable

from uvicorn.protocols.http.flow_control import FlowControl

from service.gateway.transport.callbacks import nothing


class Flow(FlowControl):
    """Pauses reading also while there are buffered bytes; `resume` parses them."""

    def __init__(self, transport: asyncio.Transport, resume: Callable[[], None]) -> None:
        super().__init__(transport)
        self._resume = resume
        self._held = False

    def end(self) -> None:
        """Forget the protocol, once the connection is lost."""
        self._resume = nothing  # a reference cycle otherwise

    def hold(self, held: bool) -> None:  # noqa: FBT001 - its only argument
        """Pause reading while there are buffered bytes."""
        if held is not self._held:
            self._held = held
            if not self.read_paused:
                (self._transport.pause_reading if held else self._transport.resume_reading)()

    def pause_reading(self) -> None:
        """See `FlowControl`."""
        if self._held:
            self.read_paused = True
        else:
            super().pause_reading()

    def resume_reading(self) -> None:
        """See `FlowControl`; buffered bytes are parsed before more are read."""
        if self._held and self.read_paused:
            self.read_paused = False
            self._resume()
        elif not self._held:
            super().resume_reading()
