"""Headless Chromium, controlled over its DevTools protocol with `websockets`."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from tests.support.needs import path_of

PATIENCE = 60.0
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0",
)  # fmt: skip

# The protocol's code for a document that is being replaced, among other states of the target.
NAVIGATING = -32000


class Navigated(Exception):
    """The document in which an expression was to be evaluated is gone."""


class Browser:
    """A running browser; every tab is a session of one connection."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reading = asyncio.create_task(self._read())

    async def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Call a DevTools method and return its result."""
        number = next(self._numbers)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        target = {"sessionId": session} if session else {}
        await self._socket.send(json.dumps({"id": number, "method": method, "params": params, **target}))
        async with asyncio.timeout(PATIENCE):
            message = await answer
        if message.get("error", {}).get("code") == NAVIGATING:
            raise Navigated(message["error"])
        assert "error" not in message, message
        result: dict[str, Any] = message["result"]
        return result

    async def open(self, url: str) -> "Tab":
        """Open a new window, which shares no session storage with others."""
        target = (await self.call("Target.createTarget", url=url, newWindow=True))["targetId"]
        session = (await self.call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        # The window counts as focused, like one that a person uses.
        await self.call("Emulation.setFocusEmulationEnabled", session, enabled=True)
        return Tab(self, session)

    async def close(self) -> None:
        """Disconnect from the browser."""
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self) -> None:
        async for text in self._socket:
            message = json.loads(text)
            if (answer := self._answers.pop(message.get("id", 0), None)) is not None:
                answer.set_result(message)


TRUE = """(() => {
    try { return Boolean(EXPRESSION) }
    catch (fault) { if (fault instanceof TypeError) return false; throw fault }
})()"""


class Tab:
    """A page."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    async def value(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        result = await self._browser.call(
            "Runtime.evaluate", self._session, expression=expression, returnByValue=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    async def type(self, text: str) -> None:
        """Type into the field that has the focus."""
        await self._browser.call("Input.insertText", self._session, text=text)

    async def press(self, key: str) -> None:
        """Press and release a key, by its name in DOM events."""
        codes = {"Escape": 27, "Enter": 13, "Tab": 9}
        text = {"text": "\r"} if key == "Enter" else {}  # with which a form is submitted
        for kind in ("keyDown" if text else "rawKeyDown", "keyUp"):
            await self._browser.call(
                "Input.dispatchKeyEvent",
                self._session,
                **text,
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=codes[key],
            )

    async def until(self, expression: str) -> None:
        """Wait until a JavaScript expression is true.

        A property of an element that is not rendered yet is a TypeError, and counts as not true.
        """
        true = TRUE.replace("EXPRESSION", expression)
        async with asyncio.timeout(PATIENCE):
            while not await self._holds(true):
                await asyncio.sleep(0.05)

    async def _holds(self, expression: str) -> bool:
        try:
            return bool(await self.value(expression))
        except Navigated:
            return False

    async def resize(self, width: int, height: int) -> None:
        """Give the page the viewport and the touch screen of a phone; sizes in CSS pixels."""
        await self._browser.call(
            "Emulation.setDeviceMetricsOverride",
            self._session,
            width=width,
            height=height,
            deviceScaleFactor=2,
            mobile=True,
        )
        await self._browser.call("Emulation.setTouchEmulationEnabled", self._session, enabled=True)

    async def reload(self) -> None:
        """Load the page again; return when the old document is gone."""
        await self.value("window.old = true")
        await self.value("location.reload()")
        await self.until("!window.old")

    async def fill(self, selector: str, text: str, button: str) -> None:
        """Type into a field and press a button."""
        await self.until(f"document.querySelector({selector!r})?.offsetParent")
        await self.value(f"document.querySelector({selector!r}).focus()")
        await self.type(text)
        await self.value(f"document.querySelector({button!r}).click()")


@asynccontextmanager
async def chromium(profile: Path) -> AsyncIterator[Browser]:
    """Give a browser with an empty profile for as long as the block lasts."""
    program = path_of("chromium")
    assert program is not None
    process = await asyncio.create_subprocess_exec(
        program, *FLAGS, f"--user-data-dir={profile}", "about:blank",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        async with asyncio.timeout(PATIENCE):
            while b"DevTools listening on " not in (line := await process.stderr.readline()):
                assert line, "Chromium ended before it listened"
        draining = asyncio.create_task(process.stderr.read())
        async with connect(
            line.split(b" on ")[1].strip().decode(), max_size=None, ping_interval=None
        ) as socket:
            browser = Browser(socket)
            yield browser
            await browser.close()
    finally:
        process.kill()
        await process.wait()
    await draining
