"""Scenes of rooms and their members: invitations, moderation, reports, blocks, added people."""

from tests.support.story.cast import Cast


async def a_private_room(cast: Cast) -> None:
    """A private room.

    Ann invites Bob. He finds the invitation in his list, joins, and leaves again. For Cleo, who is not
    invited, the room does not exist.
    """
    ann, bob, cleo = cast.ann, cast.bob, cast.cleo
    await ann.sends("room:create", name="Board", roomId="board", visibility="private")
    await ann.sends("room:invite", roomId="board", userId="bob")
    await ann.receives("room:invited")
    await bob.receives("room:invited")
    await cast.settled()
    await bob.sends("room:list", after="a-room")
    await cleo.sends("room:join", roomId="board")
    await bob.sends("room:join", roomId="board", after=0)
    await bob.receives("message:history", roomId="board")
    await bob.sends("room:leave", roomId="board")
    await ann.receives("room:user_left", roomId="board")


async def moderation(cast: Cast) -> None:
    """Moderation.

    Ann makes Bob a moderator. He mutes Cleo, who can no longer post, and unmutes her. Then he removes
    her, bans her for a time, and lifts the ban. `explanation` is the `reason` that was given.
    """
    ann, bob, cleo = cast.ann, cast.bob, cast.cleo
    about = {"roomId": "general", "userId": "cleo"}
    await ann.sends(
        "room:role", roomId="general", userId="bob", role="moderator", reason="Helps out on weekends."
    )
    await bob.receives("room:member_updated", role="moderator")
    await bob.sends("room:mute", **about, until=cast.text(1), reason="Off topic, again and again.")
    await cleo.receives("room:member_updated", muted=True)
    await cleo.sends("message:send", roomId="general", content="But...")
    await cast.settled()
    await ann.sends("room:members", roomId="general", after="bob")
    await bob.sends("room:unmute", **about)
    await cleo.receives("room:member_updated", muted=False)
    await bob.sends("room:kick", **about, reason="Off topic once more.")
    await ann.receives("room:user_left", reason="kicked")
    await cleo.receives("room:user_left", reason="kicked")
    await cleo.sends("message:send", roomId="general", content="But...")
    await bob.sends("room:ban", **about, until=cast.text(2), reason="Announced to come back.")
    await ann.receives("room:user_left", reason="banned")
    await cleo.sends("room:join", roomId="general")
    await bob.sends("room:unban", **about, reason="Apologized.")
    await ann.receives("room:member_updated", banned=False)
    await cleo.sends("room:join", roomId="general")
    await ann.receives("room:user_joined", userId="cleo")


async def reports(cast: Cast) -> None:
    """Reports.

    Cleo reports a message of Bob's. Ann, the owner, is notified, lists the open reports and resolves it;
    Bob, the author, learns nothing although he is a moderator.
    """
    ann, bob, cleo = cast.ann, cast.bob, cast.cleo
    sent = await bob.sends("message:send", roomId="general", content="Cleo talks nonsense.")
    await cleo.sends(
        "message:report", roomId="general", messageId=sent["messageId"], reason="Insults another member."
    )
    told = await ann.receives("message:reported")
    await ann.sends("report:list", roomId="general")
    await ann.sends("report:list", roomId="general", after=told["reportId"], limit=10)
    await ann.sends("message:delete", roomId="general", messageId=sent["messageId"], reason="An insult.")
    await bob.receives("message:deleted", userId="ann")
    await ann.sends(
        "report:resolve",
        roomId="general",
        reportId=told["reportId"],
        outcome="removed",
        note="The first warning.",
    )
    await ann.receives("report:resolved")


async def blocks(cast: Cast) -> None:
    """Blocks.

    Cleo blocks Bob, which only her own connections learn of, lists whom she blocks, and ends the block.
    """
    cleo = cast.cleo
    await cleo.sends("user:block", userId="bob")
    await cleo.receives("user:blocked", blocked=True)
    await cleo.sends("user:blocks")
    await cleo.sends("user:blocks", after="ann", limit=10)
    await cleo.sends("user:unblock", userId="bob")
    await cleo.receives("user:blocked", blocked=False)


async def added_people(cast: Cast) -> None:
    """Added people.

    Ann opens a direct room with Bob. Dan is added to rooms by others; this server lets one connection
    receive two of these, so he no longer receives the one that he used least recently.
    """
    ann, bob = cast.ann, cast.bob
    await ann.sends("room:create", name="Ann and Bob", visibility="direct", members=["bob"])
    await bob.receives("room:created", visibility="direct")
    await bob.receives("room:user_joined", userId="ann", role="member")
    dan = await cast.arrives("dan")
    await ann.sends("room:create", name="News", roomId="news", members=["dan"])
    await dan.receives("room:created", roomId="news")
    await ann.sends("room:create", name="Lab", roomId="lab", members=["dan"])
    await dan.receives("room:created", roomId="lab")
    await bob.sends("room:create", name="Den", roomId="den", members=["dan"])
    await dan.receives("room:created", roomId="den")
    await dan.receives("room:unsubscribed")
    await ann.sends("room:leave", roomId="lab")
    await dan.receives("room:user_left", roomId="lab")
    await dan.receives("room:member_updated", roomId="lab", role="owner")
