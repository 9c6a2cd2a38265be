"""The content policy: the length of a message, and no markup that runs in a browser.

A message is stored and delivered exactly as it was sent, or it is refused; it is never altered. Clients show it as
text; markup that would run if a careless client inserted it as HTML is nevertheless refused. Content is parsed as a
browser parses it (WHATWG HTML), so `a < b`, `<3`, `&lt;b&gt;` and `<b>` pass. Within a code span or a fenced code block
of CommonMark everything is text.

Invariant: how a browser parses markup depends on where the markup is inserted. Content is therefore parsed in each
place that can reveal an element, and refused if any of the results runs.

Formatting elements are renamed before parsing, since a parser repeats them in every block that follows. Their names
decide how a browser reads the rest only within SVG and MathML; there, `markup_bounds` bounds the repetitions.
"""

import re
from collections.abc import Iterator

from selectolax.lexbor import LexborHTMLParser, LexborNode

from service.domain.content.code import outside_code
from service.domain.content.markup_bounds import FORMATTING, is_excessive, is_foreign
from service.domain.content.visible import is_visible
from service.errors import ComplexContent, EmptyMessage, MessageTooLong, UnsafeContent

ACTIVE_TAGS = frozenset(("script", "iframe", "object", "embed", "form", "style", "link", "meta", "base"))
_CONTEXTUAL = re.compile(
    r"<(/?)(html|head|body|frameset|frame|template|select|table|caption|colgroup|col|tbody|thead|tfoot|tr|td|th)(?=[\s/>]|\Z)",
    re.IGNORECASE | re.ASCII,  # `<\u017felect>` (a long s) is text
)
"""Tags that a parser drops with their content in one place and keeps in another (a template, a table, a document)."""
_FORMATTING = re.compile(rf"<(/?)({FORMATTING})(?=[\s/>]|\Z)", re.IGNORECASE | re.ASCII)
_CLOSING = "\"'>"
"""Closes an unfinished tag, as the markup after a message in a page would."""
_ACTIVE_URL = re.compile(r"(javascript|vbscript):|data:text/html", re.IGNORECASE)
_IGNORED_IN_URLS = dict.fromkeys(range(0x21))
"""URL parsing strips or skips these (WHATWG URL, 4.4), so `java\\nscript:` acts like `javascript:`."""


def check_content(content: str, limit: int) -> None:
    """Raise unless `content` may be posted; `limit` is its greatest length in code points.

    Raises:
        EmptyMessage: the content shows nothing.
        MessageTooLong: it has more than `limit` code points.
        UnsafeContent: it contains markup that runs in a browser.
        ComplexContent: it contains more markup than a parser reads in reasonable time.
    """
    if len(content) > limit:
        raise MessageTooLong(length=len(content), limit=limit)
    if not is_visible(content):
        raise EmptyMessage
    if "<" in content:
        for text in outside_code(content):
            if "<" in text:
                _check_markup(text)


def _check_markup(content: str) -> None:
    if is_excessive(content):
        raise ComplexContent
    if not is_foreign(content):
        content = _FORMATTING.sub(r"<\1x-\2", content)
    everywhere = _CONTEXTUAL.sub(r"<\1x-\2", content)  # a parser keeps every element
    for variant in _variants(content, everywhere):
        _check_nodes(LexborHTMLParser(variant))
    _check_nodes(LexborHTMLParser(everywhere + _CLOSING), left_open=True)


def _variants(content: str, everywhere: str) -> Iterator[str]:
    """Yield texts that a parser reads as a browser would read the content in each place of insertion."""
    yield everywhere
    if content != everywhere:
        yield content
    if "noscript" in content.lower():
        # If scripts are enabled, a browser parses the inside of noscript as raw text, as a parser does in noframes.
        yield re.sub("noscript", "noframes", everywhere, flags=re.IGNORECASE | re.ASCII)


def _check_nodes(tree: LexborHTMLParser, *, left_open: bool = False) -> None:
    root = tree.root
    for node in root.traverse() if root is not None else ():
        tag = node.tag or ""
        if tag in ACTIVE_TAGS:
            raise UnsafeContent(what=f"a <{tag}> element")
        _check_attributes(node, left_open=left_open)


def _check_attributes(node: LexborNode, *, left_open: bool) -> None:
    for name, value in node.attributes.items():
        # An unfinished tag may be a comparison (`i <j once more`); without a value its attribute has no effect.
        if name.lower().startswith("on") and (value or not left_open):
            raise UnsafeContent(what=f"an {name} attribute")
        # An animation's values are a list (SVG, SMIL).
        for part in (value or "").split(";") if name == "values" else (value or "",):
            if _ACTIVE_URL.match(part.translate(_IGNORED_IN_URLS)):
                raise UnsafeContent(what=f"an active URL in {name}")
