"""Reads the environment once, at the start of a command.

`setting` declares a setting; `service.config.settings` has all of them. All problems are reported together, in one
sentence each, without the value of a secret.
"""

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from typing import Any

PREFIX = "ONRECORD_"

MAX_SHOWN = 100
"""Characters of a wrong value that a problem repeats."""


Setting = dataclasses.Field[Any]
"""A field of `Settings`; its metadata are those that `setting` stores."""


class SettingsInvalid(Exception):
    """Variables of the environment are unknown or have invalid values; `problems` has a sentence for each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


def setting(
    meaning: str,
    parse: Callable[[str], Any],
    default: Any = dataclasses.MISSING,
    *,
    factory: Callable[[], Any] | None = None,
    shown_default: str | None = None,
    secret: bool = False,
) -> Any:
    """Declare a setting. `secret` hides its value; `shown_default` describes a default that is computed."""
    about = {"meaning": meaning, "parse": parse, "secret": secret, "shown_default": shown_default}
    if factory is not None:
        return field(default_factory=factory, repr=not secret, metadata=about)
    return field(default=default, repr=not secret, metadata=about)


def variable(name: str) -> str:
    """Return the environment variable of the field `name`."""
    return PREFIX + name.upper()


def read(
    known: Mapping[str, Setting], environ: Mapping[str, str], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the values in `environ` by field, with `defaults` for those not set; an empty variable is not set.

    Raises:
        SettingsInvalid: a variable is unknown or its value is invalid.
    """
    given = {name: value for name, value in environ.items() if name.startswith(PREFIX)}
    problems = [_unknown(name, known) for name in sorted(given) if name not in known]
    chosen = dict(defaults)
    for name, about in known.items():
        if raw := given.get(name, "").strip():
            try:
                chosen[about.name] = about.metadata["parse"](raw)
            except ValueError as problem:
                value = "" if about.metadata["secret"] else f", and is {_shown(raw)}"
                problems.append(f"{name} {problem}{value}.")
    if problems:
        raise SettingsInvalid(problems)
    return chosen


def _shown(raw: str) -> str:
    """Return the part of a wrong value that a problem repeats."""
    return repr(raw) if len(raw) <= MAX_SHOWN else f"{raw[:MAX_SHOWN]!r}..."


def _unknown(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    advice = f"did you mean {near[0]}?" if near else "`onrecord settings` lists them all."
    return f"{name} is not a setting; {advice}"
