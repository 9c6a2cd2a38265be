"""How the environment is read: the only place where that is done, once, at the start of a command.

What one setting is stands here (`setting`), and what to say of a variable that is wrong; which settings there are, in
`service.config.settings`. The rule: whatever is wrong is reported together, one sentence each, and never with a secret
in it.
"""

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from typing import Any

PREFIX = "ONRECORD_"


Setting = dataclasses.Field[Any]
"""A field of the settings, with what `setting` gave it."""


class SettingsInvalid(Exception):
    """What is wrong with the environment: `problems` holds one sentence each."""

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
    """One setting. `secret` hides it everywhere; `shown_default` describes a default that is no plain value."""
    about = {"meaning": meaning, "parse": parse, "secret": secret, "shown_default": shown_default}
    if factory is not None:
        return field(default_factory=factory, repr=not secret, metadata=about)
    return field(default=default, repr=not secret, metadata=about)


def variable(name: str) -> str:
    """The environment variable of the field `name`."""
    return PREFIX + name.upper()


def read(
    known: Mapping[str, Setting], environ: Mapping[str, str], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what `environ` sets, by the names of the fields; `defaults` stand in for what it does not set.

    A variable that is set to nothing counts as not set.

    Raises:
        SettingsInvalid: a variable is unknown, or its value is not usable.
    """
    given = {name: value for name, value in environ.items() if name.startswith(PREFIX)}
    problems = [_unknown(name, known) for name in sorted(given) if name not in known]
    chosen = dict(defaults)
    for name, one in known.items():
        if raw := given.get(name, "").strip():
            try:
                chosen[one.name] = one.metadata["parse"](raw)
            except ValueError as problem:
                problems.append(f"{name} {problem}{_shown(one, raw)}.")
    if problems:
        raise SettingsInvalid(problems)
    return chosen


def _unknown(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    return f"{name} is no setting" + (
        f"; did you mean {near[0]}?" if near else "; `onrecord settings` lists them all."
    )


def _shown(one: Setting, raw: str) -> str:
    return "" if one.metadata["secret"] else f", and is {raw!r}"
