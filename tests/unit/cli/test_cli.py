"""The commands as people start them: words in, stdout, stderr and an exit code out."""

import argparse
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from service import embedded
from service.cli import node
from service.cli.arguments import parser
from service.config import development
from service.config.settings import BY_VARIABLE, Settings
from tests.support.clients.subjects import SUBJECTS

LENT = {
    **dict.fromkeys(
        ("database_url", "migrate_database_url", "projector_database_url"), "postgresql://lent/db"
    ),
    "redis_url": "redis://lent",
}
SECRET = "a secret of at least thirty-two bytes"


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


def onrecord(*words: str, **variables: str) -> Outcome:
    """Run the command with these settings and none of the environment."""
    environ = {name: value for name, value in os.environ.items() if name not in BY_VARIABLE} | variables
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", *words],
        check=False,
        capture_output=True,
        text=True,
        env=environ,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


@contextmanager
def dev(place: Path) -> Iterator[subprocess.Popen[str]]:
    """`onrecord dev` in a terminal of its own, once it serves."""
    environ = {name: value for name, value in os.environ.items() if name not in BY_VARIABLE}
    with subprocess.Popen(
        [sys.executable, "-m", "service.cli", "dev"],
        stdout=subprocess.PIPE,
        text=True,
        env=environ | {"ONRECORD_DATA_DIR": str(place), "ONRECORD_PORT": "0"},
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert any("http://" in line for line in process.stdout), "it ended before it served"
            yield process
        finally:
            process.terminate()


def claims_of(token: str, secret: str = SECRET) -> dict[str, Any]:
    return jwt.decode(token.strip(), OctKey.import_key(secret), algorithms=["HS256"]).claims


def sentence(outcome: Outcome) -> str:
    """The one line that a refused command says, and nothing else."""
    assert outcome.out == ""
    (line,) = outcome.err.splitlines()
    return line


def test_a_token_is_printed_alone_and_says_who_someone_is() -> None:
    outcome = onrecord("token", "--user", "alice", ONRECORD_JWT_SECRET=SECRET)

    claims = claims_of(outcome.out)
    assert (outcome.code, outcome.err, outcome.out.count("\n")) == (0, "", 1)
    assert (claims["sub"], claims["name"], claims["scope"]) == ("alice", "alice", "chat")
    assert claims["exp"] - claims["iat"] == 3600
    assert not {"iss", "aud"} & set(claims)


def test_a_token_carries_name_scopes_issuer_and_audience() -> None:
    outcome = onrecord(
        *(
            "token",
            "--user",
            "auth0|a.b@c-d",
            "--name",
            "Ada",
            "--scope",
            "chat",
            "--scope",
            "auditor",
            "--ttl",
            "7d",
        ),
        ONRECORD_JWT_SECRET=SECRET,
        ONRECORD_JWT_ISSUER="https://id.example.com",
        ONRECORD_JWT_AUDIENCE="chat",
    )

    claims = claims_of(outcome.out)
    assert (claims["sub"], claims["name"], claims["scope"]) == ("auth0|a.b@c-d", "Ada", "chat auditor")
    assert (claims["iss"], claims["aud"]) == ("https://id.example.com", "chat")
    assert claims["exp"] - claims["iat"] == 7 * 86_400


def test_a_token_is_signed_with_the_development_key_of_the_data_directory(tmp_path: Path) -> None:
    keys = development.keys(tmp_path)

    outcome = onrecord("token", "--user", "alice", ONRECORD_DATA_DIR=str(tmp_path))

    assert claims_of(outcome.out, keys.jwt_secret)["sub"] == "alice"


def test_where_an_identity_provider_signs_the_tokens_no_other_is_made() -> None:
    jwks = "https://id.example.com/keys"
    outcome = onrecord("token", "--user", "alice", ONRECORD_JWT_SECRET=SECRET, ONRECORD_JWT_JWKS=jwks)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(
        "ONRECORD_JWT_JWKS is set: nodes accept only tokens of the identity provider"
    )


def test_without_a_key_there_is_no_token(tmp_path: Path) -> None:
    outcome = onrecord("token", "--user", "alice", ONRECORD_DATA_DIR=str(tmp_path))

    assert outcome.code == 2
    assert sentence(outcome).startswith(f"There is no development key in {tmp_path}")
    assert sentence(outcome).endswith(development.ELSEWHERE)


@pytest.mark.parametrize(("ttl", "seconds"), [("90s", 90), ("30m", 1800), ("1h", 3600), ("7d", 604_800)])
def test_durations_have_a_unit(ttl: str, seconds: int) -> None:
    assert parser().parse_args(["token", "--user", "a", "--ttl", ttl]).ttl == seconds


@pytest.mark.parametrize("user", SUBJECTS)
def test_every_subject_is_an_argument(user: str) -> None:
    assert parser().parse_args(["token", "--user", user]).user == user
    assert parser().parse_args(["token", f"--user={user}"]).user == user
    for words in (["--room", "r", user], [user, "--room", "r"], ["--room", "r", "--", user]):
        assert parser().parse_args(["audit", "person", *words]).person == user


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["token"],
        ["token", "--user", "two words"],
        ["token", "--user", "-h"],
        ["token", "--user", "--dashes"],
        ["token", "--user", "service:bot"],
        ["token", "--user", "os:root"],
        ["token", "--user", "a" * 256],
        ["token", "--user", "a\n"],
        ["token", "--user", "a", "--ttl", "0h"],
        ["token", "--user", "a", "--ttl", "3600"],
        ["token", "--user", "a", "--scope", "root"],
        ["audit", "replay"],
        ["audit", "replay", "--room", "r", "--from-seq", "0"],
        ["audit", "replay", "--room", "r", "--from", "2026-11-24T15:00:00"],
        ["audit", "replay", "--room", "r", "--as", "xml"],
        ["audit", "room"],
        ["audit", "person"],
        ["audit", "person", "alice", "--at", "2026-02-30"],
        ["audit", "person", "two words", "--room", "r"],
        ["audit", "room", "r", "--at", "yesterday"],
        ["audit", "room", "r", "--diff", "0"],
        ["audit", "erase", "--person", "alice"],
        ["audit", "erase", "--person", "two words", "--ground", "x"],
        ["audit", "erase", "--person", "alice", "--ground", "  "],
        ["audit", "erase", "--person", "alice", "--ground", "two\nlines"],
        ["audit", "erase", "--person", "alice", "--ground", "x" * 501],
        ["audit", "hold", "--ground", "x"],
        ["audit", "hold", "--room", "r", "--person", "p", "--ground", "x"],
        ["audit", "release", "--room", "r"],
        ["audit", "retention", "--room", "r"],
        ["audit", "retention", "--room", "r", "--days", "0"],
        ["audit", "retention", "--room", "r", "--days", "3", "--for-ever"],
        ["keys"],
        ["project"],
        ["settings", "--sh"],
        ["dance"],
    ],
)
def test_words_that_mean_nothing_are_wrong_usage(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parser().parse_args(words)

    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: onrecord")


def test_a_moment_is_understood_in_any_offset() -> None:
    words = [
        "audit",
        "replay",
        "--room",
        "r",
        "--from",
        "2026-11-24T15:00:00Z",
        "--to",
        "2026-11-24T17:00:00+02:00",
    ]
    args = parser().parse_args(words)

    assert args.from_time == args.to_time


def test_settings_lists_every_setting_and_hides_secrets() -> None:
    outcome = onrecord("settings", ONRECORD_JWT_SECRET=SECRET)

    assert outcome.code == 0
    assert [line.split()[0] for line in outcome.out.splitlines()[1:]] == list(BY_VARIABLE)
    assert SECRET not in outcome.out


def test_wrong_settings_are_named_one_a_line() -> None:
    outcome = onrecord("settings", ONRECORD_PORT="high", ONRECORD_HOTS="x")

    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.splitlines() == [
        "ONRECORD_HOTS is not a setting; did you mean ONRECORD_HOST?",
        "ONRECORD_PORT has to be a whole number from 0 to 65535, and is 'high'.",
    ]


@pytest.mark.parametrize(
    "words",
    [
        ["serve"],
        ["migrate"],
        ["project", "run"],
        ["project", "status"],
        ["project", "verify", "messages"],
        ["audit", "replay", "--room", "general"],
        ["audit", "room", "general"],
        ["audit", "erase", "--person", "alice", "--ground", "x"],
        ["audit", "hold", "--room", "general", "--ground", "x"],
        ["audit", "holds"],
        ["audit", "retention", "--room", "general", "--for-ever"],
        ["audit", "expire"],
        ["keys", "status"],
        ["keys", "rotate"],
    ],
)
def test_a_command_without_servers_names_what_is_missing(words: list[str], tmp_path: Path) -> None:
    outcome = onrecord(*words, ONRECORD_DATA_DIR=str(tmp_path))

    assert outcome.code == 2
    assert "DATABASE_URL" in sentence(outcome)
    assert sentence(outcome).endswith(development.ELSEWHERE)


def test_a_command_beside_dev_borrows_its_servers_and_keys(tmp_path: Path) -> None:
    development.keys(tmp_path)
    development.announce(tmp_path, LENT)

    shown = onrecord("settings", ONRECORD_DATA_DIR=str(tmp_path)).out.splitlines()

    assert next(line for line in shown if "REDIS_URL" in line).split()[1] == "redis://lent"
    assert next(line for line in shown if "JWT_SECRET" in line).split()[1] == "(set)"


def test_who_names_a_database_borrows_nothing(tmp_path: Path) -> None:
    development.keys(tmp_path)
    development.announce(tmp_path, LENT)

    outcome = onrecord("serve", ONRECORD_DATA_DIR=str(tmp_path), ONRECORD_DATABASE_URL="postgresql://own/db")

    assert outcome.code == 2
    assert "ONRECORD_JWT_SECRET and ONRECORD_KEY_ENCRYPTION_KEY are not set" in sentence(outcome)


@pytest.mark.parametrize("setting", ["ONRECORD_PORT", "ONRECORD_METRICS_PORT"])
def test_a_taken_port_is_found_before_anything_starts(setting: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        others = {"ONRECORD_PORT": "0"} | {setting: str(port)}
        outcome = onrecord("dev", **others, ONRECORD_DATA_DIR=str(tmp_path / "data"))

    assert outcome.code == 2
    assert f"cannot listen on 127.0.0.1 port {port}" in sentence(outcome)
    assert setting in sentence(outcome)
    assert not (tmp_path / "data").exists()


def test_an_unusable_data_directory_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    outcome = onrecord("dev", ONRECORD_PORT="0", ONRECORD_DATA_DIR=str(tmp_path / "file" / "data"))

    assert outcome.code == 2
    assert "cannot be created" in sentence(outcome)


def test_a_second_dev_on_the_same_directory_is_refused(servers: embedded.Servers) -> None:
    outcome = onrecord("dev", ONRECORD_PORT="0", ONRECORD_DATA_DIR=str(servers.data_dir))

    assert outcome.code == 2
    assert "runs servers in" in outcome.err.splitlines()[-1]


def test_dev_reports_a_problem_only_when_the_import_of_the_node_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused, imported = threading.Event(), threading.Event()

    def slow_import() -> None:
        refused.wait()
        time.sleep(0.2)  # the problem is on its way: it has to wait for the import
        imported.set()

    def locked(_data_dir: Path) -> None:
        refused.set()
        raise development.AlreadyRunning("locked")

    monkeypatch.setattr(node, "_import_node", slow_import)
    monkeypatch.setattr(embedded, "servers", locked)
    with pytest.raises(development.AlreadyRunning):
        node.run_dev(Settings(data_dir=tmp_path / "data"), argparse.Namespace())
    assert imported.is_set()


def test_a_server_that_does_not_answer_is_exit_code_three() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closing:
        url = f"postgresql://nobody@127.0.0.1:{closing.getsockname()[1]}/nothing"

    outcome = onrecord("migrate", ONRECORD_DATABASE_URL=url)

    assert outcome.code == 3
    assert sentence(outcome).startswith("A server could not be reached: ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_dev_runs_with_commands_beside_it_until_its_terminal_stops_it(
    place: Path, number: signal.Signals
) -> None:
    with dev(place) as process:
        beside = {"ONRECORD_DATA_DIR": str(place)}
        token = onrecord("token", "--user", "alice", **beside)
        status = onrecord("project", "status", **beside)
        second = onrecord("dev", ONRECORD_PORT="0", **beside)
        os.killpg(process.pid, number)

    assert process.returncode == 0
    assert token.out.count(".") == 2
    assert (status.code, status.err) == (0, "")
    assert [second.code, "runs servers in" in second.err] == [2, True]
    assert development.known_settings(place) == {}
    assert (place / "postgres.log").read_text().rstrip().endswith("database system is shut down")
