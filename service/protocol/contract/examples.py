"""Examples of all frames and documents, generated from the structs and the names of their fields.

A field's example is the first of these that its type allows: the examples of its `Meta(examples=[...])`, the values of
`SAMPLES` under its name (or under the name of its struct, a dot and its name), and one derived from the type alone. So
a new struct has an example without further work.
"""

import string
from typing import Any

import msgspec
from msgspec import inspect

from service.errors import OnRecordError
from service.protocol.acks import Ack
from service.protocol.commands import Frame
from service.protocol.native import error_fields

TIME = "2026-03-14T09:26:53.589793Z"
UUID = "4f1c8a52-0d6b-4c3e-9a27-5f0e1b7d2c90"
REPORT = "6fb4c1d2-9a3e-5b57-8c41-2d7f90e6a1b3"

_TIMES = (
    *(
        "at",
        "bannedUntil",
        "closedAt",
        "createdAt",
        "deletedAt",
        "editedAt",
        "expiresAt",
        "from",
        "lastReadAt",
    ),
    *("lastSeen", "mutedUntil", "notBefore", "openedAt", "to", "until"),
)

SAMPLES: dict[str, tuple[Any, ...]] = {
    "DirectoryQuery.after": ("general",),
    "EventLine.type": ("MessagePosted",),
    "EventsQuery.type": ("MessagePosted",),
    "MessageReport.reason": ("Insults another member.",),
    "MessageReported.reason": ("Insults another member.",),
    "NotAllowed.problem": ("A direct room has exactly two members.",),
    "PublicRoom.members": (12,),
    "Report.reason": ("Insults another member.",),
    "Reading.what": ("room",),
    "RoomDirectory.after": ("general",),
    "RoomDirectory.query": ("gen",),
    "RoomDirectoryAck.hasMore": (True,),
    "RoomDirectoryAck.next": ("general",),
    "RoomHead.reason": ("epoch_changed",),
    "RoomHead.recovered": (False,),
    "SignInBegun.address": ("https://id.example.com/authorize?response_type=code&client_id=chat&state=3xKz",),
    "SignInInvalid.problem": ("bad_signature",),
    "SignInReturn.code": ("SplxlOBeZQQYbYS6WxSbIA",),
    "SignInReturn.error": ("",),
    "TokenInvalid.problem": ("bad_signature",),
    "added": (True,),
    "after": (41, "alice", REPORT),
    "authorId": ("bob",),
    "behind": (900,),
    "before": (58,),
    "bus": ("ok",),
    "by": ("alice",),
    "connections": (12,),
    "code": ("not_a_member",),
    "content": ("Hello, this is on the record.",),
    "explanation": ("Off topic, again and again.",),
    "emoji": ("\N{THUMBS UP SIGN}",),
    "epoch": ("0b9f7c1e-6a35-4d0a-8f52-3f4f0c9d1a77",),
    "ground": ("GDPR, article 17(1)(b); case 2026-31",),
    "head": (58,),
    "hasMore": (False,),
    "lastRead": (57,),
    "length": (10_001,),
    "limit": (50,),
    "log": ("ok",),
    "members": (2, ["bob"]),
    "mentions": (1, ["bob"]),
    "message": (58,),
    "messageId": (58,),
    "name": ("General",),
    "note": ("The first warning.",),
    "openedBy": ("alice",),
    "outcome": ("warned",),
    "pingInterval": (25.0,),
    "pingTimeout": (20.0,),
    "position": (20_852,),
    "problem": ("Expected 'int', got 'str' - at '$.limit'",),
    "protocol": (1,),
    "reason": ("left",),
    "recovered": (True,),
    "ref": (UUID,),
    "replyTo": (57,),
    "report": (REPORT,),
    "reportId": (REPORT,),
    "retryAfter": (1.5,),
    "retentionDays": (90,),
    "role": ("member",),
    "rooms": ({"general": 41},),
    "room": ("general",),
    "roomId": ("general",),
    "seq": (58,),
    "session": (UUID,),
    "status": ("online", "away"),
    "stream": ("room:general",),
    "token": ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl",),
    "topic": ("What every member should know",),
    "type": ("message:sned",),
    "unread": (3,),
    "user": ("bob",),
    "userId": ("alice",),
    "userIds": (["alice", "bob"],),
    "visibility": ("public",),
    "what": ("a <script> element",),
    **dict.fromkeys(_TIMES, (TIME,)),
}
"""Values of fields by name, or by struct and name; of several, the first that a field's type allows."""


def example(cls: type[msgspec.Struct], *, optional: bool = True) -> dict[str, Any]:
    """Return an example of a struct as it travels; without `optional`, only with its required fields."""
    fields = [field for field in msgspec.structs.fields(cls) if field.required or optional]
    value = {field.encode_name: _of_field(cls, field) for field in fields}
    config = cls.__struct_config__
    return {config.tag_field: config.tag, **value} if config.tag_field else value


def command_examples(command: type[Frame]) -> list[dict[str, Any]]:
    """Return the shortest form of a command, and the longest if they differ."""
    head = {"type": command.TYPE, "ref": UUID} if command.RECORDED else {"type": command.TYPE}
    short = {**head, **example(command, optional=False), **head}
    full = {**head, **example(command), **head}
    if {"before", "after"} <= full.keys():
        del full["after"]  # a page lies on one side of a message
    more = full.keys() - short.keys()
    return [short, full] if more - {"ref"} else [full]


def ack_example(ack: type[Ack]) -> dict[str, Any]:
    """Return an example of the frame that acknowledges a command."""
    return {"type": "ack", "ref": UUID, **example(ack)}


def error_example(error: type[OnRecordError]) -> OnRecordError:
    """Return an example of an error."""
    named = {name for _, name, _, _ in string.Formatter().parse(error.sentence) if name}
    return error(
        **{
            name: SAMPLES.get(f"{error.__name__}.{name}", (shown_example(name),))[0]
            for name in sorted({*named, *error.shown})
        }
    )


def error_frame(error: type[OnRecordError]) -> dict[str, Any]:
    """Return an example of the frame that answers a refused command."""
    return {"type": "error", "ref": UUID, **error_fields(error_example(error))}


def shown_example(name: str) -> Any:
    """Return an example of the value that an error's data holds under a name."""
    return SAMPLES.get(name, (name,))[0]


def _of_field(cls: type[msgspec.Struct], field: msgspec.structs.FieldInfo) -> Any:
    name = field.encode_name
    declared = _declared(inspect.type_info(field.type))
    candidates = [*declared, *_samples(cls, name)]
    for candidate in candidates:
        if _allowed(candidate, field.type):
            return candidate
    derived = _of_type(inspect.type_info(field.type), name)
    if not _allowed(derived, field.type):
        raise LookupError(f"{cls.__name__}.{field.name} needs an example: give it Meta(examples=[...])")
    return derived


def _samples(cls: type[msgspec.Struct], name: str) -> tuple[Any, ...]:
    # In a struct with a user and without a room, `name` is the user's.
    of_a_user = "user_id" in cls.__struct_fields__ and "visibility" not in cls.__struct_fields__
    plain = ("Alice",) if name == "name" and of_a_user else SAMPLES.get(name, ())
    return SAMPLES.get(f"{cls.__name__}.{name}", plain)


def _declared(kind: inspect.Type) -> list[Any]:
    if isinstance(kind, inspect.Metadata):
        return list((kind.extra_json_schema or {}).get("examples", ()))
    if isinstance(kind, inspect.UnionType):
        return [each for part in kind.types for each in _declared(part)]
    return []


_PLAIN: dict[type[inspect.Type], Any] = {
    inspect.BoolType: True,
    inspect.FloatType: 1.5,
    inspect.DateTimeType: TIME,
}


def _allowed(value: Any, annotation: Any) -> bool:
    try:
        msgspec.convert(value, annotation)
    except msgspec.ValidationError:
        return False
    return True


def _of_type(kind: inspect.Type, name: str) -> Any:
    value: Any = name
    match kind:
        case inspect.Metadata(type=inner):
            value = _of_type(inner, name)
        case inspect.UnionType(types=types):
            value = _of_type(next(part for part in types if not isinstance(part, inspect.NoneType)), name)
        case inspect.LiteralType(values=values):
            value = values[0]
        case inspect.StructType(cls=cls):
            value = example(cls)
        case inspect.CollectionType(item_type=item):
            value = [_of_type(item, name)]
        case inspect.DictType(value_type=item):
            value = {"general": _of_type(item, name)}
        case inspect.IntType(ge=least):
            value = least or 1
        case _:
            value = _PLAIN.get(type(kind), name)
    return value
