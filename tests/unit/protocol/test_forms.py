"""Every form of a text has words: no error about any input of any door shows a regular expression."""

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from msgspec import inspect
from starlette.requests import Request

from service.cli.arguments import parser
from service.config.environment import SettingsInvalid, read
from service.config.settings import BY_VARIABLE
from service.errors import Malformed
from service.gateway.http.actions import ACTIONS
from service.gateway.http.openapi import EVERY_READ
from service.gateway.http.request import BadParameter, parameters
from service.protocol import http
from service.protocol.commands import COMMANDS, Connect
from service.protocol.forms import FORMS, MAX_SHOWN, problem_of, shown
from service.protocol.native import decode, decode_connect
from service.protocol.strict_json import MOST_SHOWN

BODIES = [http.DemoSignIn, http.SignInReturn, http.ToRenew, *(action.body for action in ACTIONS)]
QUERIES = [*(read.query for read in EVERY_READ), *(action.query for action in ACTIONS)]
SCHEMAS = [*dict.fromkeys([Connect, *COMMANDS.values(), *BODIES, *QUERIES])]
MACHINE = re.compile(r"\\[AZsdw]|\[\^|\(\?|\]\{\d|regex|`")
"""What shows that an error is written for a machine."""

WRONG = ["", " ", "Project X", "a\nb", "\x1b[2J\u202e", "x" * 10_000, "\U000e0020" * 100, "service:x", "é"]


def wrong_values(kind: inspect.Type, wrong: str) -> Iterator[Any]:
    """Yield values of a field that hold a wrong text in each place for a text of a declared form."""
    match kind:
        case inspect.Metadata(type=inner):
            yield from wrong_values(inner, wrong)
        case inspect.UnionType(types=types):
            for one in types:
                yield from wrong_values(one, wrong)
        case inspect.VarTupleType(item_type=item) | inspect.ListType(item_type=item):
            yield from ([value] for value in wrong_values(item, wrong))
        case inspect.DictType(key_type=key, value_type=item):
            yield from ({value: None} for value in wrong_values(key, wrong))
            yield from ({"a": value} for value in wrong_values(item, wrong))
        case inspect.StrType(pattern=str(pattern)) if not re.search(pattern, wrong):
            yield wrong
        case inspect.LiteralType() | inspect.EnumType():
            yield wrong


def fields_of(schema: type[msgspec.Struct]) -> Iterator[tuple[str, inspect.Type]]:
    for field in msgspec.structs.fields(schema):
        yield field.encode_name, inspect.type_info(field.type)


def errors(schema: type[msgspec.Struct]) -> Iterator[tuple[str, str, str]]:
    """Yield each wrong text with its field and the error about it; the other fields are left out."""
    for name, kind in fields_of(schema):
        for wrong in WRONG:
            for value in wrong_values(kind, wrong):
                alone = msgspec.defstruct("Alone", [(name, dict(annotations(schema))[name])])
                with pytest.raises(msgspec.ValidationError) as refused:
                    msgspec.convert({name: value}, alone)
                yield wrong, name, problem_of(refused.value, {name: value}, alone)


def annotations(schema: type[msgspec.Struct]) -> Iterator[tuple[str, Any]]:
    for field in msgspec.structs.fields(schema):
        yield field.encode_name, field.type


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.__name__)
def test_every_error_about_a_text_is_in_words_with_what_was_sent(schema: type[msgspec.Struct]) -> None:
    for wrong, name, error in errors(schema):
        assert not MACHINE.search(error), error
        assert error.startswith(f"'{shown(wrong)}' is "), error
        assert f" - at '$.{name}" in error
        assert len(error) <= MOST_SHOWN, error
        assert error.isprintable()


def test_every_form_shows_what_is_allowed_and_an_example_that_is() -> None:
    assert len(FORMS) >= 8
    for pattern, words in FORMS.items():
        problem = words.problem("\0")
        assert not MACHINE.search(problem), problem
        assert words.allowed in problem
        examples = [words.example] if words.example != "a UUID" else ["6fb4c1d2-9a3e-5b57-8c41-2d7f90e6a1b3"]
        for example in examples:
            assert all(re.search(pattern, one) for one in example.split(" or ")), example


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        (
            {"type": "room:join", "roomId": "Project X"},
            (
                "'Project X' is not a room id: at most 64 lower-case letters, digits and . _ - (not first), such as "
                "project-x. A name with capitals and spaces goes into room:create, whose ack has the id - at '$.roomId'"
            ),
        ),
        (
            {"type": "connect", "protocol": 1, "rooms": {"general": 1, "Project X": 2}},
            (
                "'Project X' is not a room id: at most 64 lower-case letters, digits and . _ - (not first), such as "
                "project-x. A name with capitals and spaces goes into room:create, whose ack has the id - at '$.rooms'"
            ),
        ),
        (
            {"type": "room:create", "ref": "1", "name": "x", "members": ["bob", "Nobody Such"]},
            (
                "'Nobody Such' is not a user id: 1 to 255 ASCII characters without spaces, not beginning with "
                "service:, os: or node:, such as alice@example.com - at '$.members[1]'"
            ),
        ),
        (
            {"type": "room:create", "ref": "1", "name": "x", "visibility": "secret"},
            "'secret' is none of public, private, direct - at '$.visibility'",
        ),
        (
            {"type": "room:create", "ref": "1"},
            "Object missing required field 'name', such as \"name\": \"Project X\" - at '$.name'",
        ),
        (
            {"type": "message:read", "ref": "1", "roomId": "general"},
            "Object missing required field 'messageId', such as \"messageId\": 1 - at '$.messageId'",
        ),
        (
            {"type": "room:create", "ref": "1", "name": "x" * 201},
            "201 characters are too many: the most is 200 - at '$.name'",
        ),
        (
            {"type": "message:history", "roomId": "general", "limit": 500},
            "500 is too large: the most is 200 - at '$.limit'",
        ),
        (
            {"type": "room:kick", "ref": "1", "roomId": "general", "userId": "bob", "reason": ""},
            "0 characters are too few: the least is 1 - at '$.reason'",
        ),
        (
            {"type": "message:send", "ref": "1", "roomId": "a", "content": "x", "mentions": ["bob"] * 101},
            "101 entries are too many: the most is 100 - at '$.mentions'",
        ),
        (
            {"type": "message:react", "ref": "1", "roomId": "a", "messageId": 1, "emoji": "👍👍"},
            (
                "'👍👍' is not a reaction: one emoji, or a shortcode of a-z, 0-9, _, + and - between colons, "
                "such as 👍 or :wave: - at '$.emoji'"
            ),
        ),
        (
            {"type": "room:create", "ref": 7, "name": "x"},
            "Expected 'str | null', got 'int' - at '$.ref'",
        ),
    ],
)
def test_a_command_with_a_wrong_text_is_refused_in_words(frame: dict[str, Any], error: str) -> None:
    read = decode_connect if frame["type"] == "connect" else decode
    with pytest.raises(Malformed) as refused:
        read(json.dumps(frame), frame)
    assert str(refused.value) == error


@pytest.mark.parametrize("read", EVERY_READ, ids=lambda read: read.path)
def test_every_wrong_parameter_is_refused_in_words_and_by_name(read: Any) -> None:
    for name, kind in fields_of(read.query):
        if name in ("type", "ref") or not [*wrong_values(kind, "no \n such thing")]:
            continue
        scope = {
            "type": "http",
            "path_params": {name: "no \n such thing"},
            "query_string": b"",
            "headers": [],
        }
        with pytest.raises(BadParameter) as refused:
            parameters(Request(scope), read.query)
        if refused.value.data["parameter"] == name:  # else a parameter is missing, which is reported first
            assert r"'no \n such thing' is not " in str(refused.value)
        assert not MACHINE.search(str(refused.value))


def test_what_was_sent_names_no_other_parameter() -> None:
    (read,) = [read for read in EVERY_READ if read.path == "/api/rooms/{roomId}"]
    scope = {
        "type": "http",
        "path_params": {"roomId": "x - at '$.limit'"},
        "query_string": b"",
        "headers": [],
    }
    with pytest.raises(BadParameter) as refused:
        parameters(Request(scope), read.query)
    assert refused.value.data["parameter"] == "roomId"


@pytest.mark.parametrize("variable", BY_VARIABLE)
def test_every_wrong_setting_is_refused_in_words(variable: str) -> None:
    for wrong in ("no [such] thing\n\x1b", "x" * 100_000):
        try:
            read(BY_VARIABLE, {variable: wrong}, {})
        except SettingsInvalid as refused:
            assert not MACHINE.search(str(refused)), str(refused)
            assert len(str(refused)) < 500


@pytest.mark.parametrize(
    "line",
    [
        "token --user #",
        "token --user a --ttl #",
        "token --user a --name #",
        "token --user a --scope #",
        "serve --workers #",
        "audit replay --room #",
        "audit replay --room a --from-seq #",
        "audit replay --room a --from #",
        "audit replay --room a --as #",
        "audit room #",
        "audit room a --at #",
        "audit person # --room a",
        "audit prove --room a --seq #",
        "audit erase --person a --ground #",
        "audit hold --room a --ground #",
        "audit retention --room a --days #",
    ],
)
@pytest.mark.parametrize("wrong", ["\x1b\udc80 [", "x\udc80" * 5_000])
def test_every_wrong_argument_is_refused_in_words(
    line: str, wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args([wrong if word == "#" else word for word in line.split()])
    said = capsys.readouterr().err.splitlines()[-1]
    assert not MACHINE.search(said), said
    assert "\x1b" not in said
    assert len(said) < 500


def test_a_long_text_is_shown_in_part() -> None:
    assert shown("x" * 1_000) == f"{'x' * MAX_SHOWN}..."
    assert shown("a\x1b\u202e\udc80é") == r"a\x1b\u202e\udc80é"
    assert len(shown("\U000e0020" * 1_000)) == MAX_SHOWN + 3
