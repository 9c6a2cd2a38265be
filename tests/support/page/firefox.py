"""Headless Firefox, controlled over WebDriver BiDi with `websockets`."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from tests.support.clients.browser import PATIENCE, Tab
from tests.support.needs import path_of

PREFERENCES = {
    "app.normandy.enabled": False,
    "app.update.disabledForTesting": True,
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,",
    "toolkit.telemetry.enabled": False,
    "focusmanager.testmode": True,
}
"""Nothing is asked of the network, and a page may have the focus."""


class Firefox:
    """A running browser, as one BiDi session. Commands are sent one after the other."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a BiDi command and return its result; events are ignored."""
        number = next(self._numbers)
        await self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        async with asyncio.timeout(PATIENCE):
            while (message := json.loads(await self._socket.recv())).get("id") != number:
                pass
        assert message["type"] == "success", message
        result: dict[str, Any] = message["result"]
        return result

    async def open(self, url: str) -> "FirefoxTab":
        """Open a new window, which shares no session storage with others."""
        context = (await self.call("browsingContext.create", type="window"))["context"]
        await self.call("browsingContext.navigate", context=context, url=url, wait="complete")
        return FirefoxTab(self, context)


class FirefoxTab(Tab):
    """A page."""

    def __init__(self, firefox: Firefox, context: str) -> None:
        self._firefox = firefox
        self._context = context

    async def value(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        target = {"context": self._context}
        text = f"JSON.stringify(({expression}) ?? null)"
        answer = await self._firefox.call(
            "script.evaluate", expression=text, target=target, awaitPromise=False, userActivation=True
        )
        assert answer["type"] == "success", answer["exceptionDetails"]
        return json.loads(answer["result"]["value"])

    async def type(self, text: str) -> None:
        """Type into the field that has the focus."""
        keys = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        actions = [{"type": "key", "id": "keyboard", "actions": keys}]
        await self._firefox.call("input.performActions", context=self._context, actions=actions)


def _prepare(profile: Path) -> None:
    """Make a profile with the preferences of the tests."""
    profile.mkdir()
    preferences = (
        f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in PREFERENCES.items()
    )
    (profile / "user.js").write_text("\n".join(preferences))


@asynccontextmanager
async def firefox(profile: Path) -> AsyncIterator[Firefox]:
    """Give a browser with an empty profile for as long as the block lasts."""
    program = path_of("firefox")
    assert program is not None
    _prepare(profile)
    process = await asyncio.create_subprocess_exec(
        program, "--headless", "--no-remote", "--remote-debugging-port", "0", "--profile", str(profile), "about:blank",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        async with asyncio.timeout(PATIENCE):
            while b"WebDriver BiDi listening on " not in (line := await process.stderr.readline()):
                assert line, "Firefox ended before it listened"
        draining = asyncio.create_task(process.stderr.read())
        address = line.split(b" on ")[1].strip().decode() + "/session"
        async with connect(address, max_size=None, ping_interval=None) as socket:
            browser = Firefox(socket)
            await browser.call("session.new", capabilities={})
            yield browser
            await browser.call("browser.close")
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    await draining
