"""Both ends of the type of every date and number that comes from outside: an answer each, and no failure of ours."""

import json
from collections.abc import Iterator

import httpx
import msgspec
import pytest

from service.gateway.http.audits import AUDITS
from service.gateway.http.endpoint import Read
from service.gateway.http.request import parameter_names
from service.gateway.http.rooms import READS
from tests.support.chat.bystander import bobs, said
from tests.support.clients.native import client, raw
from tests.support.environment import environment, token
from tests.support.processes.processes import Process, run
from tests.support.servers.databases import Database

LAST = "9999-12-31T23:59:59.999999"
UNTIL = {
    f"{LAST}+00:00": "lasts",
    f"{LAST}Z": "lasts",
    f"{LAST}+23:59": "lasts",
    f"{LAST}-23:59": "malformed",
    f"{LAST}-00:01": "malformed",
    "9999-12-31T23:00:00-01:00": "malformed",
    "0001-01-01T00:00:00+01:00": "malformed",
    "0001-01-01T00:00:00+23:59": "malformed",
    "0001-01-01T00:00:00Z": "not_allowed",
    "0001-01-01T00:00:00-23:59": "not_allowed",
    "0000-01-01T00:00:00Z": "malformed",
    "10000-01-01T00:00:00Z": "malformed",
    "-0001-01-01T00:00:00Z": "malformed",
}
"""The ends of the calendar, and what becomes of a ban or a mute until then."""

NUMBERS = [
    "0",
    "1",
    "-1",
    *(str(2**bits + one) for bits in (31, 53, 63, 64) for one in (-1, 0)),
    str(-(2**63)),
]
NUMBERS += ["9" * 30, "9" * 5000, "1e400", "1.5", "NaN", "٣", "0x10", "+1", "", " 1"]
TIMES = [
    *UNTIL,
    "2026-01-01T00:00:00",
    "2026-02-30T00:00:00Z",
    "2026-01-01T24:00:00Z",
    "2026-01-01T00:00:00.1234567890Z",
]


def numbers(query: type[msgspec.Struct]) -> list[str]:
    """Return the parameters of a request that are numbers, by their names on the wire."""
    names = dict(zip(query.__struct_fields__, query.__struct_encode_fields__, strict=True))
    given = parameter_names(query)
    fields = {names[field.name]: field.type for field in msgspec.structs.fields(query)}
    return [name for name in given if "int" in str(fields[name])]


def times(query: type[msgspec.Struct]) -> list[str]:
    """Return the parameters of a request that are times, by their names on the wire."""
    return [name for name in parameter_names(query) if name in ("from", "to", "at")]


def requests(read: Read) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the path and the parameters of requests, each with one value from an end of its type."""
    path = read.path.format(roomId="general", userId="alice")
    always = {"room": "general"} if read.path.endswith("/view") else {}
    if read.path.endswith("/changes"):
        always |= {"from": "1"}
    for name in numbers(read.query):
        for value in NUMBERS:
            yield path, always | {name: value}
    for name in times(read.query):
        for value in [*TIMES, *NUMBERS]:
            yield path, always | {name: value}


@pytest.mark.parametrize("door", ["native", "socketio"])
@pytest.mark.usefixtures("projector")
async def test_a_ban_or_a_mute_until_an_end_of_the_calendar_is_answered(node: Process, door: str) -> None:
    async with client(node.url, "alice") as alice:
        for room in ("general", "muted"):
            await alice.say("room:create", roomId=room, name="Room", members=["bob", "carol"])
        await alice.say("room:role", roomId="general", userId="bob", role="owner")
        await alice.say("room:role", roomId="muted", userId="bob", role="owner")
        async with bobs(node, door) as bob:
            for until, outcome in UNTIL.items():
                for kind, room in (("room:mute", "muted"), ("room:ban", "general")):
                    frame = {
                        "type": kind,
                        "ref": f"{kind}.{len(alice.heard)}",
                        "roomId": room,
                        "userId": "carol",
                    }
                    answer = await bob.refusal(said(frame, until=until, ref=f"{kind}.{hash(until)}"))
                    assert answer.get("code", "lasts") == outcome, (until, kind, answer)
                    assert not answer.get("retryable")
            answer = await bob.refusal('{"type": "room:members", "ref": "m", "roomId": "muted"}')
        (carol,) = [one for one in answer["members"] if one["userId"] == "carol"]
        assert carol["mutedUntil"] == "9999-12-31T00:00:59.999999Z"
        async with httpx.AsyncClient(base_url=node.address) as http:
            shown = await http.get("/audit/rooms/general", headers=_as("carl", "auditor"))
        (banned,) = [one for one in shown.json()["others"] if one.get("banned")]
        assert banned["bannedUntil"] == "9999-12-31T00:00:59.999999Z"
    assert not [line for line in node.words if "Traceback" in line or "failed" in line]


def _as(user: str, scope: str = "chat") -> dict[str, str]:
    return {"Authorization": f"Bearer {token(user, scope=scope)}"}


@pytest.mark.usefixtures("projector")
async def test_every_number_and_time_of_a_request_is_answered(node: Process) -> None:
    asked: set[str] = set()
    async with client(node.url, "alice") as alice, httpx.AsyncClient(base_url=node.address) as http:
        await alice.join("general")
        await alice.post("general", "first")
        for read in (*READS, *AUDITS):
            for path, parameters in requests(read):
                answer = await http.get(path, params=parameters, headers=_as("alice", read.scope))
                # 403: it is not the policy here to show who reads the record.
                assert answer.status_code in (200, 400, 403, 404), (path, parameters, answer.text)
                if answer.status_code == 400:
                    assert (answer.json()["code"], answer.json()["retryable"]) == ("malformed", False)
                    assert answer.json()["detail"]
                asked |= {f"{read.path} {name}" for name in parameters}
    assert {
        "/audit/events after",
        "/audit/events from",
        "/audit/events to",
        "/audit/rooms/{roomId} at",
    } <= asked
    assert {"/api/rooms/{roomId}/messages before", "/api/rooms/{roomId}/messages after"} <= asked
    assert not [line for line in node.words if "Traceback" in line or "failed" in line]


async def test_cursors_at_both_ends_of_their_type_are_answered(node: Process) -> None:
    async with client(node.url, "alice") as alice:
        await alice.join("general")
    ends = {0: True, 2**53 - 1: False}
    for cursor, recovered in ends.items():
        async with client(node.url, "alice", {"general": cursor}) as alice:
            assert alice.connected["rooms"]["general"]["recovered"] is recovered
    for wrong in (-1, 2**53, 2**63, 10**30, 0.5, 1e300):
        async with raw(node.url) as socket:
            hello = {"type": "connect", "protocol": 1, "token": token("alice"), "rooms": {"general": wrong}}
            await socket.send(json.dumps(hello))
            answer = json.loads(await socket.recv())
            assert (answer["code"], answer["retryable"]) == ("malformed", False)
    assert not [line for line in node.words if "Traceback" in line or "failed" in line]


COMMANDS: list[tuple[str, ...]] = [
    ("replay", "--room", "general", "--from"),
    ("replay", "--room", "general", "--to"),
    ("room", "general", "--at"),
    ("room", "general", "--diff"),
    ("person", "alice", "--room", "general", "--at"),
]
SEQS: list[tuple[str, ...]] = [
    ("replay", "--room", "general", "--from-seq"),
    ("replay", "--room", "general", "--to-seq"),
    ("room", "general", "--at"),
    ("prove", "--room", "general", "--seq"),
]


@pytest.mark.usefixtures("projector")
async def test_every_number_and_time_of_an_auditors_command_is_answered(
    node: Process, database: Database
) -> None:
    async with client(node.url, "alice") as alice:
        await alice.join("general")
    env = environment(database)
    tried = [(*command, f"{value}") for command in COMMANDS for value in (*UNTIL, "2026-02-30T00:00:00Z")]
    tried += [
        (*command, value) for command in SEQS for value in ("0", "-1", str(2**53), str(2**63), "9" * 30)
    ]
    for command in tried:
        code, _, words = await run(env, "audit", *command[:-2], f"{command[-2]}={command[-1]}")
        assert code in (0, 1, 2), (command, words)
        assert "Traceback" not in words, (command, words)
        assert code == 0 or words, command
