"""A room as of a moment, computed in a slow and obvious way: each field is searched for separately in the log."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast

from projections.messages import MessageRow
from service.domain import events as log_of
from service.domain.events import ReadMarkerMoved, Recorded
from service.domain.streams import person_stream, reader_stream, room_stream
from tests.support.oracles import read_models
from tests.support.oracles.histories import USERS


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def room_then(
    log: Sequence[Recorded], name: str, position: int, now: datetime, users: Sequence[str] = USERS
) -> dict[str, Any] | None:
    """Return the document of a room as of a position; `now` is the present time, `users` have been in the room."""
    until = [r for r in log if r.position <= position]
    own = [r for r in until if r.stream == room_stream(name)]
    if not own:
        return None
    people = [one for user in sorted(users) if (one := standing(until, own, name, user, now)) is not None]
    return {
        "roomId": name,
        "seq": own[-1].seq,
        "at": _time(own[-1].at),
        "openedAt": _time(own[0].at),
        "openedBy": own[0].by,
        "settings": settings(own),
        "members": [one for one in people if "role" in one],
        "others": [one for one in people if "role" not in one],
        "messages": messages(until, name),
    }


def settings(own: list[Recorded]) -> dict[str, Any]:
    opened = cast("log_of.RoomOpened", own[0].event)
    names = [r.event.name for r in own if isinstance(r.event, log_of.RoomOpened | log_of.RoomRenamed)]
    topics = [r.event.topic for r in own if isinstance(r.event, log_of.RoomTopicChanged)]
    doors = [r.event for r in own if isinstance(r.event, log_of.RoomArchived | log_of.RoomReopened)]
    found: dict[str, Any] = {"name": names[-1], "visibility": opened.visibility}
    if topics and topics[-1]:
        found["topic"] = topics[-1]
    if doors and isinstance(doors[-1], log_of.RoomArchived):
        found["archived"] = True
    kept = [r.event.days for r in own if isinstance(r.event, log_of.RoomRetentionChanged)]
    if kept and kept[-1] is not None:
        found["retention"] = kept[-1]
    return found


def standing(
    until: list[Recorded], own: list[Recorded], name: str, user: str, now: datetime
) -> dict[str, Any] | None:
    mine = [r for r in own if r.subject == f"user:{user}"]
    found = membership(mine) | invitation(mine)
    lifted = (log_of.MemberUnbanned, log_of.MemberJoined)
    found |= sentence(mine, "banned", "ban", log_of.MemberBanned, lifted, now)
    found |= sentence(mine, "muted", "mute", log_of.MemberMuted, (log_of.MemberUnmuted,), now)
    own = [r for r in until if r.stream == reader_stream(name, user)]
    read = [cast("Any", r) for r in own if isinstance(r.event, ReadMarkerMoved)]
    if read:
        found |= {"lastRead": read[-1].event.message, "lastReadAt": _time(read[-1].at)}
    account = [r for r in until if r.stream == person_stream(user)]
    called = [r for r in account if isinstance(r.event, log_of.PersonNamed)]
    gone = [act(r) for r in account if isinstance(r.event, log_of.PersonErased)]
    if not found:
        return None
    if called:
        last = called[-1]
        found |= {"nameErased": True} if last.erased else {"name": cast("Any", last.event).name}
    return {"userId": user, **found, **({"erasure": gone[0]} if gone else {})}


def act(recorded: Recorded) -> dict[str, Any]:
    return {"by": recorded.by, "at": _time(recorded.at), "position": recorded.position}


def how(recorded: Recorded) -> str:
    """Return why a membership ended; only the erasure of a person makes them leave by the hand of another."""
    if isinstance(recorded.event, log_of.MemberLeft):
        return "left" if recorded.subject == f"user:{recorded.by}" else "erased"
    return "banned" if isinstance(recorded.event, log_of.MemberBanned) else "removed"


def membership(mine: list[Recorded]) -> dict[str, Any]:
    steps = [r for r in mine if isinstance(r.event, (log_of.MemberJoined, *log_of.ENDINGS))]
    inside, gone = None, None
    for before, step in zip([None, *steps], steps, strict=False):
        if isinstance(step.event, log_of.MemberJoined):
            inside, gone = step, None
        elif before is not None and isinstance(before.event, log_of.MemberJoined):
            inside, gone = None, step
    if inside is not None:
        given = [r for r in mine if hasattr(r.event, "role") and r.seq >= inside.seq][-1]
        since = {"since": inside.seq, "sinceAt": _time(inside.at)}
        role = {"role": cast("Any", given.event).role, "roleSince": given.seq, "roleSinceAt": _time(given.at)}
        return {**role, **since}
    return {"left": gone.seq, "ended": {"how": how(gone), **act(gone)}} if gone is not None else {}


def invitation(mine: list[Recorded]) -> dict[str, Any]:
    about = (log_of.MemberInvited, log_of.MemberJoined, *log_of.ENDINGS)
    last = [r.event for r in mine if isinstance(r.event, about)]
    return {"invited": True} if last and isinstance(last[-1], log_of.MemberInvited) else {}


def sentence(
    mine: list[Recorded], word: str, noun: str, begins: type, ends: tuple[type, ...], now: datetime
) -> dict[str, Any]:
    last = [r for r in mine if isinstance(r.event, (begins, *ends))]
    if not last or not isinstance(last[-1].event, begins):
        return {}
    found: dict[str, Any] = {word: True, noun: act(last[-1])}
    end = cast("Any", last[-1].event).until
    if end is None:
        return found
    return {**found, f"{word}Until": _time(end)} if end > now else {}


def messages(until: list[Recorded], name: str) -> list[dict[str, Any]]:
    own = [r for r in until if r.stream == room_stream(name)]
    deletions = {r.event.message: r for r in own if isinstance(r.event, log_of.MessageDeleted)}
    return [message(row, deletions.get(row.id)) for row in read_models.messages_of(until, name)]


def message(row: MessageRow, deletion: Recorded | None) -> dict[str, Any]:
    """Return a message of the read model in the auditor's form, with the event that deleted it."""
    optional = {
        "deletedBy": deletion and deletion.by,
        "deletionReason": deletion and cast("Any", deletion.event).reason,
        "replyTo": row.reply_to,
        "mentions": list(row.mentions),
        "editedAt": row.edited_at and _time(row.edited_at),
        "deletedAt": row.deleted_at and _time(row.deleted_at),
        "reactions": [{"emoji": emoji, "userIds": list(users)} for emoji, users in row.reactions.items()],
        "pinned": row.pinned,
    }
    return {
        "messageId": row.id,
        "userId": row.user_id,
        "at": _time(row.created_at),
        "content": row.content,
        **{name: value for name, value in optional.items() if value},
    }
