"""The rules of presence one by one, on a clock of the test's own."""

import msgspec
import pytest

from service.presence.gossip import Gossip
from service.presence.local import AWAY_AFTER, CHUNK, SETTLE
from service.presence.remote import LAPSE, Alive, Bye, Delta, Part, RemotePresence
from service.presence.roster import Moment, Roster
from tests.support.presence.nodes import GRACE, World

GONE = LAPSE + GRACE


def at(seconds: float) -> Moment:
    return Moment(seconds, int(seconds * 1000))


def two() -> World:
    """Two nodes that know each other."""
    world = World(2)
    world.pass_time(2, deliver=True)
    return world


def changes(world: World, index: int) -> list[tuple[str, str]]:
    return [(change.user, change.status) for change in world.nodes[index].shown]


# Devices


def test_a_user_is_online_if_any_device_is_and_away_if_all_are() -> None:
    gossip = Gossip("me", GRACE, at(0))
    here, roster = gossip.local, gossip.roster
    for device in ("phone", "desk"):
        here.arrive("alice", device, 0)
    shown = [roster.status("alice")]
    for device, status in (("phone", "away"), ("desk", "away"), ("phone", "online")):
        here.set("alice", device, status)  # type: ignore[arg-type] # a status
        shown.append(roster.status("alice"))
    assert shown == ["online", "online", "away", "online"]
    here.depart("alice", "phone", at(1))
    assert roster.status("alice") == "away"


def test_silence_makes_a_device_away_until_its_next_command() -> None:
    gossip = Gossip("me", GRACE, at(0))
    here, roster = gossip.local, gossip.roster
    here.arrive("alice", "phone", 0)
    here.find_idle(AWAY_AFTER - 1)
    assert roster.status("alice") == "online"
    here.find_idle(AWAY_AFTER)
    assert roster.status("alice") == "away"
    here.touch("alice", "phone", AWAY_AFTER + 1)
    assert roster.status("alice") == "online"
    here.set("alice", "phone", "away")
    here.touch("alice", "phone", AWAY_AFTER + 2)
    assert roster.status("alice") == "away", "a status that the client chose stays"


def test_a_device_at_which_commands_are_given_does_not_become_away() -> None:
    gossip = Gossip("me", GRACE, at(0))
    gossip.local.arrive("alice", "phone", 0)
    gossip.local.touch("alice", "phone", AWAY_AFTER - 1)
    gossip.local.find_idle(2 * AWAY_AFTER - 2)
    assert gossip.roster.status("alice") == "online"
    gossip.local.find_idle(2 * AWAY_AFTER - 1)
    assert gossip.roster.status("alice") == "away"


def test_an_unknown_connection_has_no_effect() -> None:
    gossip = Gossip("me", GRACE, at(0))
    gossip.local.depart("alice", "phone", at(0))
    gossip.local.touch("alice", "phone", 0)
    gossip.local.set("alice", "phone", "away")
    assert gossip.roster.status("alice") == "offline"


# The grace


@pytest.mark.parametrize("back_on", [0, 1])
@pytest.mark.parametrize("after", [0.5, GRACE - SETTLE, GRACE - 0.5])
def test_who_comes_back_within_the_grace_was_never_away(back_on: int, after: float) -> None:
    world = two()
    world.arrive(world.nodes[0], "alice")
    world.pass_time(1, deliver=True)
    world.depart(world.nodes[0], 0)
    world.pass_time(after, deliver=True)
    world.arrive(world.nodes[back_on], "alice")
    world.pass_time(2 * GONE, deliver=True)
    for index in (0, 1):
        assert changes(world, index) == [("alice", "online")]


def test_who_stays_away_is_gone_after_the_grace_and_returns_once() -> None:
    world = two()
    world.arrive(world.nodes[0], "alice")
    world.pass_time(1, deliver=True)
    world.depart(world.nodes[0], 0)
    left = int(world.now * 1000)
    world.pass_time(GRACE + 0.3, deliver=True)
    for index in (0, 1):
        assert changes(world, index) == [("alice", "online"), ("alice", "offline")]
        assert world.nodes[index].shown[-1].seen == left
        assert world.nodes[index].gossip.roster.last_seen("alice") == left
    world.arrive(world.nodes[1], "alice")
    world.pass_time(1, deliver=True)
    for index in (0, 1):
        assert world.nodes[index].shown[-1].returns
        assert world.nodes[index].gossip.roster.last_seen("alice") is None


def test_who_has_returned_does_not_return_again_with_each_change_of_status() -> None:
    roster = Roster()
    roster.claim("alice", "one", "online")
    roster.changes(1)
    roster.release("alice", "one", 1_000, 1)
    roster.settle(1)
    changed = roster.changes(1)
    for status in ("online", "away", "online"):
        roster.claim("alice", "one", status)
        changed += roster.changes(1)
    assert [(change.status, change.returns) for change in changed] == [
        ("offline", False),
        ("online", True),
        ("away", False),
        ("online", False),
    ]


def test_who_left_two_nodes_was_last_seen_at_the_later_one() -> None:
    roster = Roster()
    for node in ("one", "other"):
        roster.claim("alice", node, "online")
    roster.release("alice", "one", 2_000, 2)
    roster.release("alice", "other", 1_000, 2)  # announced later, though they left it earlier
    roster.settle(2)
    assert roster.last_seen("alice") == 2_000


def test_without_a_grace_who_goes_is_gone() -> None:
    gossip = Gossip("me", 0.0, at(0))
    gossip.local.arrive("alice", "phone", 0)
    gossip.local.depart("alice", "phone", at(0))
    gossip.step(at(0.1), connected=True)
    assert gossip.roster.status("alice") == "offline"


# Other nodes


def test_silent_node_loses_its_users_after_the_grace() -> None:
    world = two()
    world.arrive(world.nodes[0], "alice")
    world.pass_time(1, deliver=True)
    dead = world.nodes.pop(0)
    world.pass_time(LAPSE - 1.5, deliver=True)
    assert changes(world, 0) == [("alice", "online")]
    world.pass_time(3, deliver=True)
    assert changes(world, 0) == [("alice", "online"), ("alice", "offline")]
    assert dead.name not in world.nodes[0].gossip.remote._views


def test_users_of_a_dead_node_have_a_grace_longer_than_its_lease() -> None:
    roster, grace = Roster(), 2 * LAPSE
    others = RemotePresence(roster, grace)
    others.delta(Delta("one", 1, 0, [("alice", "online", 0, 1)]), at(0))
    for now in (LAPSE, grace - 0.1):
        others.settle(now)
        roster.settle(now)
        assert roster.status("alice") == "online"
    others.settle(grace)
    roster.settle(grace)
    assert roster.status("alice") == "offline"


def test_a_node_that_stops_in_order_leaves_its_users_the_grace() -> None:
    world = two()
    for user in ("alice", "bob"):
        world.arrive(world.nodes[0], user)
    world.pass_time(1, deliver=True)
    world.send(world.nodes[0], [world.nodes[0].gossip.leave()])
    world.nodes.pop(0)
    world.pass_time(GRACE - 0.5, deliver=True)
    world.arrive(world.nodes[0], "bob")
    assert changes(world, 0) == [("alice", "online"), ("bob", "online")]
    world.pass_time(1, deliver=True)
    assert changes(world, 0) == [("alice", "online"), ("bob", "online"), ("alice", "offline")]


def test_a_node_that_starts_learns_who_is_there() -> None:
    world = two()
    for number in range(2 * CHUNK + 1):
        world.arrive(world.nodes[0], f"user-{number}")
    world.pass_time(1, deliver=True)
    world.nodes.append(world.start())
    world.pass_time(1, deliver=True)
    assert len(world.nodes[2].gossip.roster) == 2 * CHUNK + 1


# A bus that misbehaves


def peers() -> tuple[Roster, RemotePresence]:
    roster = Roster()
    return roster, RemotePresence(roster, GRACE)


def test_a_repeated_heartbeat_neither_renews_a_lease_nor_revives_a_node() -> None:
    roster, others = peers()
    others.delta(Delta("dead", 1, 0, [("alice", "online", 0, 1)]), at(0))
    others.alive(Alive("dead", 2, 1), at(1))
    for second in range(2, 20):
        others.alive(Alive("dead", 2, 1), at(second))
        others.delta(Delta("dead", 1, 0, [("alice", "online", 0, 1)]), at(second))
        others.settle(second)
        roster.settle(second)
    assert roster.status("alice") == "offline"
    assert len(others) == 0
    others.alive(Alive("dead", 3, 1), at(20))
    assert others.wanted(20) == ["dead"], "a new one does"


def test_delta_with_a_version_gap_is_not_applied_but_requested() -> None:
    roster, others = peers()
    others.delta(Delta("one", 2, 1, [("bob", "online", 0, 1)]), at(0))
    assert roster.status("bob") == "offline"
    assert others.wanted(0) == ["one"]
    assert others.wanted(0.5) == [], "not again so soon"
    assert others.wanted(1.5) == ["one"]
    others.part(Part("one", 4, 2, 0, 2, [("alice", "online", 0, 1)]), at(2))
    assert others.wanted(5) == ["one"], "half of it is not it"
    others.part(Part("one", 5, 2, 1, 2, [("bob", "away", 0, 1)]), at(2))
    assert [roster.status(user) for user in ("alice", "bob")] == ["online", "away"]
    assert others.wanted(9) == []
    others.part(Part("one", 3, 1, 0, 1, [("carol", "online", 0, 1)]), at(3))
    assert roster.status("carol") == "offline", "an older whole comes too late"


def test_pieces_may_come_in_any_order_and_of_two_versions() -> None:
    roster, others = peers()
    others.part(Part("one", 1, 5, 1, 2, [("old", "online", 0, 1)]), at(0))
    others.part(Part("one", 4, 6, 1, 2, [("bob", "online", 0, 1)]), at(0))
    others.part(Part("one", 2, 5, 0, 2, [("older", "online", 0, 1)]), at(0))
    others.part(Part("one", 3, 6, 0, 2, [("alice", "online", 0, 1)]), at(0))
    shown = [roster.status(user) for user in ("old", "older", "alice", "bob")]
    assert shown == ["offline", "offline", "online", "online"]


def test_whoever_is_missing_from_the_whole_is_gone() -> None:
    roster, others = peers()
    others.delta(Delta("one", 1, 0, [("alice", "online", 0, 1), ("bob", "online", 0, 1)]), at(0))
    others.part(Part("one", 2, 3, 0, 1, [("bob", "online", 0, 1)]), at(1))
    roster.settle(1 + SETTLE)
    assert [roster.status(user) for user in ("alice", "bob")] == ["offline", "online"]


def test_after_goodbye_nothing_that_was_late_counts() -> None:
    roster, others = peers()
    others.delta(Delta("one", 1, 0, [("alice", "online", 0, 1)]), at(0))
    others.bye(Bye("one", 9), at(1))
    others.alive(Alive("one", 8, 4), at(2))
    assert others.wanted(2) == []
    others.settle(1 + GRACE)
    roster.settle(1 + GRACE)
    assert roster.status("alice") == "offline"
    others.alive(Alive("one", 7, 4), at(6))
    assert len(others) == 0


def test_an_unreadable_message_raises_an_error() -> None:
    with pytest.raises(msgspec.MsgspecError):
        Gossip("me", GRACE, at(0)).receive("presence.lease", b"nonsense", at(0))


# Outages of the bus


def test_an_outage_freezes_presence_and_its_end_renews_all_leases() -> None:
    world = two()
    world.arrive(world.nodes[0], "alice")
    world.arrive(world.nodes[1], "bob")
    world.pass_time(1, deliver=True)
    for node in world.nodes:
        node.connected = False
    world.depart(world.nodes[1], 0)
    world.pass_time(10 * GONE, deliver=True)
    for index in (0, 1):
        assert sorted(changes(world, index)) == [("alice", "online"), ("bob", "online")]
    world.arrive(world.nodes[0], "bob")  # received by no other node yet
    for node in world.nodes:
        node.connected = True
        node.gossip.renew(world.now)
    world.pass_time(2 * GONE, deliver=True)
    for index in (0, 1):
        assert sorted(changes(world, index)) == [("alice", "online"), ("bob", "online")], (
            "silent: he had come back"
        )


def test_expiring_user_waits_for_other_nodes_after_an_outage() -> None:
    world = two()
    world.arrive(world.nodes[0], "alice")
    world.pass_time(1, deliver=True)
    world.depart(world.nodes[0], 0)
    world.pass_time(GRACE - 1, deliver=True)
    world.nodes[0].connected = False
    world.arrive(world.nodes[1], "alice")
    world.pass_time(GONE, deliver=True)
    world.nodes[0].connected = True
    world.pass_time(2 * GONE, deliver=True)
    assert changes(world, 0) == [("alice", "online")]


@pytest.mark.parametrize("stop", [2.5, 30.0])
def test_a_node_lets_no_lease_lapse_after_its_own_pause(stop: float) -> None:
    world = two()
    world.arrive(world.nodes[0], "alice")
    world.pass_time(1, deliver=True)
    stopped = world.nodes.pop(1)
    world.pass_time(stop, deliver=True)
    world.nodes.append(stopped)
    world.step(stopped)
    world.pass_time(3, deliver=True)
    assert changes(world, 1) == [("alice", "online")]


def test_a_fenced_node_that_stood_still_does_not_bring_its_lost_users_back() -> None:
    world = two()
    world.arrive(world.nodes[0], "alice")
    world.pass_time(1, deliver=True)
    stopped = world.nodes.pop(0)
    world.pass_time(2 * GONE, deliver=True)
    assert changes(world, 0) == [("alice", "online"), ("alice", "offline")]
    world.nodes.append(stopped)
    world.pass_time(1, deliver=True)
    stopped.gossip.fenced(world.when)
    world.depart(stopped, 0)
    world.pass_time(2 * GONE, deliver=True)
    assert changes(world, 0) == [("alice", "online"), ("alice", "offline")]


def test_paused_unfenced_node_announces_its_users_again() -> None:
    world = two()
    world.arrive(world.nodes[0], "alice")
    world.pass_time(1, deliver=True)
    stopped = world.nodes.pop(0)
    world.pass_time(2 * GONE, deliver=True)
    world.nodes.append(stopped)
    world.pass_time(1, deliver=True)
    assert changes(world, 0)[-1] == ("alice", "offline"), "it is not sure yet"
    stopped.gossip.lease_renewed()
    world.pass_time(2, deliver=True)
    assert changes(world, 0)[-1] == ("alice", "online")


def test_a_fenced_node_that_kept_speaking_leaves_its_users_the_grace() -> None:
    world = two()
    world.arrive(world.nodes[0], "alice")
    world.pass_time(1, deliver=True)
    world.nodes[0].gossip.fenced(world.when)
    world.depart(world.nodes[0], 0)
    world.pass_time(1, deliver=True)
    world.arrive(world.nodes[1], "alice")
    world.pass_time(2 * GONE, deliver=True)
    for index in (0, 1):
        assert changes(world, index) == [("alice", "online")]


# Memory


def test_departures_are_forgotten_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.presence.roster.MAX_SEEN", 2)
    roster = Roster()
    for second, user in enumerate(("alice", "bob", "carol")):
        roster.claim(user, "node", "online")
        roster.changes(10)
        roster.release(user, "node", second, second)
        roster.settle(second)
        roster.changes(10)
    assert [roster.last_seen(user) for user in ("alice", "bob", "carol")] == [None, 1, 2]
    roster.claim("alice", "node", "online")
    roster.claim("carol", "node", "online")
    assert [(change.user, change.returns) for change in roster.changes(10)] == [
        ("alice", False),
        ("carol", True),
    ]


def test_changes_come_in_portions() -> None:
    roster = Roster()
    for user in ("alice", "bob", "carol"):
        roster.claim(user, "node", "online")
    assert [len(roster.changes(2)) for _ in range(3)] == [2, 1, 0]


# How many connections


def test_open_connections_on_other_nodes_are_counted() -> None:
    world = two()
    one, other = world.nodes

    def counted() -> int:
        world.pass_time(0.3, deliver=True)
        return other.gossip.remote.connections("alice")

    world.arrive(one, "alice")
    world.arrive(one, "alice")
    assert counted() == 2
    assert one.gossip.remote.connections("alice") == 0, "one's own are counted by the sessions"
    world.depart(one, 0)
    assert counted() == 1
    world.depart(one, 0)
    assert counted() == 0, "who lingers has no connection"
    assert other.gossip.roster.status("alice") == "online"


def test_a_node_that_joins_later_learns_the_numbers_of_connections() -> None:
    world = two()
    for _ in range(3):
        world.arrive(world.nodes[0], "alice")
    world.pass_time(1, deliver=True)
    world.nodes.append(world.start())
    world.pass_time(2, deliver=True)
    assert world.nodes[-1].gossip.remote.connections("alice") == 3


def test_the_connections_of_a_node_that_stops_do_not_count() -> None:
    world = two()
    world.arrive(world.nodes[0], "alice")
    world.pass_time(1, deliver=True)
    world.send(world.nodes[0], [world.nodes[0].gossip.leave()])
    world.pass_time(0.1, deliver=True)
    assert world.nodes[1].gossip.remote.connections("alice") == 0
