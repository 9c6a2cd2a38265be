"""The AsyncAPI 3.0 document of the endpoints, generated from the tables of this package.

Commands with their acks, events, errors and close codes are taken from their tables (`COMMANDS`, `ACKS`, the subclasses
of `Outgoing`, the tree of errors, `Close`), so none can be missing.
"""

from typing import Any

from service.errors import OnRecordError, every_error
from service.protocol.acks import ack_of
from service.protocol.close_codes import Close
from service.protocol.commands import COMMANDS, Connect, Frame
from service.protocol.contract import examples, schemas
from service.protocol.events import Connected, Outgoing
from service.protocol.problems import status_of

DESCRIPTION = (
    "A chat on an event log. The first frame is `connect`; every other frame of a client is a command, and is answered "
    "with an `ack` or an `error` that carries its `ref`. The server sends events at any time. Clients ignore unknown "
    "fields and types; the server refuses them. Times are RFC 3339, UTC, with microseconds."
)

CHANNEL = "native"
_FRAMES: tuple[type[Frame], ...] = (Connect, *COMMANDS.values())
Part = dict[str, Any]

OPERATIONS: dict[str, str] = {
    "room:list": "listRooms",
    "room:members": "listMembers",
    "room:role": "changeRole",
    **{f"room:{verb}": f"{verb}User" for verb in ("invite", "kick", "ban", "unban", "mute", "unmute")},
    "message:react": "addReaction",
    "message:unreact": "removeReaction",
    "room:directory": "listPublicRooms",
    "message:history": "listMessages",
    "message:pins": "listPins",
    "message:read": "markAsRead",
    "message:unread": "markAsUnread",
    "report:list": "listReports",
    "auth:refresh": "refreshToken",
    "user:blocks": "listBlocks",
    "user:find": "findUsers",
}
"""The operations of the commands whose wire names are not a noun and a verb, as `room:create` (`createRoom`) is."""


def document(version: str) -> Part:
    """Return the document as plain values, in a stable order; `version` is that of the wire contract."""
    known = schemas.catalogue()
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "OnRecord", "version": version, "description": DESCRIPTION},
        "defaultContentType": "application/json",
        "servers": {"development": _server()},
        "channels": {CHANNEL: _channel()},
        "operations": {**_received(), **_sent()},
        "components": {
            "messages": {**_commands(known), **_acks(known), **_events(known), "error": _error()},
            "schemas": {**known.components, **_errors()},
            "correlationIds": {
                "ref": {
                    "description": "The client's id of its command; the answer repeats it.",
                    "location": "$message.payload#/ref",
                }
            },
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "On the upgrade; or the same token in `connect`, within five seconds.",
                }
            },
        },
    }


def close_codes() -> list[Part]:
    """Return every close code, whether to reconnect, and an example of a close frame's content."""
    return [
        {
            "code": close.value,
            "name": close.name.lower(),
            "comeBack": close.come_back,
            **({"example": closed} if (closed := examples.closed(close)) else {}),
        }
        for close in sorted(Close)
    ]


def error_codes() -> list[Part]:
    """Return every error code, whether the same command may succeed later, and the fields that travel with it."""
    return [
        {
            "code": error.code,
            "meaning": " ".join((error.__doc__ or "").split()),
            "retryable": error.retryable,
            "status": status_of(error),
            "fields": list(error.shown),
        }
        for error in every_error().values()
    ]


def command_key(command: type[Frame]) -> str:
    """Return the name of a command's message among the components."""
    return f"command.{_dotted(command.TYPE)}"


def ack_key(command: type[Frame]) -> str:
    """Return the name of the message that acknowledges a command."""
    return f"ack.{_dotted(command.TYPE)}"


def event_key(event: type[Outgoing]) -> str:
    """Return the name of an event's message among the components."""
    return f"event.{_dotted(schemas.event_name(event))}"


def error_schema_name(error: type[OnRecordError]) -> str:
    """Return the name of the schema of the frame with an error's code."""
    return f"error.{error.code}"


def operation_name(kind: type[Frame] | type[Outgoing]) -> str:
    """Return the name of the operation of a command, a verb and a noun, or of an event, `on` and its name."""
    if not issubclass(kind, Frame):
        return "on" + _pascal(schemas.event_name(kind))
    noun, _, verb = kind.TYPE.partition(":")
    return OPERATIONS.get(kind.TYPE, verb + _pascal(noun) if verb else noun)


def _pascal(name: str) -> str:
    return "".join(word.capitalize() for word in name.replace(":", "_").split("_"))


def _server() -> Part:
    return {
        "host": "localhost:8000",
        "protocol": "ws",
        "description": "What `make run` starts.",
        "security": [{"$ref": "#/components/securitySchemes/bearer"}],
    }


def _channel() -> Part:
    keys = [
        *map(command_key, _FRAMES),
        *map(ack_key, COMMANDS.values()),
        *map(event_key, schemas.events()),
        "error",
    ]
    return {
        "address": "/ws",
        "title": "The native endpoint",
        "description": "JSON text frames, one object each.",
        "servers": [{"$ref": "#/servers/development"}],
        "messages": {key: {"$ref": f"#/components/messages/{key}"} for key in keys},
        "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
        "x-close-codes": close_codes(),
        "x-error-codes": error_codes(),
    }


def _received() -> Part:
    opening = {operation_name(Connect): _receive(Connect, event_key(Connected))}
    return opening | {
        operation_name(command): _receive(command, ack_key(command)) for command in COMMANDS.values()
    }


def _receive(command: type[Frame], answer: str) -> Part:
    return {
        "action": "receive",
        "channel": {"$ref": f"#/channels/{CHANNEL}"},
        "summary": schemas.summary(command),
        "messages": [_in_channel(command_key(command))],
        "reply": {
            "channel": {"$ref": f"#/channels/{CHANNEL}"},
            "messages": [_in_channel(answer), _in_channel("error")],
        },
    }


def _sent() -> Part:
    return {
        operation_name(event): {
            "action": "send",
            "channel": {"$ref": f"#/channels/{CHANNEL}"},
            "summary": schemas.summary(event),
            "messages": [_in_channel(event_key(event))],
        }
        for event in schemas.events()
    }


def _commands(known: schemas.Catalogue) -> Part:
    return {
        command_key(command): {
            "name": command.TYPE,
            "summary": schemas.summary(command),
            "correlationId": {"$ref": "#/components/correlationIds/ref"},
            "payload": known.reference(command),
            **_examples(examples.commands(command.TYPE)),
            "x-recorded": command.RECORDED,
        }
        for command in _FRAMES
    }


def _acks(known: schemas.Catalogue) -> Part:
    return {
        ack_key(command): {
            "name": "ack",
            "summary": f"Acknowledges {command.TYPE}: {schemas.summary(ack)}",
            "correlationId": {"$ref": "#/components/correlationIds/ref"},
            "payload": schemas.ack_schema(command, known.schema(ack)),
            **_examples(examples.acks(command.TYPE)),
        }
        for command, ack in ((command, ack_of(command)) for command in COMMANDS.values())
    }


def _events(known: schemas.Catalogue) -> Part:
    return {
        event_key(event): {
            "name": schemas.event_name(event),
            "summary": schemas.summary(event),
            "payload": known.reference(event),
            **_examples(examples.events(schemas.event_name(event))),
        }
        for event in schemas.events()
    }


def _error() -> Part:
    found = every_error().values()
    names = map(error_schema_name, found)
    return {
        "name": "error",
        "summary": "A command was refused, or cannot be carried out now.",
        "correlationId": {"$ref": "#/components/correlationIds/ref"},
        "payload": {"oneOf": [{"$ref": schemas.TEMPLATE.format(name=name)} for name in names]},
        "examples": [
            {"name": error.code, "payload": frame}
            for error in found
            for frame in examples.error_frames(error)
        ],
    }


def _examples(payloads: list[Part]) -> Part:
    return {"examples": [{"payload": payload} for payload in payloads]} if payloads else {}


def _errors() -> Part:
    return {error_schema_name(error): schemas.error_schema(error) for error in every_error().values()}


def _in_channel(key: str) -> Part:
    return {"$ref": f"#/channels/{CHANNEL}/messages/{key}"}


def _dotted(name: str) -> str:
    """Return a wire name as a key: AsyncAPI allows no colon there."""
    return name.replace(":", ".")
