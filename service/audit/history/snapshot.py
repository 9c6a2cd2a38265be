"""How a room, its people and its messages are shown as of a moment, from the states that the server itself folds.

All pure. The rule: what is shown follows from events up to the moment alone, through the `evolve` of `service.domain`;
only whether words can still be read is a matter of today.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import reduce
from itertools import groupby

import msgspec

from service.domain import account, message, room
from service.domain.account import PersonState
from service.domain.events import (
    MessageDeleted,
    MessageEdited,
    MessagePosted,
    PersonNamed,
    ReadMarkerMoved,
    Recorded,
    RoomTopicChanged,
)
from service.domain.message import MessageState
from service.domain.room import RoomState
from service.domain.streams import user_of
from service.protocol.events import timestamp
from service.protocol.room_as_of import MessageThen, ReactionThen, SettingsThen, Standing


class PeopleAsOf(msgspec.Struct, frozen=True):
    """What is known of people beside a room's own state: what they were called, and how far they had read.

    `nameless` are those who were called something that has been erased since, `illegible` those whose name is damaged.
    """

    names: Mapping[str, str | None]
    nameless: frozenset[str]
    illegible: frozenset[str]
    markers: Mapping[str, Recorded]


def folded(room_id: str, facts: Iterable[Recorded], head: int) -> RoomState:
    """Return a room as of the seq `head`, of the facts about it and its people."""
    return msgspec.structs.replace(reduce(room.evolve, facts, RoomState(room_id)), head=head)


def crowd(people: Iterable[Recorded], readers: Iterable[Recorded]) -> PeopleAsOf:
    """Return what the events of people's own streams, and the last of each of their markers, say."""
    states: dict[str, PersonState] = {}
    named: dict[str, Recorded] = {}
    for recorded in people:
        user = user_of(recorded.stream)
        states[user] = account.evolve(states.get(user, PersonState()), recorded)
        if isinstance(recorded.event, PersonNamed):
            named[user] = recorded
    markers = {one.event.user: one for one in readers if isinstance(one.event, ReadMarkerMoved)}
    nameless = frozenset(user for user, last in named.items() if last.erased)
    illegible = frozenset(user for user, last in named.items() if last.damage is not None)
    return PeopleAsOf({user: state.name for user, state in states.items()}, nameless, illegible, markers)


def known_in(state: RoomState) -> list[str]:
    """Return everybody whom a room knows of, by user id."""
    return sorted({*state.members, *state.left, *state.invited, *state.banned, *state.muted})


def settings(state: RoomState, facts: Iterable[Recorded]) -> SettingsThen:
    """Return how a room was set up, of its state and the facts that it was folded from."""
    topics = [recorded for recorded in facts if isinstance(recorded.event, RoomTopicChanged)]
    return SettingsThen(
        name=state.name,
        visibility=state.visibility,
        topic=state.topic,
        topic_erased=bool(topics) and topics[-1].erased,
        topic_unreadable=bool(topics) and topics[-1].damage is not None,
        archived=state.archived,
        retention=state.retention,
    )


def standings(state: RoomState, others: PeopleAsOf, at: datetime) -> dict[str, Standing]:
    """Return what everybody was to a room, by user id; `at` is the time by which bans and mutes are judged."""
    found = {user: _standing(state, user, others, at) for user in known_in(state)}
    return {
        user: standing
        for user, standing in found.items()
        if standing
        != Standing(
            user_id=user,
            name=standing.name,
            name_erased=standing.name_erased,
            name_unreadable=standing.name_unreadable,
        )
    }


def _standing(state: RoomState, user: str, others: PeopleAsOf, at: datetime) -> Standing:
    member, marker = state.members.get(user), others.markers.get(user)
    banned, muted = state.is_banned(user, at), state.is_muted(user, at)
    return Standing(
        user_id=user,
        name=others.names.get(user),
        name_erased=user in others.nameless,
        name_unreadable=user in others.illegible,
        role=member.role if member else None,
        since=member.since if member else None,
        left=state.left.get(user),
        invited=user in state.invited,
        banned=banned,
        banned_until=_time(state.banned[user]) if banned else None,
        muted=muted,
        muted_until=_time(state.muted[user]) if muted else None,
        last_read=marker.event.message if marker else None,  # type: ignore[attr-defined] # a ReadMarkerMoved
        last_read_at=_time(marker.at) if marker else None,
    )


def messages(facts: Iterable[Recorded], pinned: frozenset[int]) -> list[MessageThen]:
    """Return messages as they read after the last of these facts, all of them about messages; by number."""
    numbered = [fact for fact in facts if message.number_of(fact) is not None]
    by_message = sorted(numbered, key=lambda recorded: (message.number_of(recorded) or 0, recorded.seq))
    found = (
        _message(number, list(own), pinned=number in pinned)
        for number, own in groupby(by_message, key=lambda recorded: message.number_of(recorded) or 0)
    )
    return [one for one in found if one is not None]


def _message(number: int, facts: list[Recorded], *, pinned: bool) -> MessageThen | None:
    """Return a message; None where no fact says that it was posted, as where its row was damaged."""
    state = reduce(message.evolve, facts, MessageState())
    posted, said = facts[0], [one for one in facts if isinstance(one.event, MessagePosted | MessageEdited)]
    if not isinstance(posted.event, MessagePosted):
        return None
    return MessageThen(
        message_id=number,
        user_id=posted.event.author,
        at=timestamp(posted.at),
        content=state.content,
        reply_to=posted.event.reply_to,
        mentions=posted.event.mentions,
        edited_at=_time(said[-1].at) if len(said) > 1 else None,
        deleted_at=next((timestamp(one.at) for one in facts if isinstance(one.event, MessageDeleted)), None),
        reactions=tuple(
            ReactionThen(emoji=emoji, user_ids=users) for emoji, users in state.reactions.items()
        ),
        pinned=pinned,
        erased=said[-1].erased and not state.deleted,
        unreadable=said[-1].damage is not None and not state.deleted,
    )


def _time(at: datetime | None) -> str | None:
    return timestamp(at) if at else None
