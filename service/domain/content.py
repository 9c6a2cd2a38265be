"""What a message may say: its length, and nothing that acts in a browser.

A message is stored and delivered exactly as it was sent, or refused; it is never altered. Clients show it as text. That
markup which would act if a careless client inserted it as HTML is refused all the same (`docs/specification.md`, 2.6).
Parsed as a browser does (WHATWG HTML), so that `a < b`, `<3`, `&lt;b&gt;` and `<b>` pass.
"""

import re

from selectolax.lexbor import LexborHTMLParser, LexborNode

from service.errors import EmptyMessage, MessageTooLong, UnsafeContent

ACTIVE_TAGS = frozenset(("script", "iframe", "object", "embed", "form", "style", "link", "meta", "base"))
_ACTIVE_URL = re.compile(r"(javascript|vbscript):|data:text/html", re.IGNORECASE)
_IGNORED_IN_URLS = dict.fromkeys(range(0x21))
"""URL parsing strips or skips these (WHATWG URL, 4.4), so `java\\nscript:` acts like `javascript:`."""


def check_content(content: str, limit: int) -> None:
    """Do nothing where `content` may be posted; `limit` is its greatest length in code points.

    Raises:
        EmptyMessage, MessageTooLong, UnsafeContent: it may not.
    """
    if len(content) > limit:
        raise MessageTooLong(length=len(content), limit=limit)
    if not content.strip():
        raise EmptyMessage
    if "<" in content:
        _check_markup(content)


def _check_markup(content: str) -> None:
    _check_nodes(LexborHTMLParser(content))
    if "noscript" in content.lower():
        # Where scripts run, a browser takes the inside of noscript for raw text, as it does with noframes.
        _check_nodes(LexborHTMLParser(re.sub("noscript", "noframes", content, flags=re.IGNORECASE)))


def _check_nodes(tree: LexborHTMLParser) -> None:
    root = tree.root
    for node in root.traverse() if root is not None else ():
        tag = node.tag or ""
        if tag in ACTIVE_TAGS:
            raise UnsafeContent(what=f"a <{tag}> element")
        _check_attributes(node)
        if tag == "template":
            _check_markup(node.inner_html or "")


def _check_attributes(node: LexborNode) -> None:
    for name, value in node.attributes.items():
        if name.lower().startswith("on"):
            raise UnsafeContent(what=f"an {name} attribute")
        if value and _ACTIVE_URL.match(value.translate(_IGNORED_IN_URLS)):
            raise UnsafeContent(what=f"an active URL in {name}")
