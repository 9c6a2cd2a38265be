"""The conversation in a corpus: it causes every event of `service.domain.events`, on real servers.

Some content has expired, is erased or is held at the end. It contains one of the marks below, for which tests search.
"""

import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from service.domain.streams import report_id
from tests.support.clients.native import Client, client
from tests.support.environment import token
from tests.support.processes.processes import Process, run, running

EXPIRED = "bygone lantern"
"""In all content that retention has made unreadable."""
ERASED = "quixotic zephyr"
"""In all content of the two erased people."""
HELD = "amber held"
"""In expired content that stays, since a legal hold protects it."""

Env = dict[str, str]
People = dict[str, Client]


async def command(env: Env, *words: str) -> str:
    """Run an operator's command; return its output."""
    code, out, said = await run(env, *words)
    assert code == 0, f"onrecord {' '.join(words)}: {code} {said}"
    return out


@asynccontextmanager
async def connected(node: Process, *users: str) -> AsyncIterator[People]:
    """Give a connection of each user, under a display name."""
    async with AsyncExitStack() as stack:
        yield {
            user: await stack.enter_async_context(
                client(
                    node.url, user, name=user.title() + (f" {ERASED}" if user in ("erin", "frank") else "")
                )
            )
            for user in users
        }


async def number(posting: Any) -> int:
    """Return the number of a message that was sent."""
    return int((await posting)["messageId"])


async def long_ago(env: Env) -> None:
    """Post content that will expire or be erased, held or re-encrypted; one room has its rule from the start."""
    async with (
        running(env, "serve") as node,
        connected(node, "alice", "bob", "carol", "dave", "erin") as here,
    ):
        alice, bob, dave, erin = here["alice"], here["bob"], here["dave"], here["erin"]
        for each in here.values():
            await each.join("general")
        for each in (alice, bob, erin):
            await each.join("lobby")
        await alice.say("room:update", roomId="lobby", topic="What stays readable")
        for change in ("user:block", "user:unblock"):
            await alice.say(change, userId="erin")
        await dave.say("room:create", roomId="vault", name="Vault", visibility="private", members=["judy"])
        await bob.join("quiet")
        await alice.join("quiet")
        await command(env, "audit", "retention", "--room", "quiet", "--days", "30")
        for n in range(6):
            for each in (alice, bob):
                await each.post("quiet", f"{EXPIRED} of a room with a rule, {n}")
            await alice.post("general", f"{EXPIRED} from before the rule, {n}")
            said = await number(bob.post("general", f"{EXPIRED} from before the rule as well, {n}"))
            await bob.say("message:edit", roomId="general", messageId=said, content=f"{EXPIRED} edited, {n}")
            await alice.post("lobby", f"No rule covers this, {n}")
            await dave.post("general", f"{HELD} by a legal hold, {n}")
            await erin.post("general", f"{EXPIRED} {ERASED}, {n}")
            await erin.post("lobby", f"{ERASED} in a room without a rule, {n}")


async def days_ago(env: Env) -> None:
    """Post content that is not too old when the rule is made, and is carried over to keys of its day."""
    async with running(env, "serve") as node, connected(node, "alice", "bob") as here:
        for n in range(5):
            await here["alice"].post("general", f"Recent when the rule came, {n}", mentions=["bob"])
            await here["bob"].post("general", f"Recent as well, {n}")


async def rules(env: Env) -> None:
    """Place holds, give a room a rule that covers older content, and apply it."""
    await command(env, "audit", "hold", "--person", "dave", "--ground", "Case 7")
    await command(env, "audit", "hold", "--room", "vault", "--ground", "Case 8")
    await command(env, "audit", "hold", "--person", "carol", "--ground", "Case 9")
    await command(env, "audit", "release", "--person", "carol", "--ground", "Case 9 is closed")
    await command(env, "audit", "retention", "--room", "general", "--days", "30")
    await command(env, "audit", "expire")


async def a_day(node: Process, env: Env) -> None:
    """Use every command of the protocol, moderate, suspend and erase."""
    async with connected(node, "alice", "bob", "carol", "dave", "erin", "frank", "grace") as here:
        await _talk(here)
        await _moderate(here)
        await _messages(here)
        await _direct_and_private(here)
    await _judge(node)
    await _erase(node, env)


async def _talk(here: People) -> None:
    everyone = list(here.items())
    for _, each in everyone:
        await each.join("team")
    said = 0
    for n, (_, each) in zip(range(140), itertools.cycle(everyone), strict=False):
        mark = f"{ERASED} " if each.user in ("erin", "frank") else ""
        options: dict[str, Any] = {"replyTo": said} if n % 5 == 4 else {}
        options |= {"mentions": ["alice", "bob"]} if n % 7 == 3 else {}
        said = await number(each.post("team", f'{mark}line {n}: naïve café 日本 🦊\n"quoted"', **options))
        if n % 6 == 0:
            await here["alice"].say("message:read", roomId="team", messageId=said)
        if n % 9 == 0:
            await here["bob"].say("message:react", roomId="team", messageId=said, emoji="🎉")
    for kind in ("read", "unread"):  # the last message is another user's
        await here["carol"].say(f"message:{kind}", roomId="team", messageId=said)


async def _moderate(here: People) -> None:
    alice, bob, grace = here["alice"], here["bob"], here["grace"]
    await alice.say("room:role", roomId="team", userId="bob", role="moderator", reason="Helps")
    about_grace = {"roomId": "team", "userId": "grace"}
    await bob.say("room:mute", **about_grace, until="2030-01-01T00:00:00Z", reason="Too loud")
    await bob.say("room:unmute", **about_grace, reason="Calm again")
    await bob.say("room:mute", **about_grace)
    await bob.say("room:kick", **about_grace, reason="Come back later")
    await bob.say("room:ban", **about_grace, until="2031-02-03T04:05:06.789012Z", reason="For a while")
    await bob.say("room:unban", **about_grace, reason="Enough")
    said = await number(here["dave"].post("team", "Buy it now"))
    await here["carol"].say("message:report", roomId="team", messageId=said, reason="Spam")
    report = report_id("team", said, "carol")
    await bob.say("report:resolve", roomId="team", reportId=report, outcome="warned", note="Once")
    await grace.say("room:join", roomId="team")
    await alice.say("room:ban", roomId="team", userId="ivan", reason="For good")
    await alice.say("room:ban", roomId="team", userId="mallory", until="2032-01-01T00:00:00+02:00")
    await alice.say("room:update", roomId="team", name="The team", topic="Where everything happens")
    await alice.say("room:update", roomId="team", topic="")
    await alice.say("room:role", roomId="team", userId="carol", role="owner")
    await here["carol"].say("room:role", roomId="team", userId="alice", role="member", reason="Asked for it")
    await here["dave"].say("room:leave", roomId="team")


async def _messages(here: People) -> None:
    alice, bob, carol = here["alice"], here["bob"], here["carol"]
    said = [await number(each.post("team", f"To be changed {n}")) for n in range(4) for each in (alice, bob)]
    for n, message in enumerate(said):
        about = {"roomId": "team", "messageId": message}
        await carol.say("message:react", **about, emoji=":party:")
        await bob.say("message:react", **about, emoji="👍🏽")
        await carol.say("message:unreact", **about, emoji=":party:")
        await carol.say("message:pin", **about)
        await (alice, bob)[n % 2].say("message:edit", **about, content=f"Changed {n}")
        if n % 2:
            await carol.say("message:unpin", **about)
    await alice.say("message:delete", roomId="team", messageId=said[0], reason="A mistake")
    await carol.say("message:delete", roomId="team", messageId=said[1])
    await here["erin"].post("team", f"{ERASED} @alice", mentions=["alice"], replyTo=said[2])


async def _direct_and_private(here: People) -> None:
    alice, bob, dave, frank = here["alice"], here["bob"], here["dave"], here["frank"]
    await alice.say("room:create", roomId="two", name="Two", visibility="direct", members=["bob"])
    await bob.post("two", "Between us")
    await alice.say("room:create", roomId="secret", name="Secret", visibility="private")
    await alice.say("room:invite", roomId="secret", userId="frank")
    await alice.say("room:invite", roomId="secret", userId="grace")
    await alice.say("room:invite", roomId="secret", userId="judy")
    await alice.say("room:kick", roomId="secret", userId="judy", reason="Not her after all")
    await frank.say("room:join", roomId="secret")
    await frank.post("secret", f"{ERASED} in a private room")
    await dave.post("vault", "Behind a hold")
    await here["erin"].say("room:create", roomId="hers", name="Hers", members=["grace"])
    await here["erin"].say("room:update", roomId="hers", topic=f"About {ERASED}")
    await here["erin"].say("room:ban", roomId="hers", userId="grace", reason=f"For {ERASED}")
    await bob.say("room:create", roomId="closed", name="Closed")
    await bob.say("room:archive", roomId="closed")
    await bob.say("room:reopen", roomId="closed")
    await bob.post("closed", "Once more")
    await bob.say("room:archive", roomId="closed")


async def _judge(node: Process) -> None:
    async with _http(node, "root", "admin") as root:
        for path, why in (("grace/suspend", "Spam"), ("grace/restore", "A mistake"), ("heidi/suspend", None)):
            body = {"reason": why} if why else {}
            answer = await root.post(f"/admin/people/{path}", json=body)
            assert answer.status_code == 200, answer.text


async def _erase(node: Process, env: Env) -> None:
    await command(env, "audit", "erase", "--person", "erin", "--ground", "GDPR 17(1)(b)")
    async with _http(node, "root", "admin") as root:
        answer = await root.post("/admin/people/frank/erase", json={"ground": "GDPR 17(1)(a)"})
        assert answer.status_code == 200, answer.text


async def after_rotation(node: Process, env: Env) -> None:
    """Continue under the new key encryption key, with a new user, and rotate the signing key."""
    async with connected(node, "alice", "bob", "judy") as here:
        await here["judy"].join("lobby")
        for n in range(30):
            for each in here.values():
                await each.post("lobby", f"Under the new key, {n}", ref=f"{each.user}-{n}")
        await command(env, "audit", "keys", "--rotate")
        for n in range(30):
            await here["bob"].post("general", f"Under a key for the day, {n}")
            await here["alice"].post("lobby", f"After the new signing key, {n}")


async def read(node: Process, env: Env, place: Path) -> None:
    """Read the record in every way that is itself recorded."""
    for words in (
        ("replay", "--room", "team", "--from-seq", "3", "--to-seq", "9"),
        ("room", "team", "--at", "40"),
        ("room", "team", "--diff", "20", "--at", "40"),
        ("person", "bob", "--room", "team"),
        ("export", "--room", "secret", "--out", str(place / "secret")),
        ("prove", "--room", "lobby", "--seq", "5", "--reveal"),
    ):
        await command(env, "audit", *words)
    async with _http(node, "auditor", "auditor") as auditor:
        answer = await auditor.get("/audit/events", params={"person": "alice"})
        assert answer.status_code == 200
        assert answer.text.endswith("\n")


def _http(node: Process, user: str, scope: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=node.address, headers={"Authorization": f"Bearer {token(user, scope=scope)}"}, timeout=60
    )


async def lasting_rules(env: Env) -> None:
    """Make sure that no content of the corpus expires on a later day."""
    await command(env, "audit", "retention", "--room", "general", "--days", "36500")
    await command(env, "audit", "retention", "--room", "quiet", "--for-ever")
