"""What a decision about a message depends on, folded from all events: the oracle for the summaries of the database."""

from collections.abc import Iterable

import msgspec

from service.domain import message
from service.domain.events import MessagePinned, ReactionAdded, Recorded
from service.domain.message import MessageState, MessageSummary
from service.domain.streams import message_subject


def summary_of(state: MessageState, user: str) -> MessageSummary:
    """Return what a message is to a user who never removed a reaction, nor pinned it."""
    own = frozenset(emoji for emoji, users in state.reactions.items() if user in users)
    return MessageSummary(
        author=state.author,
        deleted=state.deleted,
        content=state.content if user == state.author else None,
        edits=state.editions,
        emoji=frozenset(state.reactions),
        own=own,
        reactions=len(own),
    )


def summarize(rows: Iterable[Recorded], number: int, user: str) -> MessageSummary:
    """Return what a message of the room with these events is to a user."""
    state = MessageState()
    reactions = pins = 0
    for row in rows:
        if row.subject == message_subject(number):
            state = message.evolve(state, row)
            reactions += isinstance(row.event, ReactionAdded) and row.by == user
        elif isinstance(row.event, MessagePinned) and row.event.message == number:
            pins += row.by == user
    return msgspec.structs.replace(summary_of(state, user), reactions=reactions, pins=pins)
