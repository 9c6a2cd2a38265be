"""The asyncio client of OnRecord.

async with OnRecord("wss://chat.example.org/ws", token=get_token) as chat:
    room = await chat.join("general")
    await room.send("hello")
    async for message in room.stream():
        print(message.user_id, message.content)
"""

from onrecord_client.client import OnRecord
from onrecord_client.directory import RoomSummary
from onrecord_client.engine import State
from onrecord_client.errors import OnRecordError
from onrecord_client.messages import Message, Reaction, Sent
from onrecord_client.model import Member, Receipt
from onrecord_client.room import Room
from onrecord_client.storage import FileStorage, MemoryStorage, Storage

__all__ = [
    "FileStorage",
    "Member",
    "MemoryStorage",
    "Message",
    "OnRecord",
    "OnRecordError",
    "Reaction",
    "Receipt",
    "Room",
    "RoomSummary",
    "Sent",
    "State",
    "Storage",
]
