"""The content policy: the length of a message, and no markup that runs in a browser.

A message is stored and delivered exactly as it was sent, or it is refused; it is never altered. Clients show it as
text. Markup that would run if a careless client inserted it as HTML is refused all the same.
Content is parsed as a browser parses it (WHATWG HTML), so that `a < b`, `<3`, `&lt;b&gt;` and `<b>` pass.

Invariant: what a browser makes of markup depends on the place of insertion, so content is parsed in each place that
can reveal an element, and refused if any of the results runs.
"""

import re
from collections.abc import Iterator

from selectolax.lexbor import LexborHTMLParser, LexborNode

from service.errors import EmptyMessage, MessageTooLong, UnsafeContent

ACTIVE_TAGS = frozenset(("script", "iframe", "object", "embed", "form", "style", "link", "meta", "base"))
_PLACED = re.compile(
    r"<(/?)(html|head|body|frameset|frame|template|select|table|caption|colgroup|col|tbody|thead|tfoot|tr|td|th)(?=[\s/>]|\Z)",
    re.IGNORECASE,
)
"""Tags that a parser drops with their content in one place and keeps in another: in a template, a table, a document."""
_CLOSING = "\"'>"
"""Closes a tag that was left open, as the page around a message would."""
_ACTIVE_URL = re.compile(r"(javascript|vbscript):|data:text/html", re.IGNORECASE)
_IGNORED_IN_URLS = dict.fromkeys(range(0x21))
"""URL parsing strips or skips these (WHATWG URL, 4.4), so `java\\nscript:` acts like `javascript:`."""


def check_content(content: str, limit: int) -> None:
    """Raise unless `content` may be posted; `limit` is its greatest length in code points.

    Raises:
        EmptyMessage: the content is empty.
        MessageTooLong: it has more than `limit` code points.
        UnsafeContent: it holds markup that runs in a browser.
    """
    if len(content) > limit:
        raise MessageTooLong(length=len(content), limit=limit)
    if not content.strip():
        raise EmptyMessage
    if "<" in content:
        _check_markup(content)


def _check_markup(content: str) -> None:
    for reading in _readings(content):
        _check_nodes(LexborHTMLParser(reading))
    _check_nodes(LexborHTMLParser(_flat(content) + _CLOSING), left_open=True)


def _readings(content: str) -> Iterator[str]:
    yield content
    yield _flat(content)
    if "noscript" in content.lower():
        # Where scripts run, a browser takes the inside of noscript for raw text, as it does with noframes.
        yield re.sub("noscript", "noframes", _flat(content), flags=re.IGNORECASE)


def _flat(content: str) -> str:
    """Return markup whose every element is valid anywhere."""
    return _PLACED.sub(r"<\1x-\2", content)


def _check_nodes(tree: LexborHTMLParser, *, left_open: bool = False) -> None:
    root = tree.root
    for node in root.traverse() if root is not None else ():
        tag = node.tag or ""
        if tag in ACTIVE_TAGS:
            raise UnsafeContent(what=f"a <{tag}> element")
        _check_attributes(node, left_open=left_open)


def _check_attributes(node: LexborNode, *, left_open: bool) -> None:
    for name, value in node.attributes.items():
        # A tag that was left open may be a comparison (`i <j once more`), which does nothing without a value.
        if name.lower().startswith("on") and (value or not left_open):
            raise UnsafeContent(what=f"an {name} attribute")
        # An animation's values are a list (SVG, SMIL).
        for part in (value or "").split(";") if name == "values" else (value or "",):
            if _ACTIVE_URL.match(part.translate(_IGNORED_IN_URLS)):
                raise UnsafeContent(what=f"an active URL in {name}")
