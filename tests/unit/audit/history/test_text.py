"""Text of the audit for people: how a person's membership of a room ended, and by whom."""

from collections.abc import AsyncIterator

import msgspec
import pytest

from service.audit.history.text import _item, _session, text_pieces, view_text
from service.protocol.audit import PersonView, SessionThen, Stretch
from service.protocol.room_as_of import (
    Act,
    Ending,
    How,
    MessageThen,
    RoomChanges,
    Standing,
    StandingChange,
    Standpoint,
)

NAMES = {"bob": "Bob", "alice": "Alice Ng"}


def act(by: str, position: int = 9) -> Act:
    return Act(by=by, at="2026-11-27T08:43:21.000000Z", position=position)


def ended(how: How, by: str, position: int = 9) -> Ending:
    return Ending(how=how, by=by, at="2026-11-26T08:43:21.000000Z", position=position)


def shown(standing: Standing, erasure: Act | None = None) -> str:
    """Return the line of a standing."""
    view = PersonView(
        seq=8, user_id="bob", room_id="plant", visible=True, readable=(), standing=standing, written=(),
        unknown=0, sessions=(), erasure=erasure,
    )  # fmt: skip
    lines = view_text(view, NAMES).decode().splitlines()
    return next(line.removeprefix("  standing: ") for line in lines if "standing" in line)


BY_ALICE = "by Alice Ng (alice) on 2026-11-27 08:43:21 UTC"


@pytest.mark.parametrize(
    ("standing", "text"),
    [
        (Standing(user_id="bob", role="member", since=3), "member since event 3"),
        (
            Standing(
                user_id="bob", role="moderator", since=3, since_at="2026-11-26T08:43:21.000000Z",
                role_since=9, role_since_at="2026-11-27T08:43:21.000000Z",
            ),
            "moderator since 2026-11-27 08:43:21 UTC (event 9), member since 2026-11-26 08:43:21 UTC (event 3)",
        ),
        (
            Standing(user_id="bob", left=7, ended=ended("left", "bob")),
            "left on 2026-11-26 08:43:21 UTC (event 7)",
        ),
        (
            Standing(user_id="bob", left=7, ended=ended("removed", "alice")),
            "removed by Alice Ng (alice) on 2026-11-26 08:43:21 UTC (event 7)",
        ),
        (
            Standing(user_id="bob", left=7, ended=ended("banned", "alice"), banned=True, ban=act("alice")),
            f"banned for good {BY_ALICE} (event 7)",
        ),
        (
            Standing(user_id="bob", left=7, ended=ended("banned", "alice")),
            "banned by Alice Ng (alice) on 2026-11-26 08:43:21 UTC (event 7; the ban is over)",
        ),
        (
            Standing(
                user_id="bob", left=7, ended=ended("left", "bob"), banned=True, ban=act("alice", 10),
                banned_until="2026-12-01T00:00:00.000000Z",
            ),
            f"left on 2026-11-26 08:43:21 UTC (event 7), banned until 2026-12-01 00:00:00 UTC {BY_ALICE}",
        ),
        (
            Standing(user_id="bob", role="member", since=3, muted=True, mute=act("alice")),
            f"member since event 3, muted for good {BY_ALICE}",
        ),
        (
            Standing(user_id="bob", left=7, ended=ended("erased", "os:root"), erasure=act("os:root")),
            (
                "left because of the erasure, on 2026-11-26 08:43:21 UTC (event 7), "
                "erased by os:root on 2026-11-27 08:43:21 UTC"
            ),
        ),
        (
            Standing(user_id="bob", role="member", since=3, name_erased=True),
            "member since event 3, name erased since",
        ),
    ],
)  # fmt: skip
def test_a_standing_says_how_it_came_about(standing: Standing, text: str) -> None:
    assert shown(standing) == text


def test_an_erased_person_is_named_as_erased() -> None:
    view = PersonView(
        seq=8, user_id="bob", room_id="plant", visible=False, readable=(), standing=None, written=(),
        unknown=0, sessions=(), erasure=act("os:root"),
    )  # fmt: skip
    lines = view_text(view, {}).decode().splitlines()
    assert lines[1] == "  erased by os:root on 2026-11-27 08:43:21 UTC"


def test_a_deleted_message_says_who_deleted_it_and_why() -> None:
    message = MessageThen(
        message_id=4, user_id="bob", at="2026-11-26T08:43:21.000000Z", content=None,
        deleted_at="2026-11-27T08:43:21.000000Z", deleted_by="alice", deletion_reason="Insult\n",
    )  # fmt: skip
    (line,) = _item(message, NAMES)
    assert line.endswith("Bob (bob): (deleted 2026-11-27 08:43:21 UTC by Alice Ng (alice): Insult\\n)")
    (line,) = _item(msgspec.structs.replace(message, deletion_reason=None), NAMES)
    assert line.endswith("by Alice Ng (alice))")


def test_a_connection_says_from_where_it_came_and_how_it_ended() -> None:
    session = SessionThen(
        session="a", node="one", address="192.0.2.7", client="Fire\nfox", opened_at="2026-11-26T08:43:21.000000Z",
        closed_at="2026-11-26T08:44:21.000000Z", reason="too slow", code=4008, state="closed",
        written=(Stretch(first=1, last=2),),
    )  # fmt: skip
    assert _session(session) == (
        "  2026-11-26 08:43:21 UTC to 2026-11-26 08:44:21 UTC (ended: too slow, code 4008), "
        "from 192.0.2.7, Fire\\nfox, node one, closed; was sent: events 1 to 2"
    )


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (Standing(user_id="bob", name="Robert", role="member", since=3), "; name: Robert)"),
        (Standing(user_id="bob", role="member", since=3), "; name: none)"),
        (Standing(user_id="bob", role="member", since=3, name_erased=True), "; name: (erased))"),
        (Standing(user_id="bob", name="Bob", role="moderator", since=3), "(before: moderator since event 3)"),
        (None, "(before: none)"),
    ],
)
async def test_a_change_of_a_name_shows_the_name_before_it(before: Standing | None, expected: str) -> None:
    after = Standing(user_id="bob", name="Bob", role="member", since=3)
    change = StandingChange(user_id="bob", before=before, after=after)
    changes = RoomChanges(
        room_id="plant", from_=Standpoint(seq=3), to=Standpoint(seq=8), people=(change,), messages=[]
    )

    async def no_messages() -> AsyncIterator[list[msgspec.Struct]]:
        yield []

    text = b"".join([piece async for piece in text_pieces(changes, no_messages(), NAMES)]).decode()
    (line,) = [line for line in text.splitlines() if line.startswith("  Bob (bob): member since event 3 ")]
    assert line.endswith(expected)
