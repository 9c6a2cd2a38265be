"""Exports of a sealed log, and changes that a verifier has to detect."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from service.audit.export.export import export
from service.audit.export.scope import Everything, OnePerson, OneRoom, Scope
from service.audit.proof import offline, signing_keys
from service.encryption.keyring import KeyRing
from service.eventstore.serializer import EventSerializer
from tests.support.eventstore.log_node import KEY_ENCRYPTION_KEY
from tests.support.eventstore.sealed_logs import owner
from tests.support.servers.databases import Database


def checked(path: Path, *words: str, program: Path | str = offline.__file__) -> tuple[int, str, str]:
    """Run onrecord-verify with nothing but the standard library."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(program), str(path), *words],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


async def exported(
    database: Database, place: Path, scope: Scope, tell: Callable[..., None] | None = None
) -> int:
    serializer = EventSerializer(KeyRing(KEY_ENCRYPTION_KEY))
    async with owner(database) as connection:
        keys = await signing_keys.load(connection, KEY_ENCRYPTION_KEY)
        return await export(connection, keys, serializer, scope, place, tell or (lambda *_: None))


def contents(place: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in place.iterdir()}


SCOPES: dict[str, tuple[Scope, int]] = {
    "room": (OneRoom("general"), 305),
    "person": (OnePerson("bob"), 5),
    "all": (Everything(), 308),
}


Change = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]


def _other_words(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    events[9]["words"]["content"]["text"] = events[9]["fields"]["content"] = "forged"
    return events


def _other_fields(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    events[9]["fields"]["content"] = "forged"
    return events


def _other_state(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    events[9]["state"] = events[9]["state"].replace("alice", "mallory")
    events[9]["fields"]["author"] = "mallory"
    return events


def _moved(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [*events[:5], events[6], events[5], *events[7:]]


CHANGES: dict[str, Change] = {
    "words": _other_words,
    "fields": _other_fields,
    "state": _other_state,
    "moved": _moved,
    "missing": lambda events: events[:5] + events[6:],
    "twice": lambda events: [*events[:5], events[5], *events[5:]],
    "hidden": lambda events: [{**events[0], "by": "mallory"}, *events[1:]],
}
