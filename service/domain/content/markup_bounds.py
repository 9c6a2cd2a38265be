"""Bounds the work of parsing markup, by a count of its tags and attributes.

HTML parsers are not linear. Each tag may search all open elements, and each attribute is compared with all others of
its tag. A parser repeats the open formatting elements (`<b>`, `<font>`) in every block that follows them, so that 8 KB
become 500,000 elements.

Invariant: markup of at most 10,000 code points without SVG and MathML is never refused here.
"""

import re

MAX_TAGS = 5_000
MAX_ATTRIBUTES = 5_000
"""Attributes of one tag."""

MAX_REPEATED = 20_000
"""Elements that the parser may add to repeat formatting elements."""

FORMATTING = "a|b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u"
_FORMATTING_TAG = re.compile(rf"<({FORMATTING})(?=[\s/>])(/?>|)", re.IGNORECASE | re.ASCII)
_FOREIGN = re.compile(r"<(svg|math)", re.IGNORECASE)
_TAG = re.compile(r"<[a-zA-Z/!?]")
_SEPARATOR = re.compile(r"[\s/\"']+")
_START_TAG = re.compile(
    r"<[a-zA-Z](?:[^\s/>]*+)(?:[\s/]++|[^\s/>=]++(?:\s*+=\s*+(?:\"[^\"]*+\"?|'[^']*+'?|[^\s>]*+))?+|=)*+"
)
_MOST_ALIKE = 3
"""Formatting elements without attributes, of one name, that a parser repeats (WHATWG HTML, 13.2.4.3)."""


def is_foreign(content: str) -> bool:
    """Whether `content` may contain SVG or MathML elements, in which formatting tags end the foreign element."""
    return _FOREIGN.search(content) is not None


def is_excessive(content: str) -> bool:
    """Whether the work of parsing `content` may be far above its size."""
    tags = sum(1 for _ in _TAG.finditer(content))
    return (
        tags > MAX_TAGS
        or (is_foreign(content) and tags * _repeated(content) > MAX_REPEATED)
        or _has_long_tag(content)
    )


def _repeated(content: str) -> int:
    """Return an upper bound of the formatting elements that a parser repeats in one block."""
    plain: dict[str, int] = {}
    others = 0
    for tag in _FORMATTING_TAG.finditer(content):
        name = tag[1].lower()
        if name == "a":  # a parser closes the previous one
            plain[name] = 1
        elif tag[2]:
            plain[name] = min(plain.get(name, 0) + 1, _MOST_ALIKE)
        else:
            others += 1
    return others + sum(plain.values())


def _has_long_tag(content: str) -> bool:
    """Return whether a tag may have more than `MAX_ATTRIBUTES`; the search reads each character three times at most."""
    if len(_SEPARATOR.findall(content)) <= MAX_ATTRIBUTES:
        return False
    read, budget = 0, 3 * len(content)
    for opening in _TAG.finditer(content):
        # A tag may begin within what looks like an attribute of another, for example in a comment.
        tag = _START_TAG.match(content, opening.start(), opening.start() + budget - read)
        length = len(tag[0]) if tag else 0
        read += length
        if read >= budget or (tag and len(_SEPARATOR.findall(tag[0])) > MAX_ATTRIBUTES):
            return True
    return False
