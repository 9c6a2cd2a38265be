"""A message: its state (`MessageState`), what a decision about it depends on (`MessageSummary`), and the commands.

A command on a message is decided on a `MessageSummary`, which the database maintains with the log and which is small
however long the message's history is. The log appends its events only if no other event about the message came in
between, so no node can edit a message that another has deleted.

Invariant: what is recorded about one message is bounded: its edits by `max_edits`, its reactions and pins by the number
of users, the limits per user below, and one removal for each addition.
"""

from datetime import datetime

import msgspec

from service.domain.commands import (
    AddReaction,
    DeleteMessage,
    EditMessage,
    MessageCommand,
    PinMessage,
    PostMessage,
    RemoveReaction,
    UnpinMessage,
)
from service.domain.content.reactions import normal_form
from service.domain.events import (
    Event,
    MessageDeleted,
    MessageEdited,
    MessagePinned,
    MessagePosted,
    MessageUnpinned,
    ReactionAdded,
    ReactionRemoved,
    Recorded,
)
from service.domain.permissions import require_active, require_member, require_role, require_voice
from service.domain.room_state import RoomState
from service.errors import MessageIsDeleted, MessageIsGone, MessageNotFound, NotAllowed

MOST_EMOJI = 20
"""Limit of different emoji on one message."""
MOST_PINS = 100
"""Limit of pinned messages in one room."""
MOST_TOGGLES = 50
"""How often, ever, one user may add a reaction to one message, and how often pin it; removals are not limited."""
MAX_EDITS = 100
"""Edits of one message, unless the node is configured otherwise."""


class MessageState(msgspec.Struct, frozen=True):
    """A message as of the last event about it; `author` is None if there is no message of this number.

    `content` is None once deleted or erased, `editions` counts the edits, and `reactions` lists for each emoji the
    users who added it, in order.
    """

    author: str | None = None
    content: str | None = None
    deleted: bool = False
    editions: int = 0
    reactions: dict[str, tuple[str, ...]] = {}


class MessageSummary(msgspec.Struct, frozen=True):
    """What a command of one user about a message depends on; `author` is None if there is no message of this number.

    `content` is given for edits by the author and for `MarkUnread`, and is None once erased or expired. `emoji` holds
    all emoji on the message, `own` those of the user; `reactions` and `pins` count how often the user added a reaction
    or pinned the message.
    """

    author: str | None = None
    deleted: bool = False
    content: str | None = None
    edits: int = 0
    emoji: frozenset[str] = frozenset()
    own: frozenset[str] = frozenset()
    reactions: int = 0
    pins: int = 0
    max_edits: int = MAX_EDITS


def evolve(state: MessageState, recorded: Recorded) -> MessageState:
    """Return the state after one more event about the message."""
    match recorded.event:
        case MessagePosted(author=author, content=content):
            return MessageState(author, content)
        case MessageEdited(content=content):
            return msgspec.structs.replace(state, content=content, editions=state.editions + 1)
        case MessageDeleted():
            return msgspec.structs.replace(state, content=None, deleted=True, reactions={})
        case ReactionAdded(emoji=emoji):
            return msgspec.structs.replace(
                state, reactions=with_reaction(state.reactions, emoji, recorded.by)
            )
        case ReactionRemoved(emoji=emoji):
            return msgspec.structs.replace(
                state, reactions=without_reaction(state.reactions, emoji, recorded.by)
            )
        case _:
            return state


def with_reaction(reactions: dict[str, tuple[str, ...]], emoji: str, user: str) -> dict[str, tuple[str, ...]]:
    """Return the reactions with a user's emoji added."""
    return reactions | {emoji: (*reactions.get(emoji, ()), user)}


def without_reaction(
    reactions: dict[str, tuple[str, ...]], emoji: str, user: str
) -> dict[str, tuple[str, ...]]:
    """Return the reactions with a user's emoji removed; an emoji without users is dropped."""
    left = tuple(other for other in reactions.get(emoji, ()) if other != user)
    others = {known: users for known, users in reactions.items() if known != emoji}
    return reactions | {emoji: left} if left else others


def without_words(recorded: Recorded) -> Recorded:
    """Return a message or an edit as it is shown to later readers once the message is deleted."""
    if not isinstance(recorded.event, MessagePosted | MessageEdited):
        return recorded
    event = msgspec.structs.replace(recorded.event, content=None)
    return msgspec.structs.replace(recorded, event=event)


def number_of(recorded: Recorded) -> int | None:
    """Return the number of the message that an event is about, None if there is none."""
    if isinstance(recorded.event, MessagePosted):
        return recorded.seq
    number = getattr(recorded.event, "message", None)
    return number if isinstance(number, int) else None


def post(
    state: RoomState, command: PostMessage, by: str, at: datetime, _about: MessageSummary
) -> list[Event]:
    """Post a message; mentions of users who are not members are dropped."""
    require_voice(state, by, at)
    posted = MessagePosted(author=by, content=command.content, ref=command.ref, reply_to=command.reply_to)
    if command.mentions:
        mentions = tuple(user for user in dict.fromkeys(command.mentions) if user in state.members)
        silenced = tuple(user for user in mentions if user in command.silenced)
        posted = msgspec.structs.replace(posted, mentions=mentions, silenced=silenced)
    return [posted]


def edit(state: RoomState, command: EditMessage, by: str, at: datetime, about: MessageSummary) -> list[Event]:
    """Edit a message; only its author may."""
    require_voice(state, by, at)
    _require_exists(state, command, about)
    if about.author != by:
        raise NotAllowed(problem="Only the author may edit a message.")
    if about.content == command.content:
        return []
    if about.edits >= about.max_edits:
        raise NotAllowed(
            problem=f"A message can be edited at most {about.max_edits} times. Send a new message instead."
        )
    return [MessageEdited(message=command.message, content=command.content)]


def delete(
    state: RoomState, command: DeleteMessage, by: str, at: datetime, about: MessageSummary
) -> list[Event]:
    """Delete a message: its author, or a moderator, may."""
    require_active(state, by, at)
    _require_exists(state, command, about)
    if about.author != by:
        if state.visibility == "direct":
            raise NotAllowed(problem="Only the author may delete a message of a direct room.")
        require_role(state, by, "moderator", "delete other people's messages")
    unpinned = [MessageUnpinned(message=command.message)] if command.message in state.pinned else []
    return [*unpinned, MessageDeleted(message=command.message, reason=command.reason)]


def react(
    state: RoomState, command: AddReaction, by: str, at: datetime, about: MessageSummary
) -> list[Event]:
    """Add an emoji, in its normal form."""
    require_voice(state, by, at)
    _require_exists(state, command, about)
    emoji = normal_form(command.emoji)
    if emoji in map(normal_form, about.own):
        return []
    different = set(map(normal_form, about.emoji))
    if emoji not in different and len(different) >= MOST_EMOJI:
        raise NotAllowed(problem=f"A message has at most {MOST_EMOJI} different reactions.")
    if about.reactions >= MOST_TOGGLES:
        raise NotAllowed(
            problem=f"You can add a reaction to one message at most {MOST_TOGGLES} times, removed ones included."
        )
    return [ReactionAdded(message=command.message, emoji=emoji)]


def unreact(
    state: RoomState, command: RemoveReaction, by: str, at: datetime, about: MessageSummary
) -> list[Event]:
    """Remove the sender's emoji in each form in which it was stored; earlier versions stored several."""
    require_active(state, by, at)
    _require_exists(state, command, about)
    form = normal_form(command.emoji)
    return [
        ReactionRemoved(message=command.message, emoji=stored)
        for stored in sorted(about.own)
        if normal_form(stored) == form
    ]


def pin(state: RoomState, command: PinMessage, by: str, at: datetime, about: MessageSummary) -> list[Event]:
    """Pin a message."""
    require_active(state, by, at)
    require_role(state, by, "moderator", "pin messages")
    _require_exists(state, command, about)
    if command.message in state.pinned:
        return []
    if len(state.pinned) >= MOST_PINS:
        raise NotAllowed(problem=f"A room has at most {MOST_PINS} pinned messages.")
    if about.pins >= MOST_TOGGLES:
        raise NotAllowed(problem=f"You can pin one message at most {MOST_TOGGLES} times.")
    return [MessagePinned(message=command.message)]


def unpin(
    state: RoomState, command: UnpinMessage, by: str, at: datetime, about: MessageSummary
) -> list[Event]:
    """Unpin a message."""
    require_active(state, by, at)
    require_role(state, by, "moderator", "unpin messages")
    _require_exists(state, command, about)
    return [MessageUnpinned(message=command.message)] if command.message in state.pinned else []


def require_countable(
    state: RoomState, command: MessageCommand, by: str, at: datetime, about: MessageSummary
) -> None:
    """Raise a refusal if a message never counts as unread for a user, or the user is not in the room.

    Raises:
        Refusal: it is no message, deleted, unreadable, the user's own, or from before the user joined.
    """
    require_member(state, by, at)
    _require_exists(state, command, about)
    if about.content is None:
        raise MessageIsGone(room=state.room, message=command.message)
    if about.author == by:
        raise NotAllowed(problem="Your own messages never count as unread.")
    if command.message < state.members[by].since:
        raise NotAllowed(problem="Messages from before you joined the room never count as unread.")


def _require_exists(state: RoomState, command: MessageCommand, about: MessageSummary) -> None:
    if about.author is None:
        raise MessageNotFound(room=state.room, message=command.message)
    if about.deleted:
        raise MessageIsDeleted(room=state.room, message=command.message)
