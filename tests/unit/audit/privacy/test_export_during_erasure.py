"""An export beside what destroys keys: content that is erased while it is written is not in it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from service.audit.export import export as exporting
from service.audit.export import html_pages
from service.audit.export.export import CannotExport
from service.audit.export.scope import Everything
from tests.support.audit.exports import checked, contents, exported
from tests.support.servers.databases import Database

Act = Callable[[], None]


def erase(database: Database, person: str = "alice") -> None:
    with psycopg.connect(database.app_url) as node:
        node.execute("SELECT * FROM erase_person(%s, 'os:root', 'a request')", [person])


class Once:
    """Runs an act at the first of several calls."""

    def __init__(self, act: Act) -> None:
        self._act = act
        self.done = False

    def __call__(self, *_about: object) -> None:
        if not self.done:
            self.done = True
            self._act()


MOMENTS = {
    "while events are written": ("told", ""),
    "while pages are written": (html_pages, "write"),
    "while files are summed up": (exporting, "_digest"),
}


@pytest.mark.parametrize("moment", MOMENTS)
async def test_what_is_erased_while_an_export_is_written_is_not_in_it(
    sealed: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    erasing = Once(lambda: erase(sealed))
    where, name = MOMENTS[moment]
    if not isinstance(where, str):
        before: Callable[..., Any] = getattr(where, name)

        def with_erasure(*arguments: Any) -> Any:
            done = before(*arguments)
            erasing()
            return done

        monkeypatch.setattr(where, name, with_erasure)
    told = erasing if isinstance(where, str) else None
    assert await exported(sealed, tmp_path, Everything(), told) == 308
    assert erasing.done
    assert {name for name, content in contents(tmp_path).items() if b"no. 7" in content} == set()
    events = [json.loads(line) for line in (tmp_path / "events.ndjson").read_text().splitlines()]
    assert {event["fields"]["content"] for event in events if "content" in event["fields"]} == {None}
    code, out, words = checked(tmp_path)
    assert (code, out) == (0, "ok 308 events\n"), words


async def test_an_erasure_that_began_before_an_export_and_ended_in_it_counts(
    sealed: Database, tmp_path: Path
) -> None:
    """Its keys have the time of its beginning, and no reader sees them go before its end."""
    with psycopg.connect(sealed.app_url) as node:
        node.execute("SELECT * FROM erase_person('alice', 'os:root', 'a request')")
        assert await exported(sealed, tmp_path, Everything(), Once(node.commit)) == 308
    assert {name for name, content in contents(tmp_path).items() if b"no. 7" in content} == set()
    assert checked(tmp_path)[0] == 0


async def test_an_export_that_never_ends_before_the_next_erasure_is_given_up(
    sealed: Database, tmp_path: Path
) -> None:
    people = iter(f"p{number}" for number in range(1000))
    with pytest.raises(CannotExport, match="Keys were destroyed"):
        await exported(sealed, tmp_path, Everything(), lambda *_: erase(sealed, next(people)))
    assert not (tmp_path / "manifest.json").exists()
    assert not (tmp_path / "manifest.sig").exists()
    assert await exported(sealed, tmp_path, Everything()) == 308
    assert checked(tmp_path)[0] == 0
