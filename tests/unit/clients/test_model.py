"""The room of the Python client as a fold of frames."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onrecord_client.messages import Frame, Message, Reaction
from onrecord_client.model import KEPT, Gap, RoomModel

ROOM, ME = "general", "alice"
AT = "2026-11-24T10:00:00.000000Z"
USERS = (ME, "bob", "carol")


def posted(seq: int, content: str = "hello", user: str = "bob", **fields: Any) -> Frame:
    return {
        "type": "message:new", "roomId": ROOM, "seq": seq, "messageId": seq, "userId": user, "name": user,
        "content": content, "at": AT, **fields,
    }  # fmt: skip


def page_of(*messages: Frame) -> list[Frame]:
    return [{key: value for key, value in each.items() if key != "type"} for each in messages]


def begun(cursor: int = 0, head: int = 0) -> RoomModel:
    model = RoomModel(ROOM, ME)
    model.begin(cursor, head)
    return model


def seqs(model: RoomModel) -> list[int]:
    return [message.seq for message in model.messages]


def event(kind: str, seq: int | None = None, **fields: Any) -> dict[str, Any]:
    numbered = {} if seq is None else {"seq": seq}
    return {"type": kind, "roomId": ROOM, "userId": "bob", "at": AT, **numbered, **fields}


def test_a_message_is_applied_once() -> None:
    model = begun()
    assert [name for name, _ in model.apply(posted(1))] == ["message"]
    assert model.apply(posted(1)) == []
    assert seqs(model) == [1]


def test_an_event_that_leaves_others_out_is_a_gap() -> None:
    model = begun(cursor=5, head=7)
    with pytest.raises(Gap):
        model.apply(posted(9))
    model.apply(posted(8))  # the page that follows the join reaches to the head
    with pytest.raises(Gap):
        model.apply(posted(10))


def test_the_page_and_the_events_that_overtook_it_are_one_list() -> None:
    model = begun(cursor=4)
    model.apply(posted(5))
    model.apply(event("message:edited", 6, messageId=3, content="edited"))
    model.first_page(page_of(posted(2), posted(3), posted(4), posted(5)), has_more=True)
    assert seqs(model) == [2, 3, 4, 5]
    assert (model.complete_from, model.has_more) == (2, True)
    assert [message.content for message in model.messages] == ["hello", "edited", "hello", "hello"]


def test_an_earlier_page_reaches_further_back() -> None:
    model = begun(cursor=4)
    model.first_page(page_of(posted(3), posted(4)), has_more=True)
    model.earlier_page(page_of(posted(1), posted(2)), has_more=False)
    assert (seqs(model), model.complete_from, model.has_more) == ([1, 2, 3, 4], 0, False)


def test_the_oldest_messages_give_way_and_can_be_loaded_again() -> None:
    model = begun()
    model.first_page([], has_more=False)
    for seq in range(1, KEPT + 2):
        model.apply(posted(seq))
    assert seqs(model)[-1] == KEPT + 1
    assert len(model.messages) <= KEPT
    assert model.has_more
    assert model.complete_from == seqs(model)[0]


CHANGES: list[tuple[Frame, dict[str, Any]]] = [
    (event("message:edited", 2, messageId=1, content="better"), {"content": "better"}),
    (event("message:deleted", 2, messageId=1), {"content": None}),
    (event("message:pinned", 2, messageId=1, pinned=True), {"pinned": True}),
    (
        event("message:reaction", 2, messageId=1, emoji="x", added=True),
        {"reactions": (Reaction("x", 1, ("bob",), mine=False),)},
    ),
    (
        event("message:reaction", 2, messageId=1, emoji="x", added=True) | {"userId": ME},
        {"reactions": (Reaction("x", 1, (ME,), mine=True),)},
    ),
    (event("room:content_removed", None, reason="erased"), {"content": None}),
]


@pytest.mark.parametrize(("change", "expected"), CHANGES, ids=lambda value: str(value.get("type", "")))
def test_an_event_changes_its_message(change: Frame, expected: dict[str, Any]) -> None:
    model = begun()
    model.apply(posted(1))
    ((name, value),) = model.apply(change)
    assert name == "change"
    assert isinstance(value, Message)
    assert {key: getattr(value, key) for key in expected} == expected
    assert model.messages == [value]


PEOPLE: list[tuple[Frame, str]] = [
    (event("room:user_joined", 1, name="Bob", role="member"), "online"),
    (event("room:user_joined", None), "online"),
    (event("room:user_left", None, reason="disconnect"), "offline"),
    (event("presence:changed", None, status="away"), "away"),
]


@pytest.mark.parametrize(("change", "status"), PEOPLE, ids=str)
def test_an_event_changes_its_member(change: Frame, status: str) -> None:
    model = begun()
    model.apply(event("room:members", None, members=[{"userId": "bob", "status": "idle"}]))
    ((name, member),) = model.apply(change)
    assert (name, model.members["bob"]) == ("member", member)
    assert model.members["bob"].status == status


def test_who_leaves_is_no_member_and_types_no_more() -> None:
    model = begun()
    model.apply(event("room:user_joined", 1, name="Bob", role="member"))
    model.apply(event("typing:start"))
    assert model.typing == ["bob"]
    changes = model.apply(event("room:user_left", 2, reason="left"))
    assert [name for name, _ in changes] == ["typing", "member"]
    assert (model.members, model.typing) == ({}, [])


def test_a_receipt_never_goes_back() -> None:
    model = begun()
    model.apply(event("room:receipts", None, receipts=[{"userId": "bob", "messageId": 5}]))
    assert model.apply(event("message:read", None, messageId=4)) == []
    assert model.receipts == {"bob": 5}


def test_an_odd_numbered_event_counts_as_applied() -> None:
    model = begun()
    with pytest.raises(KeyError):
        model.apply({"type": "message:new", "roomId": ROOM, "seq": 1})
    model.apply(posted(2))
    assert seqs(model) == [2]


def logs() -> st.SearchStrategy[list[Frame]]:
    """Logs of a room: messages, and events about earlier ones."""

    @st.composite
    def build(draw: st.DrawFn) -> list[Frame]:
        log: list[Frame] = []
        for seq in range(1, draw(st.integers(1, 25)) + 1):
            known = [each["messageId"] for each in log if each["type"] == "message:new"]
            kinds = ["new", "other", *(["edit", "delete", "react"] if known else [])]
            kind = draw(st.sampled_from(kinds))
            user = draw(st.sampled_from(USERS))
            if kind == "new":
                log.append(posted(seq, f"message {seq}", user))
            elif kind == "other":
                log.append(event("room:updated", seq, name=f"name {seq}"))
            else:
                log.append(_about(draw, kind, seq, draw(st.sampled_from(known)), user))
        return log

    return build()


def _about(draw: st.DrawFn, kind: str, seq: int, message_id: int, user: str) -> Frame:
    if kind == "edit":
        return event("message:edited", seq, messageId=message_id, content=f"edit {seq}")
    if kind == "delete":
        return event("message:deleted", seq, messageId=message_id)
    emoji, added = draw(st.sampled_from("ab")), draw(st.booleans())
    return event("message:reaction", seq, messageId=message_id, emoji=emoji, added=added) | {"userId": user}


def folded(log: list[Frame]) -> RoomModel:
    model = begun()
    model.first_page([], has_more=False)
    for each in log:
        model.apply(each)
    return model


def as_page(model: RoomModel) -> list[Frame]:
    return [
        {
            "messageId": each.message_id, "seq": each.seq, "userId": each.user_id, "name": each.name,
            "content": each.content, "at": AT,
            "editedAt": AT if each.edited_at else None, "deletedAt": AT if each.deleted_at else None,
            "reactions": [
                {"emoji": one.emoji, "count": one.count, "userIds": [*one.user_ids], "mine": one.mine}
                for one in each.reactions
            ],
        }
        for each in model.messages
    ]  # fmt: skip


@given(log=logs(), data=st.data())
def test_a_join_at_any_time_shows_what_a_reader_of_everything_sees(
    log: list[Frame], data: st.DataObject
) -> None:
    """The page may be older or newer than the first events that arrive, and events may be repeated."""
    read_at = data.draw(st.integers(0, len(log)))
    first = data.draw(st.integers(0, read_at))
    overtook = data.draw(st.integers(first, len(log)))
    model = begun(cursor=first, head=read_at)
    for each in log[first:overtook]:
        model.apply(each)
    model.first_page(as_page(folded(log[:read_at])), has_more=False)
    for each in (*log[first:overtook], *log[overtook:], *log[overtook:]):
        model.apply(each)
    assert model.messages == folded(log).messages
    assert (model.cursor, model.name) == (len(log), folded(log).name if first == 0 else model.name)


@given(log=logs(), data=st.data())
def test_a_repeated_event_changes_nothing(log: list[Frame], data: st.DataObject) -> None:
    model = begun()
    for each in log:
        model.apply(each)
        again = data.draw(st.integers(1, each["seq"]))
        assert model.apply(log[again - 1]) == []
    assert model.messages == folded(log).messages
