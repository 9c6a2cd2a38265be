"""What handlers do beside the command itself."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import pytest

from service.chat import CommandResult
from service.errors import Muted
from service.eventstore.entries import Outcome
from service.gateway.commands.handlers import MAPPED, Handlers
from service.protocol.commands import MessageEdit, MessagePin, MessageReact, MessageSend, RoomFrame

AT = datetime(2026, 11, 29, tzinfo=UTC)
SEND = MessageSend(type="message:send", ref="r", room_id="general", content="hello")
OTHERS: list[RoomFrame] = [
    MessageReact(type="message:react", ref="r", room_id="general", message_id=1, emoji="\N{THUMBS UP SIGN}"),
    MessagePin(type="message:pin", ref="r", room_id="general", message_id=1),
    MessageEdit(type="message:edit", ref="r", room_id="general", message_id=1, content="y"),
]


class Scene:
    """Handlers over a chat whose answer the test gives; alice is typing in `general`."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[CommandResult] = asyncio.get_running_loop().create_future()
        self.typing = MagicMock()
        self.typing.is_typing.side_effect = lambda room, user: (room, user) == ("general", "alice")
        parts: dict[str, Any] = {name: MagicMock() for name in Handlers.__dataclass_fields__}
        parts |= {"typing": self.typing, "max_mentions": 100}
        parts["chat"].submit = AsyncMock(return_value=self.answer)
        self.handlers = Handlers(**parts)
        self.by_type = self.handlers.by_type(MagicMock(), MagicMock())

    async def say(self, frame: RoomFrame, user: str = "alice") -> None:
        await self.by_type[frame.type](MagicMock(user=user), frame)

    async def ended(self) -> bool:
        await asyncio.sleep(0)  # callbacks of a future run in the next turn
        return bool(self.typing.clear.called)

    def result(self, outcome: Outcome) -> None:
        self.answer.set_result(CommandResult("general", 5, AT, outcome))


async def test_typing_ends_once_the_own_post_is_recorded() -> None:
    scene = Scene()
    await scene.say(SEND)
    assert not await scene.ended(), "the answer is not known yet"
    scene.result("appended")
    assert await scene.ended()
    scene.typing.clear.assert_called_once_with("general", "alice")


async def test_typing_goes_on_after_a_refused_post_and_after_a_retry() -> None:
    refused, again, lost = Scene(), Scene(), Scene()
    for scene in (refused, again, lost):
        await scene.say(SEND)
    refused.answer.set_exception(Muted(room="general"))
    again.result("known")
    lost.answer.cancel()
    assert [await scene.ended() for scene in (refused, again, lost)] == [False, False, False]


@pytest.mark.parametrize("frame", OTHERS, ids=lambda frame: frame.type)
async def test_typing_goes_on_after_any_other_command(frame: RoomFrame) -> None:
    scene = Scene()
    assert type(frame) in MAPPED
    await scene.say(frame)
    scene.result("appended")
    assert not await scene.ended()
