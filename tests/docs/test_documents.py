"""The documents say what the code does: nothing a client or operator can meet is undocumented."""

import re

import pytest

from service.config.settings import BY_VARIABLE
from service.domain.events import EVENTS
from service.errors import every_error
from service.gateway.http.endpoint import Read
from service.gateway.http.openapi import EVERY_READ
from service.gateway.http.request import parameter_names
from service.protocol.close_codes import Close
from service.protocol.commands import COMMANDS
from service.protocol.events import Outgoing
from tests.support.environment import ROOT

DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
PROTOCOL = (REFERENCE / "protocol.md").read_text()
CODES = (REFERENCE / "errors.md").read_text()
HTTP = (REFERENCE / "http.md").read_text()
SETTINGS = (REFERENCE / "settings.md").read_text()


@pytest.mark.parametrize("code", every_error())
def test_every_error_code_is_documented_with_whether_to_retry(code: str) -> None:
    table = CODES.split("## Error codes")[1]
    row = next(line for line in table.splitlines() if line.startswith(f"| `{code}` |"))
    assert row.rstrip(" |").endswith("yes" if every_error()[code].retryable else "no")


@pytest.mark.parametrize("close", Close)
def test_every_close_code_is_documented_with_whether_to_come_back(close: Close) -> None:
    row = next(line for line in CODES.splitlines() if line.startswith(f"| {close.value} |"))
    assert row.split("|")[3].strip().startswith("yes" if close.come_back else "no")


@pytest.mark.parametrize("command", COMMANDS.values())
def test_every_command_is_documented_with_its_fields(command: type) -> None:
    row = next(line for line in PROTOCOL.splitlines() if line.startswith(f"| `{command.TYPE}` |"))  # type: ignore[attr-defined] # a command
    for name in command.__struct_encode_fields__:  # type: ignore[attr-defined] # a struct
        assert name in ("type", "ref") or name in row, name


@pytest.mark.parametrize("event", Outgoing.__subclasses__())
def test_every_event_is_documented(event: type[Outgoing]) -> None:
    assert str(event.__struct_config__.tag) in PROTOCOL


def test_the_types_of_events_that_auditors_filter_by_are_listed() -> None:
    listed = HTTP.split("The values of `type` in `/audit/events`")[1].split(": ", 1)[1].split("\n\n")[0]
    named = [name for name in re.findall(r"`(\w+)`", listed) if name != "malformed"]
    assert named == sorted(event.__name__ for event in EVENTS.values())


@pytest.mark.parametrize("setting", BY_VARIABLE)
def test_every_setting_is_documented_with_its_meaning(setting: str) -> None:
    assert f"| `{setting}` |" in SETTINGS
    assert BY_VARIABLE[setting].metadata["meaning"] in SETTINGS


@pytest.mark.parametrize("setting", BY_VARIABLE)
def test_every_plain_default_on_the_page_is_that_of_the_setting(setting: str) -> None:
    row = next(line for line in SETTINGS.splitlines() if line.startswith(f"| `{setting}` |"))
    shown, default = row.split("|")[2].strip(), BY_VARIABLE[setting].default
    if isinstance(default, bool):
        assert str(default).lower() in shown
    elif isinstance(default, int | float) and re.fullmatch(r"[\d.]+", shown):
        assert float(shown) == default
    elif isinstance(default, str) and default:
        assert default in shown


def test_every_document_is_linked_and_no_link_is_broken() -> None:
    for document in [ROOT / "README.md", *DOCS.rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            assert target.startswith("http") or (document.parent / target).exists(), (
                f"{document.name}: {target}"
            )


@pytest.mark.parametrize("read", EVERY_READ, ids=lambda read: read.path)
def test_every_read_over_http_is_documented_with_its_parameters(read: Read) -> None:
    row = next(line for line in HTTP.splitlines() if line.startswith(f"| `{read.path}"))
    path, _, query = row.split("`")[1].partition("?")
    given = {name.rstrip("=") for name in query.split("&")} - {""} | set(re.findall(r"{(\w+)}", path))
    assert given == set(parameter_names(read.query))


def test_no_document_has_rests_of_its_making() -> None:
    for document in [ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")]:
        for number, line in enumerate(document.read_text().splitlines(), 1):
            rest = re.fullmatch(r"[A-Z]{2,12}|<{7}.*|={7}|>{7}.*", line)  # of a here-document or a merge
            assert not rest, f"{document.name}:{number}: {line}"
