"""Separates the code of a message from what is around it, as CommonMark 0.31 with HTML reads it.

Code is a code span or a fenced code block. Clients show it as text, so markup there does not run.

Invariant: the work is linear. The parser (pulldown-cmark) is linear but for lines that open many nested containers,
which it visits again for each later line. Content with such a line counts as content without code.
"""

import re
from html import unescape
from typing import Any

import pyromark

MAX_NESTED = 100
"""Block quotes and list items that one line may open."""

_TOO_NESTED = re.compile(
    rf"^(?:[ \t]*+(?:>|[-*+](?=\s)|[0-9]{{1,9}}+[.)](?=\s))){{{MAX_NESTED + 1}}}", re.MULTILINE | re.ASCII
)
_LONE_RETURN = re.compile(r"\r(?!\n)")
_SPACE_AT_END = re.compile(r"(?<![ \t])[ \t]++(?=\r?\n|\Z)")
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_STAND_IN = "x"
_HTML = ("Html", "InlineHtml")
_TAG = "<p>"
"""Any tag of a renderer: it ends comments and elements of SVG and MathML, as `<code>` and `<li>` do."""


def outside_code(content: str) -> tuple[str, ...]:
    """Return the texts that have to be safe as HTML so that `content` is safe outside its code.

    The first is `content` with a letter for each code. If there is HTML beside code, the second is what a renderer
    makes of both: in a tag that is left open before code, a quote within the code ends an attribute, and the tags of
    a renderer end comments and SVG.
    """
    if ("`" not in content and "~~~" not in content) or _TOO_NESTED.search(content):
        return (content,)
    source = content.encode()
    outside: list[str] = []
    rendered: list[str] = []
    read, has_html = 0, False
    for event, span in pyromark.events_with_range(_normal(content), merge_text=True):
        start, end = span["start"], span["end"]
        if _is_code(event):
            outside.append(source[read:start].decode())
            rendered += _TAG, _escaped(source[start:end].decode())
            read = end
        elif start >= read:  # the text of a block follows the block
            part = _rendered(event)
            has_html = has_html or (isinstance(event, dict) and not event.keys().isdisjoint(_HTML))
            if part != _TAG or rendered[-1:] != [_TAG]:
                rendered.append(part)
    if not outside:
        return (content,)
    outside.append(source[read:].decode())
    texts = (_STAND_IN.join(outside), "".join(rendered))
    return texts if has_html else texts[:1]


def _rendered(event: Any) -> str:
    """Return the HTML of an event; that of a block begins with a tag."""
    match event:
        case {"Html": str(html)} | {"InlineHtml": str(html)}:
            return html
        case {"Text": str(text)}:
            return _escaped(text)
        case "SoftBreak" | {"Start": "HtmlBlock"} | {"End": "HtmlBlock"}:
            return "\n"
    return _TAG


def _normal(content: str) -> str:
    """Return `content` of the same length with the line endings and fences that the parser misreads written plainly."""
    return _SPACE_AT_END.sub(lambda space: " " * len(space[0]), _LONE_RETURN.sub("\n", content))


def _is_code(event: Any) -> bool:
    match event:
        case {"Code": _} | {"Start": {"CodeBlock": {"Fenced": _}}}:
            return True
    return False


def _escaped(text: str) -> str:
    # A renderer decodes the entities of an info string, and does not escape every quote.
    return unescape(text).translate(_ESCAPES)
