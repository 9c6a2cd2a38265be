"""Parsers of the arguments that name a moment: a day, a time, or the number of an event."""

import argparse
from collections.abc import Callable
from datetime import datetime

from service.protocol.room_as_of import Moment, NoMoment, Part, day_of, moment_of, time_of

AT = "a day (to its end, UTC), a time or the number of an event; default: now"
AT_OR_ON = "a day (all of it, UTC), a time or, with --room, the number of an event; default: now"
NOT_BEFORE, NOT_AFTER = "not before this day (UTC) or time", "not after this day (UTC) or time"


def moments(day: Part = "end") -> Callable[[str], Moment]:
    """Return a parser of moments of a room; `day` is the part of a day without a time."""

    def parse(text: str) -> Moment:
        try:
            return moment_of(text, day)
        except NoMoment as problem:
            raise argparse.ArgumentTypeError(str(problem)) from problem

    return parse


def times(day: Part) -> Callable[[str], datetime]:
    """Return a parser of times; `day` is the part of a day without a time."""

    def parse(text: str) -> datetime:
        try:
            return time_of(text, day)
        except NoMoment as problem:
            raise argparse.ArgumentTypeError(str(problem)) from problem

    return parse


def moment_and_day(text: str) -> tuple[Moment, datetime | None]:
    """Return a moment, and the first moment of the day if it is a day."""
    return moments()(text), day_of(text)
