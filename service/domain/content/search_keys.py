"""The texts under which a person is found: the user id, and the display name from each of its words on.

A query is found at the beginning of such a text, so that an index answers it. Case, accents and compatibility forms
make no difference.
"""

import re
import unicodedata

MAX_WORDS = 8
"""Words of a display name from which on it is found."""

MAX_KEY = 255
"""Code points of a text that are compared; a user id has no more."""

_WORD = re.compile(r"(?<!\w)\w")


def folded(text: str) -> str:
    """Return a text as it is compared: in lower case, without accents, at most `MAX_KEY` code points."""
    plain = unicodedata.normalize("NFKD", text.casefold()).casefold()
    kept = "".join(char for char in plain if not unicodedata.combining(char) and char != "\x00")
    return " ".join(kept.split())[:MAX_KEY].rstrip()


def keys_of_name(name: str) -> list[str]:
    """Return the different texts of a display name, the whole name first."""
    text = folded(name)
    starts = [0, *(match.start() for match in _WORD.finditer(text) if match.start() > 0)]
    return list(dict.fromkeys(text[start:] for start in starts[:MAX_WORDS] if text))
