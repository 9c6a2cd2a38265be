"""The requests and answers over HTTP that are no commands and acks: each a struct, as on the socket.

A query's fields are the parameters of a request: those in its path and those in its query string.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from service.domain.events import Role, Visibility
from service.protocol.commands import RoomId, RoomName, Seq, UserId
from service.protocol.events import Receipt
from service.protocol.forms import Form, form


class Query(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A request that takes no parameters."""


class RoomQuery(Query, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A request about one room."""

    room_id: RoomId


class DirectoryQuery(Query, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A page of rooms by id; `after` is the last id of the page before."""

    after: RoomId | None = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 100


class OwnDataQuery(Query, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A request for the user's own data."""


class RoomEntry(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A room in the directory."""

    room_id: str
    name: str
    visibility: Visibility
    created_at: str


class Directory(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A page of the public rooms, by room id."""

    rooms: list[RoomEntry]
    has_more: bool


class RoomView(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A room as one user may see it.

    For a former member of a room that is not public, `name` is the name at the time of the leave.

    `role` is present for members. `head` is the seq of the last event that the user may read; it is absent for users
    who were never in the room. `members`, their number, is absent for former members of a room that is not public.
    """

    room_id: str
    name: str
    visibility: Visibility
    role: Role | None = None
    head: int | None = None
    members: int | None = None


class ReceiptList(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How far each member has read in a room, the latest first."""

    receipts: list[Receipt]


class Readiness(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Whether commands can be recorded, the state of the log and the bus, and the number of connections of the node."""

    ready: bool
    log: str
    bus: str
    connections: int


class DemoSignIn(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The body of `POST /dev/token`."""

    user_id: UserId
    name: RoomName | None = None


class DemoToken(msgspec.Struct, frozen=True, rename="camel"):
    """A token that is valid for an hour."""

    token: str


class SignIns(msgspec.Struct, frozen=True, rename="camel"):
    """The ways to sign in that the page offers: under any name, as in development, and at the identity provider."""

    demo: bool
    provider: bool


class SignInBegun(msgspec.Struct, frozen=True, rename="camel"):
    """The address at which a browser signs in; a cookie keeps what the return needs."""

    address: str


Parameter = Annotated[str, Meta(max_length=2048)]


class SignInReturn(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The parameters with which a browser returns from the provider (OAuth: RFC 6749, 4.1.2; RFC 9207)."""

    state: Parameter = ""
    code: Parameter = ""
    error: Parameter = ""
    iss: Parameter | None = None


class SignedIn(msgspec.Struct, frozen=True, rename="camel"):
    """The user who signed in, the display name, and the token that is accepted at the endpoints until it expires.

    `renewal` identifies the sign-in for a renewal; null if the provider gives no means to renew it.
    """

    token: str
    user_id: str
    name: str
    expires_at: str
    renewal: str | None


_RENEWAL = "x7Kp2mQ9vT4bWc8LzR1nYs6HdF3gJ5aE"


class ToRenew(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The sign-in to renew or to end, by the `renewal` of `SignedIn`. A cookie holds the means to do so."""

    renewal: Annotated[
        str,
        form(
            r"\A[A-Za-z0-9]{32}\Z",
            Form("a renewal", "the 32 letters and digits that a sign-in has as renewal", _RENEWAL),
            examples=[_RENEWAL],
        ),
    ]


class PersonQuery(Query, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A request about one person."""

    user_id: UserId


Reason = Annotated[str, Meta(min_length=1, max_length=500)]
GROUND = r"\A[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*\Z"
Ground = Annotated[
    str,
    form(
        GROUND,
        Form("a ground", "one line of 1 to 500 characters", "GDPR, article 17(1)(b); case 2026-31"),
        max_length=500,
    ),
]
"""The legal ground, in one line. It is on the record in the clear, so it names no more than it must."""


class ToErase(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The body of an erasure: its ground."""

    ground: Ground


class Erased(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A person is erased since `at`, which is at `position` of the log."""

    user_id: str
    position: int
    at: str


class ToJudge(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The body of a suspension or of its end: the reason, for the record."""

    reason: Reason | None = None


class ToMark(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The message before which the user's own unread count begins."""

    message_id: Seq


class Marked(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The mark is on the record: the seq of the last event of the user's markers in the room."""

    room_id: str
    seq: int
    at: str


class Judged(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Whether a person is suspended now. `unknown` has the id of one who has never signed in: it may be mistyped."""

    user_id: str
    suspended: bool
    unknown: tuple[str, ...] = ()


class Problem(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An RFC 9457 problem document; `code` is the error code of the socket, `parameter` names the invalid one."""

    type: str
    title: str
    status: int
    detail: str | None = None
    code: str | None = None
    retryable: bool | None = None
    parameter: str | None = None
    retry_after: float | None = None
