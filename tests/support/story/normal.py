"""Replaces what differs from one recording to the next: times, generated ids, tokens and log positions.

Invariant: the same story gives the same text. A value is replaced by one that depends only on the order in which the
values are first recorded, and equal values stay equal.
"""

import base64
import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

BEGIN = datetime(2026, 3, 14, 9, 26, 53, 589793, tzinfo=UTC)
SCENE, STEP = timedelta(minutes=2), timedelta(seconds=7, microseconds=104_729)
"""The time from the start of a scene to that of the next, and from one recorded time to the next."""

FIRST_POSITION = 20_852

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_TOKEN = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+")
_REPLACED = (
    (re.compile(r"wait \d+(\.\d+)? seconds"), "wait 3600 seconds"),
    (re.compile(r"is \d+ positions behind"), "is 2400 positions behind"),
    (re.compile(r"http://127\.0\.0\.1:\d+"), "https://id.example.com"),
    (re.compile(r"localhost(:|%3A)\d+"), r"localhost\g<1>8000"),
    (re.compile(r"\b(state|nonce|code_challenge)=[\w-]+"), r"\1=SplxlOBeZQQYbYS6WxSbIA"),
)
"""Parts of texts that depend on the speed of the machine, the time of the day, or chance."""
_SHOWN: dict[str, Any] = {
    "retryAfter": 3600,
    "renewal": "x7Kp2mQ9vT4bWc8LzR1nYs6HdF3gJ5aE",
}
"""Fields that do, with the values that are shown."""


class Normalizer:
    """Maps recorded values to those that are shown."""

    def __init__(self) -> None:
        self._times: dict[datetime, datetime] = {}
        self._happened: list[datetime] = []
        self._uuids: dict[str, str] = {}
        self._texts: dict[str, str] = {}
        self._positions: set[int] = set()
        self._next = BEGIN
        self._scenes = 0

    def begin_scene(self) -> None:
        """Let the times of a scene begin at its own start, so that no scene moves those of the next."""
        self._next = BEGIN + SCENE * self._scenes
        self._scenes += 1

    def keep(self, text: str) -> str:
        """Show an id as it is, because the story chose it; return it."""
        self._uuids[text] = text
        return text

    def keep_as(self, text: str, shown: str) -> None:
        """Show a text of the provider's as another."""
        self._texts[text] = shown

    def show_time(self, real: datetime, shown: datetime) -> None:
        """Show a time that the story chose as another."""
        self._times[real] = shown

    def value(self, value: Any, field: str = "") -> Any:
        """Return a value as it is shown; `field` is the name under which it was recorded."""
        if isinstance(value, dict):
            return {self._text(name): self.value(item, name) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item, field) for item in value]
        if field in _SHOWN and value is not None:
            return type(value)(_SHOWN[field])
        if field == "position":
            self._positions.add(value)
        if field == "expiresAt":
            self._times.setdefault(datetime.fromisoformat(value), self._next + timedelta(hours=1))
        return self._text(value) if isinstance(value, str) else value

    def ordered(self, value: Any, field: str = "") -> Any:
        """Return a value with the positions of the log renumbered, in the order that they have in the log."""
        if isinstance(value, dict):
            return {name: self.ordered(item, name) for name, item in value.items()}
        if isinstance(value, list):
            return [self.ordered(item, field) for item in value]
        return FIRST_POSITION + sorted(self._positions).index(value) if field == "position" else value

    def _text(self, text: str) -> str:
        text = self._texts.get(text, text)
        text = _shown_token(text) if _TOKEN.fullmatch(text) else text
        text = _UUID.sub(lambda found: self._uuid(found[0]), text)
        text = _TIME.sub(self._time, text)
        for pattern, shown in _REPLACED:
            text = pattern.sub(shown, text)
        return text

    def _uuid(self, real: str) -> str:
        if real not in self._uuids:
            digest = hashlib.sha256(f"id {len(self._uuids)}".encode()).digest()[:16]
            self._uuids[real] = str(UUID(bytes=digest, version=UUID(real).version or 4))
        return self._uuids[real]

    def _time(self, found: re.Match[str]) -> str:
        real = datetime.fromisoformat(found[0])
        if real not in self._times:
            self._times[real] = self._new_time(real)
            self._happened.append(real)
        shown = self._times[real].replace(tzinfo=None)
        return shown.isoformat(timespec="microseconds" if found[1] else "seconds") + "Z"

    def _new_time(self, real: datetime) -> datetime:
        """Return what is shown for a time: the next of the scene; for an earlier one a time after its predecessor."""
        if not self._happened or real > max(self._happened):
            self._next += STEP
            return self._next - STEP
        before = [other for other in self._happened if other < real]
        return (self._times[max(before)] if before else BEGIN - STEP) + timedelta(seconds=1)


def _shown_token(token: str) -> str:
    """Return a short token with the algorithm and the user of a JSON Web Token; any other text as it is."""
    try:
        head, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2])
    except ValueError:
        return token
    parts = ({"alg": head["alg"]}, {"sub": claims["sub"]})
    encoded = [base64.urlsafe_b64encode(json.dumps(part, separators=(",", ":")).encode()) for part in parts]
    return ".".join([*(part.decode().rstrip("=") for part in encoded), "c2lnbmF0dXJl"])
