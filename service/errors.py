"""The errors that clients receive, each with a stable code.

The class names the situation. `code` is the contract (`docs/reference/errors.md`). A class in parentheses below has the
code of the class before it. A `Refusal` is never logged as an error of the server.

    OnRecordError
    ├── Refusal                the sender can correct it
    │   ├── Malformed (SignInUnknown), UnknownType, RefRequired, RefConflict, NotConnected
    │   ├── RoomNotFound (RoomNotOpen), RoomExists, RoomIsArchived, NotAMember
    │   ├── NotAllowed (AccountErased, AccountSuspended, UnderLegalHold, HoldStands, NoHold, DemoNamesOff, SignInDenied)
    │   ├── Muted, Banned, LastOwner, UserNotFound (PersonUnknown)
    │   ├── MessageNotFound (EventNotFound), MessageIsDeleted, MessageTooLong, EmptyMessage,
    │   ├── UnsafeContent (ComplexContent), ReportNotFound
    │   ├── TooManyRequests (TooManyConnections), TooManyRooms
    │   └── TokenInvalid (SignInInvalid), TokenExpired (SignInOver), TokenNotYetValid
    └── Trouble                the server cannot carry out the request now
        ├── Overloaded (TooManyStrangers)
        ├── Unavailable (NotReady, KeyUnreadable, ProviderAway, ProviderAhead)
        └── ProjectionBehind
"""

from typing import ClassVar


class OnRecordError(Exception):
    """An error with a stable `code` and a `sentence` with placeholders for `data`.

    `retryable`: whether the same command may succeed later. `shown`: the fields of `data` that the client receives.
    """

    code: ClassVar[str]
    sentence: ClassVar[str]
    retryable: ClassVar[bool] = False
    shown: ClassVar[tuple[str, ...]] = ()

    def __init__(self, **data: object) -> None:
        self.data = data
        super().__init__(self.sentence.format(**data))


class Refusal(OnRecordError):
    """The request was understood and refused; the sender can correct it."""


class Trouble(OnRecordError):
    """The server cannot carry out the request now; the same command may succeed later."""

    retryable = True


class Malformed(Refusal):
    """`data`: `problem`, a sentence that names the JSON path."""

    code = "malformed"
    sentence = "{problem}"


class SignInUnknown(Malformed):
    """The browser did not begin the sign-in from which the identity provider returns it, or began it too long ago."""

    sentence = "This sign-in was not begun in this browser, or too long ago. Please sign in again."


class UnknownType(Refusal):
    """`data`: `type`."""

    code = "unknown_type"
    sentence = "There is no command of type {type}."


class NoType(UnknownType):
    """`data`: `type`, what the frame has in place of the name of a command."""

    sentence = "{type} is not the name of a command: give one, such as message:send - at '$.type'"


class ConnectedAlready(UnknownType):
    """A second `connect` on a connection."""

    sentence = "This connection is connected already; send auth:refresh to give a new token."


class MisspeltType(UnknownType):
    """`data`: `type`, and `near`, the name of the command that is probably meant."""

    sentence = "There is no command of type {type}; did you mean {near}?"


class RefRequired(Refusal):
    """A command that is recorded has no `ref`."""

    code = "ref_required"
    sentence = "This command is recorded, so it needs a ref: a UUID that you keep for retries."


class RefConflict(Refusal):
    """`data`: `ref`."""

    code = "ref_conflict"
    sentence = "The ref {ref} was used for another command already."


class NotConnected(Refusal):
    """A frame came before `connect`."""

    code = "not_connected"
    sentence = "Send connect first."


class RoomNotFound(Refusal):
    """`data`: `room`. Also for a private room, if the user is not in it, so that its existence is not revealed."""

    code = "room_not_found"
    sentence = "There is no room {room}."


class RoomNotOpen(RoomNotFound):
    """`data`: `room`, the `moment` that an auditor asked for, and the later time at which the room was `opened`."""

    sentence = "The room {room} was not open yet on {moment}: it was opened on {opened}."


class RoomExists(Refusal):
    """`data`: `room`."""

    code = "room_exists"
    sentence = "There is a room {room} already."


class RoomIsArchived(Refusal):
    """`data`: `room`."""

    code = "room_archived"
    sentence = "The room {room} is archived; an owner can reopen it."


class NotAMember(Refusal):
    """`data`: `room`."""

    code = "not_a_member"
    sentence = "You are not a member of {room}."


class NotAllowed(Refusal):
    """`data`: `problem`."""

    code = "not_allowed"
    sentence = "{problem}"


class AccountErased(NotAllowed):
    """The person was erased."""

    sentence = "This account was erased."


class AccountSuspended(NotAllowed):
    """The person is suspended."""

    sentence = "This account is suspended."


class UnderLegalHold(NotAllowed):
    """`data`: `what` was requested, and the `held` room or person."""

    sentence = "{what}: a legal hold is on {held}."


class HoldStands(NotAllowed):
    """`data`: `held`."""

    sentence = "There is a legal hold on {held} already."


class NoHold(NotAllowed):
    """`data`: `held`."""

    sentence = "There is no legal hold on {held}."


class DemoNamesOff(NotAllowed):
    """Signing in under any name is for development and demos; it is off if an identity provider signs the tokens."""

    sentence = (
        "Demo names are off: ONRECORD_JWT_JWKS is set, so tokens come from the identity provider alone."
    )


class SignInDenied(NotAllowed):
    """The identity provider refused the user, or the user cancelled."""

    sentence = "The identity provider did not let you in."


class Muted(Refusal):
    """`data`: `room`."""

    code = "muted"
    sentence = "You are muted in {room}."


class Banned(Refusal):
    """`data`: `room`. For public rooms only: a private room does not exist for users whom it bans."""

    code = "banned"
    sentence = "You are banned from {room}."


class LastOwner(Refusal):
    """`data`: `room`."""

    code = "last_owner"
    sentence = (
        "You are the last owner of {room}: make another member an owner first, or leave with room:leave."
    )


class UserNotFound(Refusal):
    """`data`: `room`, `user`."""

    code = "user_not_found"
    sentence = "{user} is not in {room}."


class PersonUnknown(UserNotFound):
    """`data`: `user`. The record has nothing about a user with this id; administrators and auditors get this error."""

    sentence = "There is no person {user} on the record."


class MessageNotFound(Refusal):
    """`data`: `room`, `message`."""

    code = "message_not_found"
    sentence = "There is no message {message} in {room}."


class EventNotFound(MessageNotFound):
    """`data`: `room`, `event`."""

    sentence = "There is no event {event} in {room}."


class EventMissing(EventNotFound):
    """`data`: `room`, `event`. The room has later events: this one was removed from the log."""

    sentence = "Event {event} of {room} is missing; run `onrecord audit verify`."


class MessageIsDeleted(Refusal):
    """`data`: `room`, `message`."""

    code = "message_deleted"
    sentence = "The message {message} in {room} is deleted."


class MessageIsGone(MessageIsDeleted):
    """`data`: `room`, `message`. Its retention is over, or its author was erased."""

    sentence = "The message {message} in {room} cannot be read any more, so it never counts as unread."


class ReportNotFound(Refusal):
    """`data`: `room`, `report`. Also for a report of the user's own message, so that it is not revealed."""

    code = "report_not_found"
    sentence = "There is no report {report} in {room}."


class MessageTooLong(Refusal):
    """`data`: `length` and `limit`, in Unicode code points."""

    code = "message_too_long"
    sentence = "The message has {length} characters; {limit} are allowed."


class EmptyMessage(Refusal):
    """The message shows nothing: it is empty, or only white space and invisible characters."""

    code = "empty_message"
    sentence = "A message needs at least one visible character."


class UnsafeContent(Refusal):
    """`data`: `what`, the part that a browser would run."""

    code = "unsafe_content"
    sentence = "The message contains {what}, which a browser would run."


class ComplexContent(UnsafeContent):
    """The message contains more markup than can be checked in reasonable time."""

    sentence = "The message contains more markup than can be checked."


class TooManyRequests(Refusal):
    """`data`: `retryAfter`, seconds until the next command is accepted."""

    code = "too_many_requests"
    sentence = "Too many requests; wait {retryAfter} seconds."
    retryable = True
    shown = ("retryAfter",)


class TooManyConnections(TooManyRequests):
    """A user has as many connections as allowed."""

    sentence = "This user has too many connections; wait, or close one."


class TooManyRooms(Refusal):
    """`data`: `limit`, rooms per connection."""

    code = "too_many_rooms"
    sentence = "A connection can subscribe to at most {limit} rooms."


class TokenInvalid(Refusal):
    """`data`: `problem`."""

    code = "token_invalid"
    sentence = "The token is not valid: {problem}."


class SignInInvalid(TokenInvalid):
    """`data`: `problem`; the token that the identity provider issued at a sign-in is invalid."""

    sentence = "The identity provider's answer is not valid: {problem}. Please sign in again."


class TokenExpired(Refusal):
    """The token's `exp` has passed."""

    code = "token_expired"
    sentence = "The token has expired."


class TokenNotYetValid(Refusal):
    """`data`: `notBefore`, the token's `nbf`, which has not come, and `retryAfter`, the seconds until it comes."""

    code = "token_not_yet_valid"
    sentence = "The token is not valid before {notBefore}."
    retryable = True
    shown = ("notBefore", "retryAfter")


class SignInOver(TokenExpired):
    """A sign-in cannot be renewed: the provider refuses, or the browser has lost its cookie."""

    sentence = "Your sign-in is over. Please sign in again."


class Overloaded(Trouble):
    """A bounded queue is full; nothing was recorded."""

    code = "overloaded"
    sentence = "The server is overloaded; try again shortly."


class TooManyStrangers(Overloaded):
    """An endpoint has as many connections without a token as allowed."""

    sentence = "Too many connections are waiting to authenticate; try again shortly."


class Unavailable(Trouble):
    """The log cannot be reached. The command may or may not be recorded: retry it with the same ref."""

    code = "unavailable"
    sentence = "The log cannot be reached; send the command again with the same ref."


class NotReady(Unavailable):
    """The log cannot be reached, so new connections are refused."""

    sentence = "The log cannot be reached yet; try again shortly."


class KeyUnreadable(Unavailable):
    """The key that encrypts a user's content is damaged; an operator has to restore it."""

    sentence = "Your messages cannot be stored: your key on this server is damaged. Ask its operator."


class ProviderAway(Unavailable):
    """The identity provider does not answer, or answers with an error; the log names it."""

    sentence = "The identity provider cannot be reached. Please try again in a moment."


class ProviderAhead(Unavailable):
    """The token that the identity provider issued is not valid yet: its clock is ahead by more than the leeway."""

    sentence = "The identity provider's token is not valid yet. Please try again in a moment."


class ProjectionBehind(Trouble):
    """`data`: `behind`, the number of log positions between the read model and the log."""

    code = "projection_behind"
    sentence = "The read model is {behind} positions behind the log; the projector may be down."


def every_error(base: type[OnRecordError] = OnRecordError) -> dict[str, type[OnRecordError]]:
    """Return every error that has a code, by code, in the order of the tree."""
    found: dict[str, type[OnRecordError]] = {}
    for cls in base.__subclasses__():
        if "code" in cls.__dict__:
            found[cls.code] = cls
        found |= every_error(cls)
    return found
