"""Formats the answers of the audit as text for people: times in UTC, and names beside user ids. Pure.

Invariant: a message is one line. No character that a user wrote ends the line or moves a terminal's cursor.
"""

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence

import msgspec

from service.audit.history.format import ERASED, UNREADABLE, titled, when, who
from service.protocol.audit import PersonRooms, PersonView, RoomSeen, SessionThen, Stretch
from service.protocol.forms import printable
from service.protocol.room_as_of import (
    Act,
    MessageChange,
    MessageThen,
    RoomChanges,
    RoomThen,
    SettingsThen,
    Standing,
    StandingChange,
    Standpoint,
)

Names = Mapping[str, str]
"""Display names by user id."""


async def text_pieces(
    document: msgspec.Struct, items: AsyncIterable[Sequence[msgspec.Struct]], names: Names
) -> AsyncIterator[bytes]:
    """Yield a document whose last field is a long list, and the items of that list, as lines of text."""
    match document:
        case RoomThen():
            lines, title = _room(document, names), "Messages"
        case RoomChanges():
            lines, title = _changes(document, names), "Messages that changed"
        case PersonRooms():
            lines, title = _person_rooms(document), "Rooms"
        case _:
            raise TypeError(document)
    yield _joined([*lines, "", title])
    empty = True
    async for page in items:
        empty = empty and not page
        yield _joined(line for item in page for line in _item(item, names))
    if empty:
        yield b"  none\n"


def view_text(view: PersonView, names: Names) -> bytes:
    """Return what a person could see of a room, as text."""
    lines = [
        f"What {who(view.user_id, names)} could see of the room {view.room_id} {_moment(view, view.since)}",
        *_erasure(view.erasure, names),
        f"  the room was visible to them: {'yes' if view.visible else 'no'}",
        f"  standing: {_standing(view.standing, names)}",
        f"  could read: {_events(view.readable)}",
        f"  was certainly sent: {_events(view.written)}",
        *([f"  was perhaps sent: {_events(view.perhaps_written)}"] if view.perhaps_written else []),
        f"  connections of which it is not known what they were sent: {view.unknown}",
        "",
        "Connections",
        *(map(_session, view.sessions) if view.sessions else ["  none"]),
        *([f"  connections that were sent nothing of this room: {view.silent}"] if view.silent else []),
    ]
    return _joined(lines)


def _joined(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _room(room: RoomThen, names: Names) -> list[str]:
    return [
        f"Room {titled(room.settings.name, room.room_id)} {_moment(room)}",
        f"  opened {when(room.opened_at)} by {who(room.opened_by, names)}",
        *(f"  {line}" for line in _settings(room.settings)),
        *_unreadable(room),
        "",
        f"Members: {len(room.members)}",
        *(f"  {who(each.user_id, names)}: {_standing(each, names)}" for each in room.members),
        *(["", f"Others: {len(room.others)}"] if room.others else []),
        *(f"  {who(each.user_id, names)}: {_standing(each, names)}" for each in room.others),
    ]


def _changes(changes: RoomChanges, names: Names) -> list[str]:
    before, after = (_point(point) for point in (changes.from_, changes.to))
    lines = [f"Changes of the room {changes.room_id} after {before}, up to {after}"]
    if changes.settings is not None:
        old, new = (
            set(_settings(each)) if each else set()
            for each in (changes.settings.before, changes.settings.after)
        )
        lines += ["", "Settings", *(f"  no longer: {line}" for line in sorted(old - new))]
        lines += [f"  new: {line}" for line in sorted(new - old)]
    if changes.people:
        lines += ["", "People"]
        lines += [
            f"  {who(each.user_id, names)}: {_standing(each.after, names)} (before: {_before(each, names)})"
            for each in changes.people
        ]
    return lines


def _before(change: StandingChange, names: Names) -> str:
    """Return a standing before a change, with the name at that time if the person has another one after it."""
    before, after = change.before, change.after
    if before is None or after is None or before.name == after.name:
        return _standing(before, names)
    gone = ERASED if before.name_erased else UNREADABLE if before.name_unreadable else "none"
    return f"{_standing(before, names)}; name: {printable(before.name) if before.name else gone}"


def _person_rooms(document: PersonRooms) -> list[str]:
    names = {document.user_id: document.name} if document.name else {}
    time = f"on {document.since[:10]} (UTC)" if document.since else f"as of {when(document.at)}"
    return [
        f"What {who(document.user_id, names)} could see {time}",
        *_erasure(document.erasure, names),
        "  These are the rooms that they had to do with. Every public room could be found besides.",
        f"  connections of which it is not known what they were sent: {document.unknown}",
    ]


def _item(item: msgspec.Struct, names: Names) -> list[str]:
    match item:
        case MessageThen():
            return [_message(item, names)]
        case MessageChange(before=before, after=after):
            return [
                f"  before: {_message(before, names)}" if before else "  before: (not posted yet)",
                f"  after:  {_message(after, names)}" if after else "  after:  (gone)",
            ]
        case RoomSeen():
            return [
                f"  {titled(item.name, item.room_id)}, {item.visibility}, up to event {item.seq}",
                f"    visible: {'yes' if item.visible else 'no'}; standing: {_standing(item.standing, names)}",
                f"    could read: {_events(item.readable)}; was certainly sent: {_events(item.written)}"
                + (f"; was perhaps sent: {_events(item.perhaps_written)}" if item.perhaps_written else ""),
            ]
        case _:
            raise TypeError(item)


def _message(message: MessageThen, names: Names) -> str:
    notes = [
        *([f"replies to {message.reply_to}"] if message.reply_to else []),
        *([f"mentions {_people(message.mentions, names)}"] if message.mentions else []),
        *([f"edited {when(message.edited_at)}"] if message.edited_at else []),
        *(["pinned"] if message.pinned else []),
        *(f"{printable(each.emoji)} by {_people(each.user_ids, names)}" for each in message.reactions),
    ]
    head = f"{message.message_id:>6}  {when(message.at)}  {who(message.user_id, names)}"
    about = f"  [{'; '.join(notes)}]" if notes else ""
    return f"{head}: {_content(message, names)}{about}"


def _content(message: MessageThen, names: Names) -> str:
    if message.deleted_at:
        by = f" by {who(message.deleted_by, names)}" if message.deleted_by else ""
        reason = f": {printable(message.deletion_reason)}" if message.deletion_reason else ""
        return f"(deleted {when(message.deleted_at)}{by}{reason})"
    if message.erased:
        return "(erased or expired)"
    return "(unreadable)" if message.content is None else printable(message.content)


def _people(users: Iterable[str], names: Names) -> str:
    return ", ".join(who(user, names) for user in users)


def _settings(settings: SettingsThen) -> list[str]:
    topic = (
        "(erased)"
        if settings.topic_erased
        else "(unreadable)"
        if settings.topic_unreadable
        else settings.topic
    )
    days = settings.retention
    return [
        f"name: {printable(settings.name)}",
        settings.visibility,
        *([f"topic: {printable(topic)}"] if topic else []),
        *(["archived"] if settings.archived else []),
        *([f"content is unreadable after {days} day{'' if days == 1 else 's'}"] if days else []),
    ]


def _standing(standing: Standing | None, names: Names) -> str:
    if standing is None:
        return "none"
    ban, mute, erasure = standing.ban, standing.mute, standing.erasure
    parts = [
        *_membership(standing),
        *_ending(standing, names),
        *(["invited"] if standing.invited else []),
        *([_ban(standing, ban, names)] if ban and not _ended_by_ban(standing) else []),
        *([f"muted {_until(standing.muted_until)} {_act(mute, names)}"] if mute else []),
        *([f"had read up to {standing.last_read}"] if standing.last_read else []),
        *([f"erased {_act(erasure, names)}"] if erasure else []),
        *(["name erased since"] if standing.name_erased and not erasure else []),
    ]
    return ", ".join(parts) or "none"


def _membership(standing: Standing) -> list[str]:
    if standing.role is None:
        return []
    since = [_since(standing.role, standing.role_since or standing.since, standing.role_since_at)]
    if standing.role_since != standing.since and standing.role_since is not None:
        since.append(_since("member", standing.since, standing.since_at))
    return since


def _since(role: str, event: int | None, at: str | None) -> str:
    return f"{role} since {when(at)} (event {event})" if at else f"{role} since event {event}"


def _ended_by_ban(standing: Standing) -> bool:
    """Return whether the ban that is in force is what ended the membership."""
    ended, ban = standing.ended, standing.ban
    return ended is not None and ban is not None and ban.position == ended.position


def _ending(standing: Standing, names: Names) -> list[str]:
    ended, event = standing.ended, f"event {standing.left}"
    if ended is None:
        return []
    if standing.ban and _ended_by_ban(standing):
        return [f"{_ban(standing, standing.ban, names)} ({event})"]
    match ended.how:
        case "left":
            return [f"left on {when(ended.at)} ({event})"]
        case "removed":
            return [f"removed {_act(ended, names)} ({event})"]
        case "banned":
            return [f"banned {_act(ended, names)} ({event}; the ban is over)"]
        case "erased":
            return [f"left because of the erasure, on {when(ended.at)} ({event})"]


def _ban(standing: Standing, ban: Act, names: Names) -> str:
    return f"banned {_until(standing.banned_until)} {_act(ban, names)}"


def _act(act: Act, names: Names) -> str:
    return f"by {who(act.by, names)} on {when(act.at)}"


def _erasure(act: Act | None, names: Names) -> list[str]:
    return [f"  erased {_act(act, names)}"] if act else []


def _until(time: str | None) -> str:
    return f"until {when(time)}" if time else "for good"


def _session(session: SessionThen) -> str:
    end = "(still open then)"
    if session.closed_at:
        code = f", code {session.code}" if session.code else ""
        end = f"to {when(session.closed_at)} (ended: {session.reason}{code})"
    sent = (
        "it is not known what it was sent"
        if session.written is None
        else f"was sent: {_events(session.written)}"
    )
    known = [part for part in (session.address, session.client and printable(session.client)) if part]
    source = f", from {', '.join(known)}" if known else ""
    return f"  {when(session.opened_at)} {end}{source}, node {session.node}, {session.state}; {sent}"


def _events(stretches: Sequence[Stretch]) -> str:
    if not stretches:
        return "nothing"
    return "events " + ", ".join(
        f"{each.first}" if each.first == each.last else f"{each.first} to {each.last}" for each in stretches
    )


def _moment(point: Standpoint, since: str | None = None) -> str:
    return f"on {since[:10]} (UTC), up to {_point(point)}" if since else f"as of {_point(point)}"


def _point(point: Standpoint) -> str:
    return f"event {point.seq}, {when(point.at)}" if point.at else "the beginning"


def _unreadable(point: Standpoint) -> list[str]:
    numbers = ", ".join(map(str, point.unreadable))
    return [f"  events that cannot be read: {numbers}"] if numbers else []
