"""Application services on one database, with subscribers that record the frames sent to them."""

import asyncio
import base64

from service.config.settings import Settings
from service.domain.commands import JoinRoom, LeaveRoom, PostMessage
from service.node.node import Node
from service.runtime.direct_sockets import NOWHERE
from tests.support.environment import KEY_ENCRYPTION_KEY, SECRET
from tests.support.servers.databases import Database


class Recorder:
    """A subscriber that records its frames."""

    wire_format = "native"
    descriptor = NOWHERE
    closing = False

    def __init__(self, user: str) -> None:
        self.user = user
        self.turn = asyncio.Lock()
        self.frames: list[bytes] = []
        self.out: list[str] = []
        self.ranges: list[tuple[str, int, int]] = []

    def write(self, frame: bytes) -> None:
        # One write may contain several frames.
        self.frames += [b'{"type"' + piece for piece in frame.split(b'{"type"')[1:]]

    def left(self, room: str) -> None:
        self.out.append(room)

    def wrote(self, room: str, first: int, last: int) -> None:
        self.ranges.append((room, first, last))

    async def drained(self) -> None:
        await asyncio.sleep(0)

    @property
    def seqs(self) -> list[int]:
        return [int(frame.split(b'"seq":')[1].split(b",")[0]) for frame in self.frames]


def settings(database: Database) -> Settings:
    return Settings(
        database_url=database.app_url,
        jwt_secret=SECRET,
        key_encryption_key=base64.b64decode(KEY_ENCRYPTION_KEY),
        join_creates=True,
    )


async def submit(running: Node, command: JoinRoom | LeaveRoom | PostMessage, user: str, ref: str) -> int:
    return (await (await running.application.chat.submit(command, user, ref, ref.encode()))).seq
