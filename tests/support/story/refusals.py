"""Scenes of what the server refuses: one for each error code that a client can cause."""

from tests.support.story.cast import Cast


async def invalid_commands(cast: Cast) -> None:
    """Invalid commands.

    A refused command is answered with an `error` that carries its `ref`.
    """
    cleo = cast.cleo
    await cleo.sends("message:sned", roomId="general", content="Hello")
    await cleo.sends("message:history", roomId="general", limit="all")
    await cleo.sends_frame("message:send", roomId="general", content="Hello")
    await cleo.receives("error", code="ref_required")
    await cleo.sends("message:send", roomId="general", content="Hello", ref="greeting-1")
    await cleo.sends("message:send", roomId="general", content="Good morning", ref="greeting-1")
    await cleo.sends("message:send", roomId="general", content="  ")
    await cleo.sends("message:send", roomId="general", content="<script>alert(1)</script>")
    await cleo.sends("message:send", roomId="general", content="spam " * 201)


async def what_is_not_there(cast: Cast) -> None:
    """What is not there.

    Rooms, users, messages and reports that do not exist, or exist already.
    """
    ann, cleo = cast.ann, cast.cleo
    await cleo.sends("room:create", name="General", roomId="general")
    await cleo.sends("room:members", roomId="nowhere")
    await ann.sends("room:kick", roomId="general", userId="zoe")
    await cleo.sends("message:react", roomId="general", messageId=999, emoji="\N{THUMBS UP SIGN}")
    await cleo.sends("message:report", roomId="general", messageId=14, reason="Shows a password.")
    await ann.sends(
        "report:resolve",
        roomId="general",
        reportId=cast.normalizer.keep("00000000-0000-5000-8000-000000000000"),
        outcome="dismissed",
    )


async def what_is_not_allowed(cast: Cast) -> None:
    """What is not allowed.

    Rights, and limits: on this server a user may make two reports a day, and a connection receive five
    rooms of its user's choice.
    """
    ann, bob, cleo = cast.ann, cast.bob, cast.cleo
    await cleo.sends("message:pin", roomId="general", messageId=5)
    await cleo.sends("message:edit", roomId="general", messageId=5, content="Changed")
    await ann.sends("room:role", roomId="general", userId="ann", role="member")
    sent = await bob.sends("message:send", roomId="general", content="Nonsense, again.")
    later = await bob.sends("message:send", roomId="general", content="And again.")
    await cleo.sends("message:report", roomId="general", messageId=sent["messageId"], reason="An insult.")
    await cleo.sends("message:report", roomId="general", messageId=later["messageId"], reason="An insult.")
    await ann.sends("room:join", roomId="den")
    await ann.sends("room:create", name="Attic", roomId="attic")


async def tokens(cast: Cast) -> None:
    """Tokens.

    A token for `auth:refresh` is another user's, is no token, has expired, or is not valid yet.
    """
    cleo = cast.cleo
    await cleo.sends("auth:refresh", token=cast.token("dan"))
    await cleo.sends("auth:refresh", token="a.b.c")
    await cleo.sends("auth:refresh", token=cast.token("cleo", hours=-1))
    await cleo.sends("auth:refresh", token=cast.token("cleo", hours=2, nbf=int(cast.later(1).timestamp())))
