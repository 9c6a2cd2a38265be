"""Plays the story on a running server and writes the recording. `make docs` runs it."""

import asyncio
import json
import os
import sys
from typing import Any

from service import embedded
from service.embedded import Servers
from tests.support.docs.examples import CLOSED
from tests.support.environment import ROOT, environment
from tests.support.processes.processes import running
from tests.support.servers.databases import Database, fresh_database
from tests.support.servers.memory import servers_directory
from tests.support.story import scenes
from tests.support.story.cast import Cast, cast_of

RECORDING = ROOT / "service" / "protocol" / "contract" / "recording.json"

EMPTY = '{"scenes": [], "closes": []}'

SETTINGS = {
    "ONRECORD_NODE": "one",
    "ONRECORD_JOIN_CREATES": "false",
    "ONRECORD_JWT_LEEWAY": "0",
    "ONRECORD_DISCONNECT_GRACE": "1",
    "ONRECORD_MAX_ROOMS": "5",
    "ONRECORD_MAX_ADDED_ROOMS": "2",
    "ONRECORD_MAX_CONTENT": "1000",
    "ONRECORD_MAX_REPORTS": "2",
    "ONRECORD_REPORTS_TO_ADMINS": "true",
    "ONRECORD_SHOW_READINGS": "true",
    "ONRECORD_DATABASE_TIMEOUT": "2",
}
"""The settings of the story's server, besides those of every test: small limits, so that the story reaches them."""


async def recorded(servers: Servers, database: Database) -> str:
    """Play the story on a node and a projector; return the recording as text."""
    env = environment(database, ONRECORD_REDIS_URL=servers.redis_url, **SETTINGS)
    async with (
        running(env, "serve") as node,
        running(env, "project", "run"),
        cast_of(node, servers, database) as cast,
    ):
        try:
            for scene in scenes.STORY:
                title, _, text = " ".join((scene.__doc__ or "").split()).partition(". ")
                cast.begin(title, text)
                await scene(cast)
        finally:
            if os.environ.get("UNRECORDED"):
                for name, event in cast.unrecorded():
                    print(name, json.dumps(event), file=sys.stderr)  # noqa: T201 - for authors of the story
        return text_of(cast)


def text_of(cast: Cast) -> str:
    """Return the recording as JSON with one entry a line."""
    scenes_text = ",\n".join(
        "\n".join(
            [
                f'{{"title": {_json(scene.title)},',
                f'"text": {_json(scene.text)},',
                '"entries": [',
                ",\n".join(_json(cast.normalizer.ordered(entry)) for entry in scene.entries),
                "]}",
            ]
        )
        for scene in cast.scenes
    )
    closes = ",\n".join(
        _json({"code": close.value, "cause": cause, "reason": reason})
        for close, (cause, reason) in CLOSED.items()
    )
    return f'{{"scenes": [\n{scenes_text}\n],\n"closes": [\n{closes}\n]}}\n'


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


async def _main() -> None:
    with (
        embedded.throwaway(servers_directory() / f"onrecord-story-{os.geteuid()}") as servers,
        fresh_database(servers) as database,
    ):
        before = RECORDING.read_text() if RECORDING.exists() else EMPTY
        RECORDING.write_text(
            EMPTY
        )  # what is there may be unreadable after a merge, and checks of frames read it
        text = before
        try:
            text = await recorded(servers, database)
        finally:
            RECORDING.write_text(text)


if __name__ == "__main__":
    asyncio.run(_main())
