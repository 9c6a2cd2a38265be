"""What users may learn of the people whom this server has seen: who has signed in, and who has a name or user id."""

from collections.abc import Iterable
from dataclasses import dataclass

from projections import people
from service.errors import NotAllowed
from service.eventstore.read_database import ReadModels
from service.eventstore.reader import LogReader
from service.gateway.queries.queries import Asker
from service.presence.presence import Presence
from service.protocol.acks import FoundUser, UserFindAck
from service.protocol.commands import UserFind
from service.realtime.user_cache import UserCache


@dataclass(frozen=True, kw_only=True)
class PeopleQueries:
    """The queries; `among` says who is found: `anyone`, people in a `shared` room, or `nobody`."""

    models: ReadModels
    log: LogReader
    people: UserCache
    presence: Presence
    among: str

    async def find(self, asker: Asker, frame: UserFind) -> UserFindAck:
        """`user:find`.

        Raises:
            NotAllowed: the server lets no one find people.
            ProjectionBehind, Unavailable: the read models cannot be queried now.
        """
        if self.among == "nobody":
            raise NotAllowed(problem="This server does not let users find people.")
        shared = self.among == "shared"
        found = await self.models.read(people.find, frame.query, asker.user, shared=shared, limit=frame.limit)
        await self.people.load(found.users)
        users = [
            FoundUser(user_id=user, name=self.people.name_of(user))
            for user in found.users
            if not self.people.account(user).erased
        ]
        return UserFindAck(users=users, has_more=found.has_more, among="shared" if shared else "anyone")

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
