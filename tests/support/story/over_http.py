"""Scenes over HTTP: reads, the audit, administrators' actions, and signing in."""

from contextlib import AsyncExitStack

import httpx

from projections import memberships
from service.gateway.http.audits import MAX_READS
from tests.support.clients.sign_in import signing_in, visit
from tests.support.projections.behind import behind
from tests.support.story.cast import Cast


async def reads(cast: Cast) -> None:
    """Reads over HTTP.

    The same answers as on the socket, without a connection.
    """
    await cast.settled()
    rooms = "/api/rooms/{roomId}"
    await cast.requests("", "GET", "/readyz")
    await cast.requests("cleo", "GET", "/api/rooms")
    await cast.requests("cleo", "GET", "/api/rooms", after="general", limit=1)
    await cast.requests("cleo", "GET", "/api/directory")
    await cast.requests("cleo", "GET", "/api/directory", query="gen", after="a-room", limit=1)
    await cast.requests("cleo", "GET", "/api/users", query="an", limit=5)
    await cast.requests("cleo", "GET", rooms, roomId="general")
    await cast.requests("cleo", "GET", f"{rooms}/messages", roomId="general", before=14, limit=2)
    await cast.requests("cleo", "GET", f"{rooms}/messages", roomId="general", after=5, limit=1)
    await cast.requests("cleo", "GET", f"{rooms}/pins", roomId="general", before=14, limit=1)
    await cast.requests("bob", "POST", f"{rooms}/unread", roomId="general", body={"messageId": 6})
    await cast.requests("cleo", "GET", f"{rooms}/members", roomId="general", after="ann", limit=1)
    await cast.requests("cleo", "GET", f"{rooms}/receipts", roomId="general")
    reports = await cast.requests("ann", "GET", f"{rooms}/reports", roomId="general", limit=1)
    first = reports["reports"][0]["reportId"]
    await cast.requests("ann", "GET", f"{rooms}/reports", roomId="general", after=first)
    await cast.requests("bob", "GET", "/api/me/rooms", after="a-room")
    await cast.requests("dan", "GET", "/api/me/export", only="MemberJoined")
    await cast.requests("cleo", "GET", rooms, roomId="nowhere")
    await cast.requests("cleo", "GET", rooms, roomId="Town Square")
    await cast.requests("", "GET", "/api/rooms")
    await cast.requests("dan", "GET", "/api/me/export")


async def audit(cast: Cast) -> None:
    """The audit.

    Ada, an auditor, reads the record. Each of her requests is on the record itself; Ann, the owner, sees
    who read the record of her room.
    """
    room, scope = "/audit/rooms/{roomId}", "auditor"
    await cast.requests(
        "ada", "GET", "/audit/events", scope=scope, after=0, room="general", person="bob", type="MessagePosted",
        from_=cast.text(-1), to=cast.text(1), follow=False,
    )  # fmt: skip
    await cast.requests("ada", "GET", room, scope=scope, roomId="general", at="8")
    await cast.requests("ada", "GET", f"{room}/changes", scope=scope, roomId="general", from_="8", to="17")
    await cast.requests(
        "ada", "GET", "/audit/people/{userId}/rooms", scope=scope, userId="ann", at=await cast.present(1)
    )
    await cast.requests(
        "ada", "GET", "/audit/people/{userId}/view", scope=scope, userId="ann", room="lab", at="4"
    )
    await cast.requests("ann", "GET", "/api/rooms/{roomId}/readings", roomId="general", limit=2)
    await cast.requests("ann", "GET", "/api/rooms/{roomId}/readings", roomId="general", before=3)


async def limits_of_the_server(cast: Cast) -> None:
    """Limits of the server.

    A server sends few answers of the audit at once. And a read model that is far behind the log is not
    shown.
    """
    headers = {"Authorization": f"Bearer {cast.token('ada', scope='auditor')}"}
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=cast.node.address, headers=headers))
        following = []  # an iterator that is let go closes its connection
        for _ in range(MAX_READS):
            answer = await stack.enter_async_context(http.stream("GET", "/audit/events?follow=true"))
            following.append(answer.aiter_lines())
            await anext(following[-1])
        await cast.requests("ada", "GET", "/audit/events", scope="auditor")
    with behind(cast.database, memberships.PROJECTION.table):
        await cast.bob.sends("room:list")


async def administration(cast: Cast) -> None:
    """Administration.

    Root, an administrator, resolves a report. She suspends Dan, whose connection closes, and restores
    him. Then she erases him: what he wrote can no longer be read.
    """
    dan, scope, person = cast.dan, "admin", "/admin/people/{userId}"
    reports = await cast.requests("root", "GET", "/admin/reports", scope=scope, limit=1)
    report = reports["reports"][0]
    await cast.requests("root", "GET", "/admin/reports", scope=scope, after=report["reportId"])
    await cast.requests(
        "root", "POST", "/admin/rooms/{roomId}/reports/{reportId}/resolve", scope=scope,
        roomId="general", reportId=report["reportId"], body={"outcome": "warned", "note": "The second warning."},
    )  # fmt: skip
    await cast.requests(
        "root",
        "POST",
        f"{person}/suspend",
        scope=scope,
        userId="dan",
        body={"reason": "The account is stolen."},
    )
    await dan.is_closed()
    await cast.requests("dan", "GET", "/api/rooms")
    await cast.requests("root", "POST", f"{person}/restore", scope=scope, userId="dan", body={})
    dan = await cast.arrives("dan")
    await dan.sends("room:join", roomId="den")
    await dan.sends("message:send", roomId="den", content="It was me all along.")
    await cast.settled()
    await cast.requests(
        "root", "POST", f"{person}/erase", scope=scope, userId="dan",
        body={"ground": "GDPR, article 17(1)(b); case 2026-31"},
    )  # fmt: skip
    await dan.is_closed()
    await cast.bob.receives("room:content_removed", roomId="den")
    await cast.requests("root", "POST", f"{person}/erase", scope=scope, userId="zoe", body={"ground": "None"})


async def at_a_provider(cast: Cast) -> None:
    """Signing in.

    On another server, people sign in at an identity provider. The page goes to the provider's address,
    finishes the sign-in with what it returned with, and renews the token later.
    """
    async with (
        signing_in(cast.database, renewing=True) as (node, provider),
        httpx.AsyncClient(base_url=node.address) as http,
    ):
        await cast.requests("", "GET", "/signin", http=http)
        begun = await cast.requests("", "POST", "/signin/begin", body={}, http=http)
        back = await visit(begun["address"], user="gus")
        _known(cast, back)
        finished = await cast.requests("", "POST", "/signin/finish", body=back, http=http)
        await cast.requests("", "POST", "/signin/renew", body={"renewal": finished["renewal"]}, http=http)
        await cast.requests("", "POST", "/signin/end", body={"renewal": finished["renewal"]}, http=http)
        await cast.requests("", "POST", "/signin/renew", body={"renewal": finished["renewal"]}, http=http)
        await cast.requests("", "POST", "/signin/finish", body=back, http=http)
        provider.spoil_id = lambda claims: {**claims, "nonce": "another"}
        begun = (await http.post("/signin/begin", json={})).json()
        back = await visit(begun["address"], user="gus")
        _known(cast, back)
        await cast.requests("", "POST", "/signin/finish", body=back, http=http)


def _known(cast: Cast, back: dict[str, str]) -> None:
    """Show the texts that an identity provider made up as others."""
    cast.normalizer.keep_as(back["code"], "Qcb0Orv1zh30vL1MPRsbm")
    cast.normalizer.keep_as(back["state"], "SplxlOBeZQQYbYS6WxSbIA")
