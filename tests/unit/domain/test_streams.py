"""Names of streams: they can be split again, and no two rooms or users share one."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from service.domain import streams
from service.protocol.commands import ROOM_ID, USER_ID
from tests.support.clients.subjects import SUBJECTS

ROOMS = st.from_regex(ROOM_ID, fullmatch=True)
USERS = st.sampled_from(SUBJECTS) | st.from_regex(USER_ID, fullmatch=True)


@given(ROOMS, USERS)
def test_a_name_of_a_stream_is_split_again(room: str, user: str) -> None:
    reader = streams.reader_stream(room, user)
    assert streams.room_of(reader) == streams.room_of(streams.room_stream(room)) == room
    assert reader.removeprefix(streams.reader_stream(room, "")) == user
    assert (
        streams.user_of(streams.person_stream(user)) == streams.user_of(streams.session_stream(user)) == user
    )


@given(st.lists(st.sets(USERS, min_size=1, max_size=8), min_size=2, max_size=6, unique_by=frozenset))
def test_other_people_have_another_direct_room(groups: list[set[str]]) -> None:
    assert len({streams.direct_room(group) for group in groups}) == len(groups)


def test_direct_rooms_of_awkward_pairs_differ() -> None:
    pairs = [*combinations(SUBJECTS, 2)]
    assert len({streams.direct_room(pair) for pair in pairs}) == len(pairs)
    assert streams.direct_room(("alice", "bob")) == "d-076d7b67685c55179f9613c0eaec7a85", "it never changes"


@given(ROOMS, st.integers(1, 2**53), USERS, ROOMS, st.integers(1, 2**53), USERS)
def test_other_reports_have_another_id(
    room: str, message: int, user: str, other_room: str, other_message: int, other_user: str
) -> None:
    one, other = (room, message, user), (other_room, other_message, other_user)
    assert (streams.report_id(*one) == streams.report_id(*other)) == (one == other)
