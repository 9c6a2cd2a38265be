"""Which user ids this server has seen: those of users who have signed in."""

from collections.abc import Iterable
from dataclasses import dataclass

from service.eventstore.reader import LogReader
from service.presence.presence import Presence
from service.realtime.user_cache import UserCache


@dataclass(frozen=True)
class KnownPeople:
    """Tells the users who have signed in from user ids that may be mistyped."""

    people: UserCache
    presence: Presence
    log: LogReader

    async def unknown(self, users: Iterable[str]) -> tuple[str, ...]:
        """Return those of `users` who have never signed in, each once; at most one query, by index.

        Users who are connected, whose session may not be recorded yet, are known.

        Raises:
            Unavailable: the log cannot be read.
        """
        doubtful = [user for user in dict.fromkeys(users) if not self._is_known(user)]
        if not doubtful:
            return ()
        known = await self.log.on_record(doubtful)
        return tuple(user for user in doubtful if user not in known)

    def _is_known(self, user: str) -> bool:
        return self.people.account(user).head > 0 or self.presence.status(user) != "offline"
