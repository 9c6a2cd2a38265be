"""The web client in a browser: sign in, send, read."""

import json
import os
from pathlib import Path

from tests.support.clients.browser import Tab

SAID = "[...document.querySelectorAll('#messages .content')].map(one => one.textContent)"


def newcomer(place: Path) -> dict[str, str]:
    """Return an environment that sets nothing but the data directory."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ONRECORD_")}
    return inherited | {"ONRECORD_DATA_DIR": str(place), "ONRECORD_PORT": "0"}


async def enter(tab: Tab, name: str) -> None:
    """Sign in and join the room general; return when the join is acked, also where the user is a member already."""
    await tab.fill("#signin-name", name, "#signin-submit")
    await tab.until("document.querySelector('#connection-state')?.dataset.status === 'connected'")
    await tab.fill("#join-room", "general", "#join-submit")
    await tab.until("document.querySelector('#room-list li[data-room-id=general]')")
    await tab.until("document.querySelector('#room-name').textContent !== 'No room open'")


def message(text: str) -> str:
    """Return the JavaScript for the row of a message, by its words."""
    rows = "[...document.querySelectorAll('#messages li[data-status=sent]')]"
    return f"{rows}.findLast(row => row.querySelector('.content').textContent === {json.dumps(text)})"


async def say(tab: Tab, text: str) -> None:
    await tab.fill("#message-text", text, "#message-send")
    await tab.until(message(text))
