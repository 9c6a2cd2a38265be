"""Whether a text shows anything.

The code points that show nothing are listed here and not looked up in `unicodedata`, whose version differs between
Pythons: all nodes have to decide alike. A code point that is assigned later counts as visible, so new scripts and
emoji work; the ranges that Unicode reserves for ignorable code points are listed completely.
"""

import re

_CONTROLS = r"\x00-\x1f\x7f-\x9f"
_SPACES = r"\x20\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""White space (Unicode property White_Space) that is no control."""
_IGNORABLE = (
    r"\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    r"\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""Property Default_Ignorable_Code_Point: joiners, direction marks, fillers, variation selectors, tags."""
_FORMATS = r"\ufff9-\ufffb\U00013430-\U00013440"
"""Other formats (category Cf). Those that show a sign, such as U+06DD (end of ayah), are left out."""
BLANKS = r"\u2800\U00013441\U00013442\U00016fe4\U0001d159"
"""Blank by design: the empty Braille pattern, blank hieroglyphs, the filler of Khitan, the null notehead."""

INVISIBLE = _CONTROLS + _SPACES + _IGNORABLE + _FORMATS + BLANKS
"""The code points that show nothing, as the inside of a character class of a regular expression."""
_VISIBLE = re.compile(f"[^{INVISIBLE}]")


def is_visible(text: str) -> bool:
    """Return whether a text has at least one code point that shows something."""
    return _VISIBLE.search(text) is not None
