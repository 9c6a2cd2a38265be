"""A room, its people and its messages as of a moment, folded from events. Pure.

Invariant: the result follows only from events up to the moment, through the `evolve` functions of `service.domain`;
only whether content can still be decrypted depends on the present.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import reduce
from itertools import groupby
from typing import Any

import msgspec

from service.domain import account, message, room
from service.domain.account import PersonState
from service.domain.events import (
    ENDINGS,
    MemberBanned,
    MemberJoined,
    MemberLeft,
    MemberMuted,
    MemberRemoved,
    MessageDeleted,
    MessageEdited,
    MessagePosted,
    PersonErased,
    PersonNamed,
    ReadMarkerMoved,
    Recorded,
    RoleChanged,
    RoomTopicChanged,
)
from service.domain.message import MessageState
from service.domain.room import Member, RoomState
from service.domain.streams import user_of
from service.protocol.events import timestamp
from service.protocol.room_as_of import Act, Ending, How, MessageThen, ReactionThen, SettingsThen, Standing


class PeopleAsOf(msgspec.Struct, frozen=True):
    """The names and read markers of people, which are not part of a room's state.

    `erased_names` are the people whose name has been erased since, `damaged_names` those whose name cannot be read.
    `erasures` are of those people who had been erased by then.
    """

    names: Mapping[str, str | None]
    erased_names: frozenset[str]
    damaged_names: frozenset[str]
    erasures: Mapping[str, Act]
    markers: Mapping[str, Recorded]

    def reading(self, marker: Recorded | None) -> "PeopleAsOf":
        """Return the same people with one read marker, that of another room."""
        event = marker.event if marker else None
        markers = {event.user: marker} if marker and isinstance(event, ReadMarkerMoved) else {}
        return msgspec.structs.replace(self, markers=markers)


def fold_room(room_id: str, events: Iterable[Recorded], head: int) -> RoomState:
    """Return a room as of the seq `head`, from the events about it and its people."""
    return msgspec.structs.replace(reduce(room.evolve, events, RoomState(room_id)), head=head)


def fold_people(people: Iterable[Recorded], markers: Iterable[Recorded]) -> PeopleAsOf:
    """Return the names from the events of people's own streams, and the last event of each read marker."""
    states: dict[str, PersonState] = {}
    named: dict[str, Recorded] = {}
    erasures: dict[str, Act] = {}
    for recorded in people:
        user = user_of(recorded.stream)
        states[user] = account.evolve(states.get(user, PersonState()), recorded)
        if isinstance(recorded.event, PersonNamed):
            named[user] = recorded
        if isinstance(recorded.event, PersonErased):
            erasures[user] = _act(recorded)
    return PeopleAsOf(
        names={user: state.name for user, state in states.items()},
        erased_names=frozenset(user for user, last in named.items() if last.erased),
        damaged_names=frozenset(user for user, last in named.items() if last.damage is not None),
        erasures=erasures,
        markers={last.event.user: last for last in markers if isinstance(last.event, ReadMarkerMoved)},
    )


def people_in(state: RoomState) -> list[str]:
    """Return the ids of all users that a room's state refers to."""
    return sorted({*state.members, *state.left, *state.invited, *state.banned, *state.muted})


def settings(state: RoomState, events: Iterable[Recorded]) -> SettingsThen:
    """Return a room's settings, from its state and the events that it was folded from."""
    topics = [recorded for recorded in events if isinstance(recorded.event, RoomTopicChanged)]
    return SettingsThen(
        name=state.name,
        visibility=state.visibility,
        topic=state.topic,
        topic_erased=bool(topics) and topics[-1].erased,
        topic_unreadable=bool(topics) and topics[-1].damage is not None,
        archived=state.archived,
        retention=state.retention,
    )


class Acts(msgspec.Struct, frozen=True):
    """What began and ended memberships, gave roles, banned and muted people, by user id: of each kind the last."""

    joins: dict[str, Recorded]
    roles: dict[str, Recorded]
    endings: dict[str, Ending]
    bans: dict[str, Act]
    mutes: dict[str, Act]


def _acts(state: RoomState, events: Iterable[Recorded]) -> Acts:
    """Return what happened to people in a room, from its state and the events that it was folded from."""
    found = Acts({}, {}, {}, {}, {})
    for recorded in events:
        event = recorded.event
        if isinstance(event, MemberJoined):
            found.joins[event.user] = recorded
        if isinstance(event, MemberJoined | RoleChanged):
            found.roles[event.user] = recorded
        if isinstance(event, ENDINGS) and state.left.get(event.user) == recorded.seq:
            found.endings[event.user] = _ending(recorded, event)
        if isinstance(event, MemberBanned):
            found.bans[event.user] = _act(recorded)
        if isinstance(event, MemberMuted):
            found.mutes[event.user] = _act(recorded)
    return found


def _act(recorded: Recorded) -> Act:
    return Act(by=recorded.by, at=timestamp(recorded.at), position=recorded.position)


def _ending(recorded: Recorded, event: MemberLeft | MemberRemoved | MemberBanned) -> Ending:
    """Return how a membership ended; only an erasure makes people leave by the act of another (`leave_rooms`)."""
    how: How
    match event:
        case MemberBanned():
            how = "banned"
        case MemberRemoved():
            how = "removed"
        case _:
            how = "left" if recorded.by == event.user else "erased"
    return Ending(how=how, **msgspec.structs.asdict(_act(recorded)))


def standings(
    state: RoomState, events: Iterable[Recorded], people: PeopleAsOf, at: datetime
) -> dict[str, Standing]:
    """Return each person's relation to a room, by user id, without those who have none.

    `events` are those that the state was folded from; `at` is the time by which bans and mutes are judged.
    """
    acts = _acts(state, events)
    found = {user: _standing(state, user, people, acts, at) for user in people_in(state)}
    return {user: standing for user, standing in found.items() if standing is not None}


def names_in(standings: Iterable[Standing]) -> dict[str, str]:
    """Return the names in standings, by user id."""
    return {each.user_id: each.name for each in standings if each.name}


def _standing(state: RoomState, user: str, people: PeopleAsOf, acts: Acts, at: datetime) -> Standing | None:
    member, marker = state.members.get(user), people.markers.get(user)
    left, invited = state.left.get(user), user in state.invited
    banned, muted = state.is_banned(user, at), state.is_muted(user, at)
    if not any((member, marker, left, invited, banned, muted)):
        return None
    return Standing(
        user_id=user,
        name=people.names.get(user),
        name_erased=user in people.erased_names,
        name_unreadable=user in people.damaged_names,
        **(_membership(member, acts.joins.get(user), acts.roles.get(user)) if member else {}),
        left=left,
        ended=acts.endings.get(user),
        invited=invited,
        banned=banned,
        banned_until=_time(state.banned[user]) if banned else None,
        ban=acts.bans.get(user) if banned else None,
        muted=muted,
        muted_until=_time(state.muted[user]) if muted else None,
        mute=acts.mutes.get(user) if muted else None,
        last_read=marker.event.message if marker else None,  # type: ignore[attr-defined] # a ReadMarkerMoved
        last_read_at=_time(marker.at) if marker else None,
        erasure=people.erasures.get(user),
    )


def _membership(member: Member, joined: Recorded | None, role: Recorded | None) -> dict[str, Any]:
    """Return what a standing says of a membership; the events are None if they cannot be read."""
    return {
        "role": member.role,
        "since": member.since,
        "since_at": timestamp(joined.at) if joined else None,
        "role_since": role.seq if role else None,
        "role_since_at": timestamp(role.at) if role else None,
    }


def messages(events: Iterable[Recorded], pinned: frozenset[int]) -> list[MessageThen]:
    """Return messages, by number, as they read after the last of these events."""
    numbered = [event for event in events if message.number_of(event) is not None]
    by_message = sorted(numbered, key=lambda recorded: (message.number_of(recorded) or 0, recorded.seq))
    found = (
        _message(number, list(own), pinned=number in pinned)
        for number, own in groupby(by_message, key=lambda recorded: message.number_of(recorded) or 0)
    )
    return [each for each in found if each is not None]


def _message(number: int, events: list[Recorded], *, pinned: bool) -> MessageThen | None:
    """Return a message; None if its `MessagePosted` is missing because the row is damaged."""
    state, posted = reduce(message.evolve, events, MessageState()), events[0]
    if not isinstance(posted.event, MessagePosted):
        return None
    texts = [event for event in events if isinstance(event.event, MessagePosted | MessageEdited)]
    deletion = next((event for event in events if isinstance(event.event, MessageDeleted)), None)
    return MessageThen(
        message_id=number,
        user_id=posted.event.author,
        at=timestamp(posted.at),
        content=state.content,
        reply_to=posted.event.reply_to,
        mentions=posted.event.mentions,
        edited_at=_time(texts[-1].at) if len(texts) > 1 else None,
        deleted_at=timestamp(deletion.at) if deletion else None,
        deleted_by=deletion.by if deletion else None,
        deletion_reason=deletion.event.reason if deletion else None,  # type: ignore[attr-defined] # a MessageDeleted
        reactions=tuple(
            ReactionThen(emoji=emoji, user_ids=users) for emoji, users in state.reactions.items()
        ),
        pinned=pinned,
        erased=texts[-1].erased and not state.deleted,
        unreadable=texts[-1].damage is not None and not state.deleted,
    )


def _time(at: datetime | None) -> str | None:
    return timestamp(at) if at else None
