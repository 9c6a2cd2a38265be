"""The limits on message content: its length, and no markup that is active in a browser.

A message is stored and delivered exactly as it was sent, or refused; it is never altered. Clients show it as text.
Markup that would be active if a careless client inserted it as HTML is refused as well. Content is parsed as a browser
does (WHATWG HTML), so `a < b`, `<3`, `&lt;b&gt;` and `<b>` pass.

Invariant: the effect of markup depends on its context, so content is parsed in every context that exposes more of it.
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
"""Tags that one place drops, with all that they hold, and another does not: a template, a table, a document."""
_CLOSING = "\"'>"
"""What ends a tag that was left open, as the page around a message would."""
_ACTIVE_URL = re.compile(r"(javascript|vbscript):|data:text/html", re.IGNORECASE)
_IGNORED_IN_URLS = dict.fromkeys(range(0x21))
"""URL parsing strips or skips these (WHATWG URL, 4.4), so `java\\nscript:` acts like `javascript:`."""


def check_content(content: str, limit: int) -> None:
    """Check that `content` may be posted; `limit` is the maximum length in code points.

    Raises:
        EmptyMessage, MessageTooLong, UnsafeContent: the content is empty, too long or active markup.
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
    """Return markup whose every element has a place anywhere."""
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
