"""Names of streams and subjects, and the ids under which the event store keeps streams.

A stream's name states its kind (`room:general`, `reader:general:alice`, `report:general`, `person:alice`,
`session:alice`, `audit`, `holds`, `retention`); its id is the UUID (version 5, RFC 9562) of that name. A room id has no
colon, and a user id, which may have some, is the last part, so a name can be split again.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from uuid import UUID, uuid5

NAMESPACE = UUID("6f0a2f0e-6a57-5e0b-9c43-0f6e52c0a7d1")
"""The namespace of all stream ids. Part of the stored format: it never changes."""

SETTINGS = "settings"
"""The subject of events about a room as a whole."""

AUDIT = "audit"
"""The stream of all readings of the record."""

HOLDS = "holds"
"""The stream of the legal holds on rooms and people."""

RETENTION = "retention"
"""The stream of all expiries."""

EVERYTHING = "log"
"""The subject of an `AuditRead` that names neither a room nor a person."""

NEW_MESSAGE = "message:"
"""The subject of a message whose number the log has not assigned yet; `chat_append` completes it."""

EVERY_USER = "user:*"
"""In a guard: any subject that is a user. It is also the subject of a user `*`, whose commands are then guarded by more
than they need.
"""

WHOLE_STREAM = "*"
"""In a guard: any subject at all."""

_DIRECT = re.compile("d-[0-9a-f]{32}")


def room_stream(room: str) -> str:
    """Return the stream of a room."""
    return f"room:{room}"


def reader_stream(room: str, user: str) -> str:
    """Return the stream of one user's read marker in one room."""
    return f"reader:{room}:{user}"


def report_stream(room: str) -> str:
    """Return the stream of the reports of a room's messages, which only moderators and auditors read."""
    return f"report:{room}"


def person_stream(user: str) -> str:
    """Return the stream of a person."""
    return f"person:{user}"


def session_stream(user: str) -> str:
    """Return the stream of a user's connections."""
    return f"session:{user}"


def direct_room(members: Iterable[str]) -> str:
    """Return the id of the direct room of these people, in any order; a user id has no space."""
    return f"d-{uuid5(NAMESPACE, 'direct:' + ' '.join(sorted(set(members)))).hex}"


def is_direct_room(room: str) -> bool:
    """Return whether a room id is reserved for a direct room."""
    return _DIRECT.fullmatch(room) is not None


def room_of(stream: str) -> str:
    """Return the room of a room's stream, or of that of its reports or of a reader in it."""
    return stream.split(":", 2)[1]


def user_of(stream: str) -> str:
    """Return the user of a person's or a session's stream."""
    return stream.split(":", 1)[1]


def user_subject(user: str) -> str:
    """Return the subject of events about one user in a stream."""
    return f"user:{user}"


def user_of_subject(subject: str) -> str:
    """Return the user of an event's subject."""
    return subject.removeprefix(user_subject(""))


def room_subject(room: str) -> str:
    """Return the subject of events about one room in a stream that is not the room's own."""
    return f"room:{room}"


def session_subject(session: str) -> str:
    """Return the subject of events about one connection."""
    return f"session:{session}"


def report_subject(report: str) -> str:
    """Return the subject of events about one report."""
    return f"report:{report}"


def report_id(room: str, message: int, user: str) -> str:
    """Return the id of a user's report of a message, always the same; it does not show how many reports there are."""
    return str(uuid5(NAMESPACE, f"report:{room}:{message}:{user}"))


def message_subject(message: int) -> str:
    """Return the subject of events about one message of a room, by its number."""
    return f"{NEW_MESSAGE}{message}"


@lru_cache(maxsize=65_536)
def stream_id(stream: str) -> UUID:
    """Return the `originator_id` of a stream."""
    return uuid5(NAMESPACE, stream)
