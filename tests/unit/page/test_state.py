"""Single rules of the page's state: counts that the server has to give, rooms that return, reactions of many users."""

from typing import Any

import pytest

from tests.support.page.page_modules import PageModules

pytestmark = pytest.mark.needs("node")

USERS = [f"user-{number:03}" for number in range(150)]


def row(**fields: Any) -> dict[str, Any]:
    kept = {
        "roomId": "a",
        "name": "A",
        "visibility": "public",
        "role": "member",
        "topic": None,
        "archived": False,
    }
    return {**kept, "head": 300, "unread": 300, "mentions": 0, "lastRead": 0, **fields}


def listed(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"type": "room:list", "rooms": rows, "invitations": []}


def message(seq: int, **fields: Any) -> dict[str, Any]:
    return {
        "roomId": "a",
        "seq": seq,
        "messageId": seq,
        "userId": "bob",
        "name": "Bob",
        "content": "x",
        **fields,
    }


def page_of(first: int, last: int, **fields: Any) -> dict[str, Any]:
    messages = [message(seq, **fields) for seq in range(first, last + 1)]
    return {"type": "message:history", "roomId": "a", "messages": messages, "hasMore": first > 1}


def read(number: int, user: str = "me") -> dict[str, Any]:
    return {"type": "message:read", "roomId": "a", "userId": user, "messageId": number}


JOINED = {"type": "joined", "roomId": "a", "seq": 300, "head": 300}
LEFT = {"type": "room:user_left", "roomId": "a", "userId": "me", "seq": 301, "reason": "kicked"}


def test_a_marker_before_what_is_loaded_is_counted_by_the_server(page: PageModules) -> None:
    page.begin("me")
    page.apply(listed(row()), JOINED, page_of(251, 300))
    known = page.apply(read(10))["rooms"]["a"]
    assert known["stale"]
    assert known["unread"] == 300  # and not the 50 that are loaded
    known = page.apply(listed(row(unread=290, lastRead=10)))["rooms"]["a"]
    assert (known["unread"], known["stale"]) == (290, False)


@pytest.mark.parametrize(("number", "unread"), [(260, 40), (299, 1), (300, 0)])
def test_a_marker_within_what_is_loaded_is_counted_here(page: PageModules, number: int, unread: int) -> None:
    page.begin("me")
    known = page.apply(listed(row()), JOINED, page_of(251, 300), read(number))["rooms"]["a"]
    assert (known["unread"], known["stale"]) == (unread, False)


def test_a_deletion_before_what_is_loaded_is_counted_by_the_server(page: PageModules) -> None:
    page.begin("me")
    deleted = {"type": "message:deleted", "roomId": "a", "messageId": 3, "seq": 301, "at": "now"}
    known = page.apply(listed(row()), JOINED, page_of(251, 300), deleted)["rooms"]["a"]
    assert known["stale"]
    known = page.apply(listed(row(unread=299, head=301)))["rooms"]["a"]
    assert (known["unread"], known["stale"]) == (299, False)


@pytest.mark.parametrize("removal", [LEFT, {"type": "removed", "roomId": "a", "seq": 301}])
def test_a_room_that_was_left_returns_with_a_list_after_another_join(
    page: PageModules, removal: dict[str, Any]
) -> None:
    page.begin("me")
    page.apply(listed(row()), JOINED, page_of(251, 300))
    assert not page.apply(removal)["rooms"]
    assert not page.apply(listed(row(head=300)))["rooms"], "a list from before the leave"
    assert set(page.apply(listed(row(head=302)))["rooms"]) == {"a"}


def test_a_room_that_is_not_in_the_list_goes_unless_it_was_joined_since(page: PageModules) -> None:
    page.begin("me")
    assert set(page.apply(JOINED, {**listed(), "joins": 0})["rooms"]) == {"a"}
    assert not page.apply({**listed(), "joins": 1})["rooms"]


def test_a_withdrawn_invitation_goes(page: PageModules) -> None:
    page.begin("me")
    invitation = {"roomId": "a", "name": "A", "visibility": "private", "by": "bob", "at": "now"}
    state = page.apply({"type": "room:list", "rooms": [], "invitations": [invitation]}, LEFT)
    assert not state["invitations"]


def react(user: str, *, added: bool, seq: int = 301) -> dict[str, Any]:
    fields = {"messageId": 300, "emoji": "👍", "userId": user, "added": added}
    return {"type": "message:reaction", "roomId": "a", "seq": seq, **fields}


@pytest.mark.parametrize(
    ("mine", "added", "count"), [(True, False, 149), (False, True, 151), (True, True, 150)]
)
def test_ones_own_reaction_beyond_the_listed_users_is_ones_own(
    page: PageModules, *, mine: bool, added: bool, count: int
) -> None:
    page.begin("me")
    reaction = {"emoji": "👍", "count": 150, "userIds": USERS[:100], "mine": mine}
    state = page.apply(
        listed(row()), JOINED, page_of(300, 300, reactions=[reaction]), react("me", added=added)
    )
    known = state["rooms"]["a"]["messages"][0]["reactions"][0]
    assert (known["count"], known["mine"]) == (count, added)
    assert len(known["userIds"]) == 100


def test_a_page_of_a_server_without_mine_says_it_by_its_users(page: PageModules) -> None:
    page.begin("me")
    reactions = [
        {"emoji": "👍", "count": 1, "userIds": ["me"]},
        {"emoji": "🎉", "count": 1, "userIds": ["bob"]},
    ]
    state = page.apply(listed(row()), JOINED, page_of(300, 300, reactions=reactions))
    assert [each["mine"] for each in state["rooms"]["a"]["messages"][0]["reactions"]] == [True, False]


def test_reactions_of_more_users_than_are_listed_are_counted(page: PageModules) -> None:
    page.begin("me")
    page.apply(listed(row()), JOINED, page_of(300, 300, reactions=[]))
    events = [react(user, added=True, seq=301 + number) for number, user in enumerate(USERS)]
    state = page.apply(*events, react(USERS[120], added=False, seq=500), react("me", added=True, seq=501))
    known = state["rooms"]["a"]["messages"][0]["reactions"]
    assert known == [{"emoji": "👍", "count": 150, "userIds": USERS[:100], "mine": True}]


def test_a_page_of_another_connection_is_newer_than_all_events_before(page: PageModules) -> None:
    page.begin("me")
    pin = {"type": "message:pinned", "roomId": "a", "messageId": 300, "pinned": False, "seq": 301}
    page.apply(listed(row()), pin, {"type": "connected", "userId": "me"}, JOINED)
    state = page.apply(page_of(300, 300, pinned=True))
    assert state["rooms"]["a"]["messages"][0]["pinned"] is True


@pytest.mark.parametrize(
    ("about", "contents"),
    [({"reason": "erased", "userId": "bob"}, [None, "y"]), ({"reason": "expired"}, ["x", "y"])],
)
def test_lost_content_is_counted_by_the_server(
    page: PageModules, about: dict[str, str], contents: list[str | None]
) -> None:
    page.begin("me")
    history = {**page_of(299, 299), "messages": [message(299), message(300, userId="carol", content="y")]}
    lost = {"type": "room:content_removed", "roomId": "a", **about}
    before = page.apply(listed(row(unread=2)), JOINED, history)
    state = page.apply(lost)
    known = state["rooms"]["a"]
    assert (known["stale"], known["unread"]) == (True, 2)
    assert [each["content"] for each in known["messages"]] == contents
    # A list from before the loss is answered after it.
    assert page.apply({**listed(row(unread=2)), "gone": before["gone"]})["rooms"]["a"]["stale"]
    known = page.apply({**listed(row(unread=1)), "gone": state["gone"]})["rooms"]["a"]
    assert (known["stale"], known["unread"]) == (False, 1)
    assert page.apply(read(299))["rooms"]["a"]["stale"], "which of the loaded messages count is unknown"


def test_a_room_without_unread_messages_needs_no_list_after_a_loss(page: PageModules) -> None:
    page.begin("me")
    page.apply(listed(row(unread=0, lastRead=300)), JOINED, page_of(299, 300))
    state = page.apply({"type": "room:content_removed", "roomId": "a", "reason": "expired"})
    assert not state["rooms"]["a"]["stale"]
