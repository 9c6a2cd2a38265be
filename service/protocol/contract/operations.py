"""Names, tags and descriptions of the HTTP operations and their parameters, for the OpenAPI document.

A generated client names its functions after the operations and groups them by the tags, so neither changes.
"""

from typing import Any, NamedTuple

from service.protocol.contract import examples

Part = dict[str, Any]


class Operation(NamedTuple):
    """The `operationId` of an operation, a verb and a noun, and the tag of its area."""

    id: str
    tag: str


TAGS: dict[str, str] = {
    "rooms": "Rooms, and what is in them.",
    "people": "The people whom the server knows.",
    "me": "The rooms and the data of the user whose token it is.",
    "audit": "The record, for auditors, and who read it.",
    "administration": "Actions on people and on reports, for administrators.",
    "signIn": "Signing in, for the web client.",
    "node": "The state of one node, for operators.",
    "documents": "The web client and the contracts.",
}
"""Every tag with its description."""

OPERATIONS: dict[str, Operation] = {
    "GET /api/rooms": Operation("listPublicRooms", "rooms"),
    "GET /api/rooms/{roomId}": Operation("getRoom", "rooms"),
    "GET /api/rooms/{roomId}/messages": Operation("listMessages", "rooms"),
    "GET /api/rooms/{roomId}/members": Operation("listMembers", "rooms"),
    "GET /api/rooms/{roomId}/receipts": Operation("listReceipts", "rooms"),
    "GET /api/rooms/{roomId}/reports": Operation("listRoomReports", "rooms"),
    "GET /api/rooms/{roomId}/readings": Operation("listReadings", "audit"),
    "GET /api/directory": Operation("listDirectory", "rooms"),
    "GET /api/rooms/{roomId}/pins": Operation("listPinnedMessages", "rooms"),
    "GET /api/users": Operation("findUsers", "people"),
    "GET /api/me/rooms": Operation("listMyRooms", "me"),
    "GET /api/me/export": Operation("exportMyData", "me"),
    "GET /audit/events": Operation("streamEvents", "audit"),
    "GET /audit/rooms/{roomId}": Operation("getRoomAsOf", "audit"),
    "GET /audit/rooms/{roomId}/changes": Operation("compareRoom", "audit"),
    "GET /audit/people/{userId}/view": Operation("getViewOfPerson", "audit"),
    "GET /audit/people/{userId}/rooms": Operation("listRoomsOfPerson", "audit"),
    "GET /admin/reports": Operation("listAllReports", "administration"),
    "POST /api/rooms/{roomId}/unread": Operation("markMessageUnread", "rooms"),
    "POST /admin/people/{userId}/erase": Operation("erasePerson", "administration"),
    "POST /admin/people/{userId}/suspend": Operation("suspendPerson", "administration"),
    "POST /admin/people/{userId}/restore": Operation("restorePerson", "administration"),
    "POST /admin/rooms/{roomId}/reports/{reportId}/resolve": Operation("resolveReport", "administration"),
    "GET /": Operation("getPage", "documents"),
    "GET /asyncapi.yaml": Operation("getAsyncapiDocument", "documents"),
    "GET /openapi.yaml": Operation("getOpenapiDocument", "documents"),
    "GET /healthz": Operation("getLiveness", "node"),
    "GET /readyz": Operation("getReadiness", "node"),
    "GET /metrics": Operation("getMetrics", "node"),
    "POST /dev/token": Operation("createDemoToken", "signIn"),
    "GET /signin": Operation("getWaysToSignIn", "signIn"),
    "POST /signin/begin": Operation("beginSignIn", "signIn"),
    "GET /signin/callback": Operation("getSignInPage", "signIn"),
    "POST /signin/finish": Operation("finishSignIn", "signIn"),
    "POST /signin/renew": Operation("renewSignIn", "signIn"),
    "POST /signin/end": Operation("endSignIn", "signIn"),
}
"""Every operation by its method and path; a test fails for one that is not here."""

PARAMETERS: dict[str, str] = {
    "roomId": "The id of the room.",
    "userId": "The id of the user, percent-encoded.",
    "reportId": "The id of the report.",
    "limit": "The greatest number of items in the page.",
    "after": "The last id of the previous page; without it, the first page.",
    "before": "The page ends before this number.",
    "at": "The moment: the seq of an event of the room, or a time; both inclusive. Without it, now.",
    "from": "The earlier moment: the seq of an event of the room, or a time; both inclusive.",
    "to": "The later moment: the seq of an event of the room, or a time; both inclusive. Without it, now.",
    "room": "The id of a room.",
    "RoomDirectory.query": "A part of the name of a room.",
    "RoomDirectory.after": "The `next` of the previous page; without it, the first page.",
    "UserFind.query": "The beginning of a user id, or of a word of a display name.",
    "UserFind.limit": "The greatest number of users in the answer.",
    "MessagePins.before": "The last `pinSeq` of the previous page; without it, the newest pins.",
    "PersonRoomsQuery.at": "A day or a time; inclusive. Without it, now.",
    "MessageHistory.before": "The page ends before the message with this id; without it, with the newest message.",
    "MessageHistory.after": "The page begins after the message with this id; not together with `before`.",
    "EventsQuery.after": "The position in the log after which the answer begins.",
    "EventsQuery.room": "Only events of this room.",
    "EventsQuery.person": "Only events by or about this user.",
    "EventsQuery.type": "Only events of this type.",
    "EventsQuery.from": "Only events from this time on.",
    "EventsQuery.to": "Only events up to this time.",
    "EventsQuery.follow": "Whether the answer continues with new events, until the client closes it.",
    "ReadingsQuery.before": "The first number of the page that follows in time; without it, the newest page.",
}
"""The descriptions of parameters by name, or by struct and name."""


def complete(method: str, path: str, described: Part) -> Part:
    """Return an operation of the document with its name, its tag and its recorded examples."""
    found = operation(method, path)
    recorded = examples.requests(method, path)
    given = {name: value for entry in recorded for name, value in entry["request"]["parameters"].items()}
    bodies = [entry["request"]["body"] for entry in recorded if "body" in entry["request"]]
    answers = [entry.get("lines", [entry.get("answer")])[0] for entry in recorded]
    completed = {"operationId": found.id, "tags": [found.tag], **described}
    if "parameters" in described:
        completed["parameters"] = [
            {**parameter, **({"example": given[parameter["name"]]} if parameter["name"] in given else {})}
            for parameter in described["parameters"]
        ]
    if "requestBody" in described and bodies:
        completed["requestBody"] = _with_example(described["requestBody"], bodies[0])
    if "200" in described["responses"] and answers:
        success = _with_example(described["responses"]["200"], answers[0])
        completed["responses"] = {**described["responses"], "200": success}
    return completed


def _with_example(part: Part, value: Any) -> Part:
    return {
        **part,
        "content": {media: {**content, "example": value} for media, content in part["content"].items()},
    }


def operation(method: str, path: str) -> Operation:
    """Return the name and tag of an operation, derived from the path if the table does not have it."""
    words = [word for word in path.replace("{", "").replace("}", "").split("/") if word]
    derived = Operation(method.lower() + "".join(word[:1].upper() + word[1:] for word in words), "rooms")
    return OPERATIONS.get(f"{method} {path}", derived)


def parameter_description(query: type, name: str) -> str:
    """Return the description of a parameter, its name if the table does not have it."""
    return PARAMETERS.get(f"{query.__name__}.{name}", PARAMETERS.get(name, name))
