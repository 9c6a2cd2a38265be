"""Scenes of people who connect, create a room and talk."""

from tests.support.story.cast import Cast


async def connecting(cast: Cast) -> None:
    """Connecting.

    Ann connects. What she sends before `connect` is refused.
    """
    ann = await cast.opens("ann")
    await ann.sends("room:list")
    await ann.connects(token=cast.token("ann"))
    await ann.sends("ping")
    await cast.arrives("bob")


async def a_room(cast: Cast) -> None:
    """A room.

    Ann creates a public room, with Bob as a member. Cleo finds it in the directory and joins it. Both
    members learn of her.
    """
    ann, bob = cast.ann, cast.bob
    await ann.sends("room:create", name="General", roomId="general", visibility="public", members=["bob"])
    for person in (ann, bob):
        await person.receives("room:created")
        await person.receives("room:user_joined", userId="ann")
        await person.receives("room:user_joined", userId="bob")
    await cast.settled()
    cleo = await cast.arrives("cleo")
    await cleo.sends("room:directory", query="gen", limit=10)
    await cleo.sends("room:directory", after="general")
    await cleo.sends("room:join", roomId="general")
    await cleo.receives("room:members")
    await cleo.receives("room:receipts")
    await cleo.receives("message:history")
    await cleo.receives("room:user_joined", userId="cleo")
    await ann.receives("room:user_joined", userId="cleo")


async def talking(cast: Cast) -> None:
    """Talking.

    Bob is shown as typing, and posts. Only his own connections receive the `ref`. Ann replies, and
    mentions Bob and Zoe; Zoe is not a member, so the ack names her in `dropped`.
    """
    ann, bob = cast.ann, cast.bob
    await bob.sends("typing:start", roomId="general")
    await ann.receives("typing:start")
    await bob.sends("typing:stop", roomId="general")
    await ann.receives("typing:stop")
    await bob.sends("message:send", roomId="general", content="Hello, is the room up?")
    await bob.receives("message:new")
    await ann.receives("message:new")
    await ann.sends(
        "message:send",
        roomId="general",
        content="Yes. Ask @zoe for the rest.",
        replyTo=5,
        mentions=["bob", "zoe"],
    )
    await bob.receives("message:new", userId="ann")


async def changing_messages(cast: Cast) -> None:
    """Changing messages.

    Bob edits his message. Cleo reacts to it and takes the reaction back. Ann, who is the owner, pins it
    and unpins it. Then Bob posts by mistake and deletes the message.
    """
    ann, bob, cleo = cast.ann, cast.bob, cast.cleo
    await bob.sends("message:edit", roomId="general", messageId=5, content="Hello, is the room open?")
    await ann.receives("message:edited")
    await cleo.sends("message:react", roomId="general", messageId=5, emoji="\N{THUMBS UP SIGN}")
    await cleo.receives("message:reaction", added=True)
    await ann.receives("message:reaction", added=True)
    await cleo.sends("message:react", roomId="general", messageId=5, emoji=":tada:")
    await cleo.sends("message:unreact", roomId="general", messageId=5, emoji=":tada:")
    await ann.receives("message:reaction", added=False)
    await ann.sends("message:pin", roomId="general", messageId=5)
    await bob.receives("message:pinned", pinned=True)
    await ann.sends("message:pin", roomId="general", messageId=6)
    await ann.sends("message:unpin", roomId="general", messageId=6)
    await bob.receives("message:pinned", pinned=False)
    await bob.sends("message:send", roomId="general", content="My password is swordfish")
    await bob.sends("message:delete", roomId="general", messageId=14)
    await ann.receives("message:deleted")


async def reading(cast: Cast) -> None:
    """Reading.

    Bob reads up to Ann's message; receipts are no part of the room's order. Cleo pages through the
    history and the members. Bob lists his rooms, with what he has not read.
    """
    ann, bob, cleo = cast.ann, cast.bob, cast.cleo
    await bob.sends("message:read", roomId="general", messageId=6)
    await ann.receives("message:read")
    await cast.settled()
    await cleo.sends("message:history", roomId="general")
    await cleo.sends("message:history", roomId="general", before=14, limit=1)
    await cleo.sends("message:history", roomId="general", after=5, limit=1)
    await cleo.sends("room:members", roomId="general")
    await cleo.sends("room:members", roomId="general", after="ann", limit=1)
    await bob.sends("room:list")


async def settings_of_a_room(cast: Cast) -> None:
    """Settings of a room.

    Ann gives the room a topic and another name. She archives it; nobody can post until she reopens it.
    """
    ann, bob = cast.ann, cast.bob
    await ann.sends(
        "room:update", roomId="general", name="Town square", topic="What every member should know"
    )
    await bob.receives("room:updated", name="Town square")
    await bob.receives("room:updated", topic="What every member should know")
    await ann.sends("room:archive", roomId="general")
    await bob.receives("room:updated", archived=True)
    await bob.sends("message:send", roomId="general", content="Still here?")
    await ann.sends("room:reopen", roomId="general")
    await bob.receives("room:updated", archived=False)
    await ann.sends("room:update", roomId="general", topic="")
    await bob.receives("room:updated", topic=None)


async def coming_and_going(cast: Cast) -> None:
    """Coming and going.

    Bob is away from his keyboard. Then he loses his connection; after the grace, the others see him
    offline. He returns with his cursor, and receives what he has missed.
    """
    ann, bob = cast.ann, cast.bob
    await bob.sends("presence:set", status="away")
    await ann.receives("presence:changed", userId="bob", status="away")
    epoch = bob.client.connected["epoch"]
    await bob.leaves()
    await ann.receives("presence:changed", userId="bob", status="offline")
    await ann.receives("room:user_left", userId="bob", reason="disconnect")
    await ann.sends("message:send", roomId="general", content="Bob is away.", mentions=["bob"])
    bob = await cast.arrives("bob", {"general": 20, "nowhere": 0}, epoch=epoch)
    await bob.receives("room:receipts")
    await bob.receives("message:new")
    await ann.receives("room:user_joined", userId="bob", reason="reconnect")
    await bob.sends("auth:refresh", token=cast.token("bob", hours=2))
