"""Answers each message of a room exactly once, even if it is killed at any moment and started again.

pip install websockets
TOKEN=$(onrecord token --user echo) python examples/bot.py general
"""

import asyncio, collections, json, os, pathlib, sys, uuid
from websockets.asyncio.client import connect

CHAT = os.environ.get("CHAT", "http://localhost:8000")
LONGEST_WAIT = 60  # seconds; a command that is refused for longer ends the bot


async def main(room, kept="bot.cursor"):
    kept = pathlib.Path(kept)
    epoch, last = json.loads(kept.read_text()) if kept.exists() else (None, None)
    me, waiting = (
        None,
        collections.deque(),
    )  # waiting: (seq of the message, command); the first one is on its way
    async with connect(f"{CHAT.replace('http', 'ws', 1)}/ws") as chat:

        async def send_first():
            if waiting:
                await chat.send(json.dumps(waiting[0][1]))

        async def send_in_turn(seq, **command):  # one at a time keeps the order when one is refused
            waiting.append((seq, command))
            if len(waiting) == 1:
                await send_first()

        rooms = {room: last} if kept.exists() else {}
        connecting = {
            "type": "connect",
            "protocol": 1,
            "token": os.environ["TOKEN"],
            "epoch": epoch,
            "rooms": rooms,
        }
        await chat.send(json.dumps(connecting))
        async for text in chat:
            event = json.loads(text)
            kind, ref = event["type"], event.get("ref")
            if event.get("roomId", room) != room:  # others may add the bot to their rooms
                continue
            if kind == "connected":
                me, epoch, found = event["userId"], event["epoch"], event["rooms"].get(room)
                if found and not found["recovered"]:  # after a restore: from now on
                    last = found.get("head") or sys.exit(found["reason"])
                if last is None:  # the first start
                    await send_in_turn(float("inf"), type="room:join", ref=str(uuid.uuid4()), roomId=room)
            elif kind == "message:new" and event["userId"] != me and event["content"] is not None:
                # The same message has the same ref after every restart, so the answer is on the record once.
                ref = str(uuid.uuid5(uuid.UUID(epoch), f"{room}.{event['messageId']}"))
                answer = f"You wrote: {event['content']}"
                await send_in_turn(event["seq"], type="message:send", ref=ref, roomId=room, content=answer)
            elif kind == "error" and event["retryable"] and event.get("retryAfter", 1) <= LONGEST_WAIT:
                await asyncio.sleep(event.get("retryAfter", 1))
                await send_first()  # with the same ref
            elif (
                kind == "error" and event["code"] != "ref_conflict"
            ):  # a ref_conflict: the answer is on the record
                sys.exit(event["message"])
            elif kind in ("ack", "error") and ref == waiting[0][1]["ref"]:
                waiting.popleft()
                await send_first()
            if kind != "ack":  # an ack may overtake the events before it
                last = max(last or 0, event.get("seq", 0))
            if last:  # the cursor stays before a message whose answer has no ack
                draft = kept.with_suffix(".new")
                draft.write_text(json.dumps([epoch, min(last, waiting[0][0] - 1) if waiting else last]))
                draft.replace(kept)


asyncio.run(main(*sys.argv[1:]))
