"""The HTML pages of an export: every event, readable in a browser, in log order.

Invariant: user content is only text. It is escaped, no page has a script, and none may load anything.
"""

from collections.abc import Iterator
from html import escape
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from service.audit.proof.checkpoint import Checkpoint

PAGE = 1_000
"""Events per page."""

INDEX = "index.html"


def write(place: Path, events: Path, title: str, checkpoint: Checkpoint, count: int) -> list[str]:
    """Write the pages for a file of events; return the names of the files written."""
    names = []
    with events.open("rb") as file:
        for number in range(1, -(-count // PAGE) + 1):
            rows = (_row(msgspec.json.decode(line)) for line in islice(file, PAGE))
            names.append(f"page-{number:06}.html")
            with (place / names[-1]).open("w", encoding="utf-8") as page:
                page.writelines(_page(f"{title}, page {number}", _table(rows)))
    with (place / INDEX).open("w", encoding="utf-8") as page:
        page.writelines(_page(title, _about(checkpoint, count, names)))
    return [INDEX, *names]


def _page(title: str, body: Iterator[str]) -> Iterator[str]:
    yield _HEAD.format(title=escape(title))
    yield from body
    yield "</body>\n</html>\n"


def _about(checkpoint: Checkpoint, count: int, names: list[str]) -> Iterator[str]:
    yield f"<p>{count} events, out of {checkpoint.size} that were sealed in the record "
    yield f"<code>{escape(checkpoint.origin)}</code> up to position {checkpoint.position}.</p>\n"
    yield "<p>These pages were made from <code>events.ndjson</code>. To verify the export, run "
    yield "<code>onrecord-verify</code> on this directory. “(erased)” marks content whose key was destroyed, "
    yield "“(unreadable)” content that is damaged.</p>\n"
    yield "<ol>\n"
    for name in names:
        yield f'<li><a href="{name}">{name}</a></li>\n'
    yield "</ol>\n"


def _table(rows: Iterator[str]) -> Iterator[str]:
    yield "<table>\n<tr><th>position</th><th>stream</th><th>seq</th><th>time (UTC)</th><th>by</th><th>what</th></tr>\n"
    yield from rows
    yield "</table>\n"


def _row(event: dict[str, Any]) -> str:
    cells = [event["position"], event["stream"], event["seq"], event["at"], event["by"]]
    columns = "".join(f"<td>{escape(str(cell))}</td>" for cell in cells)
    return f"<tr>{columns}<td>{_description(event)}</td></tr>\n"


def _description(event: dict[str, Any]) -> str:
    """Return an event's topic and fields; erased and unreadable fields are marked."""
    unreadable = event.get("unreadable")
    personal = msgspec.json.decode(event.get("state", "{}"))
    items = [] if unreadable is None else [f"<dt>(unreadable)</dt><dd>{escape(unreadable)}</dd>"]
    for name, value in event.get("fields", {}).items():
        missing = value is None and personal[name] is not None
        mark = "(erased)" if unreadable is None else "(unreadable)"
        text = mark if missing else value if isinstance(value, str) else msgspec.json.encode(value).decode()
        items.append(f'<dt>{escape(name)}</dt><dd dir="auto">{escape(text)}</dd>')
    kind = event["topic"].split(".")[1:2] or [event["topic"]]
    return f"<b>{escape(kind[0])}</b><dl>{''.join(items)}</dl>"


_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ font: 15px/1.4 sans-serif; margin: 2em; }}
table {{ border-collapse: collapse; }}
th, td {{ border: 1px solid #ccc; padding: 4px 8px; text-align: left; vertical-align: top; }}
dl {{ display: grid; grid-template-columns: max-content auto; gap: 0 1em; margin: 0; }}
dt {{ color: #666; }}
dd {{ margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; }}
</style>
</head>
<body>
<h1>{title}</h1>
"""
