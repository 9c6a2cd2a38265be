"""Answers each message of a room exactly once, even if it is killed at any moment and started again.

pip install websockets
TOKEN=$(onrecord token --user echo --ttl 7d) python examples/bot.py ROOM [CURSOR]

CURSOR is the file that holds the bot's place in the room (ROOM.cursor). Each bot and each room needs its own.
"""

import asyncio, collections, json, os, pathlib, sys, uuid
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

CHAT = os.environ.get("CHAT", "http://localhost:8000")
LONGEST_WAIT = 60  # seconds; a command that is refused for longer ends the bot
ENDS = {
    4001: "The token has expired: make a new one that lasts longer (onrecord token --ttl), or send auth:refresh."
}


async def main(room, cursor=None):
    kept = pathlib.Path(cursor or f"{room}.cursor")
    epoch, last = json.loads(kept.read_text()) if kept.exists() else (None, None)
    rooms = {room: last} if last else {}
    me, head, waiting = (
        None,
        0,
        collections.deque(),
    )  # (seq of the message, command); the first one is on its way
    async with connect(f"{CHAT.replace('http', 'ws', 1)}/ws") as chat:

        async def send_first():
            if waiting:
                await chat.send(json.dumps(waiting[0][1]))

        async def send_in_turn(seq, **command):  # one at a time keeps the order when one is refused
            waiting.append((seq, command))
            if len(waiting) == 1:
                await send_first()

        token = os.environ["TOKEN"]
        await chat.send(
            json.dumps({"type": "connect", "protocol": 1, "token": token, "epoch": epoch, "rooms": rooms})
        )
        async for text in chat:
            event = json.loads(text)
            kind, ref, seq = event["type"], event.get("ref"), event.get("seq")
            if event.get("roomId", room) != room:  # others may add the bot to their rooms
                continue
            if kind == "connected":
                me, epoch, found = event["userId"], event["epoch"], event["rooms"].get(room)
                if (
                    not found
                ):  # the first start: the room from its beginning, of which the bot's own join is a part
                    await send_in_turn(
                        float("inf"), type="room:join", ref=str(uuid.uuid4()), roomId=room, after=0
                    )
                elif found.get("reason") in ("not_a_member", "room_not_found"):
                    sys.exit(f"The bot is not in {room} any more ({found['reason']}).")
                else:
                    head = found["head"]
                    last = last if found["recovered"] else head  # after a restore: from now on
            elif kind == "message:new" and last and event["userId"] != me and event["content"] is not None:
                # The same message has the same ref after every restart, so the answer is on the record once.
                ref = str(uuid.uuid5(uuid.UUID(epoch), f"{room}.{event['messageId']}"))
                answer = f"You wrote: {event['content']}"
                await send_in_turn(seq, type="message:send", ref=ref, roomId=room, content=answer)
            elif kind == "room:user_joined" and seq and event["userId"] == me:
                last = seq
            elif kind == "room:user_left" and seq and event["userId"] == me and seq > head:
                sys.exit(f"The bot is not in {room} any more ({event['reason']}).")
            elif kind == "error" and event["retryable"] and event.get("retryAfter", 1) <= LONGEST_WAIT:
                await asyncio.sleep(event.get("retryAfter", 1))
                await send_first()  # with the same ref
            elif (
                kind == "error" and event["code"] != "ref_conflict"
            ):  # a ref_conflict: the answer is on the record
                sys.exit(event["message"])
            elif kind in ("ack", "error") and ref == waiting[0][1]["ref"]:
                head = max(head, event.get("head", 0))
                waiting.popleft()
                await send_first()
            if last and kind != "ack":  # an ack may overtake the events before it
                last = max(last, seq or 0)
            if last:  # the cursor stays before a message whose answer has no ack
                draft = kept.with_suffix(".new")
                draft.write_text(json.dumps([epoch, min(last, waiting[0][0] - 1) if waiting else last]))
                draft.replace(kept)


try:
    asyncio.run(main(*sys.argv[1:]))
except ConnectionClosed as closed:  # started again, the bot goes on where it was
    code, reason = (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (None, "The connection broke.")
    sys.exit(ENDS.get(code, reason))
