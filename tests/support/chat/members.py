"""The member list as a client gets it."""

from tests.support.clients.native import Client


async def members(asker: Client, room: str = "general") -> dict[str, tuple[str, str | None]]:
    """Return the members of a room as shown."""
    answer = await asker.say("room:members", roomId=room)
    return {one["userId"]: (one["status"], one["lastSeen"]) for one in answer["members"]}
