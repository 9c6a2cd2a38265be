"""What the Python client stores, and what it does with it after a restart."""

import json
from pathlib import Path

import pytest

from onrecord_client.commands import Commands
from onrecord_client.errors import OUTBOX_EXPIRED, OUTBOX_FULL, OnRecordError
from onrecord_client.messages import Message
from onrecord_client.outbox import FORGOTTEN_S, MAX_STORED, Entry, Outbox
from onrecord_client.sender import Sender
from onrecord_client.storage import FileStorage, MemoryStorage, Storage

URL, ME, ROOM = "ws://localhost/ws", "alice", "general"


class Full(MemoryStorage):
    """A storage that takes nothing more."""

    def set_item(self, _key: str, _value: str) -> None:
        raise OSError("no space")


def sender(storage: Storage, now: float = 0.0) -> tuple[Sender, Commands, list[Message]]:
    shown: list[Message] = []
    commands = Commands(lambda: None)
    made = Sender(commands, lambda: now, lambda _room: shown.append)
    made.connected(storage, URL, ME)
    return made, commands, shown


def taken(commands: Commands) -> list[str]:
    return [each.fields["content"] for each in commands.take(0.0)]


def test_entries_survive_a_restart_in_order(tmp_path: Path) -> None:
    entries = [Entry(str(each), ROOM, f"word {each}", 1.0, each, ("bob",)) for each in range(3)]
    outbox = Outbox(FileStorage(tmp_path / "box"), URL, ME)
    for entry in entries:
        outbox.add(entry)
    outbox.remove("1")
    again = Outbox(FileStorage(tmp_path / "box"), URL, ME)
    assert [*again.entries.values()] == [entries[0], entries[2]]
    assert not Outbox(FileStorage(tmp_path / "box"), URL, "bob").entries
    assert not Outbox(FileStorage(tmp_path / "box"), "ws://other/ws", ME).entries


def test_a_file_that_is_no_storage_is_refused(tmp_path: Path) -> None:
    (tmp_path / "box").write_text("[]")
    with pytest.raises(ValueError, match="not a file of this client"):
        FileStorage(tmp_path / "box")


def test_an_outbox_that_cannot_be_read_is_kept_beside() -> None:
    storage = MemoryStorage()
    key = f"onrecord.outbox {URL} {ME}"
    storage.set_item(key, "[{}]")
    assert not Outbox(storage, URL, ME).entries
    assert storage.get_item(key + " unreadable") == "[{}]"


async def test_a_message_is_stored_from_before_it_is_sent_until_its_answer() -> None:
    storage = MemoryStorage()
    first, commands, _ = sender(storage)
    place = first.post(ROOM, "hello", None, None, "ref")
    assert [each.ref for each in Outbox(storage, URL, ME).entries.values()] == ["ref"]
    _, after_a_restart, _ = sender(storage)
    assert taken(after_a_restart) == ["hello"]
    commands.answer(
        {"type": "ack", "ref": "ref", "seq": 3, "messageId": 3, "at": "2026-11-24T10:00:00Z"}, 0.0
    )
    assert (await place).seq == 3
    assert not Outbox(storage, URL, ME).entries


async def test_a_message_that_cannot_be_stored_is_not_sent() -> None:
    made, commands, shown = sender(Full())
    with pytest.raises(OSError, match="no space"):
        made.post(ROOM, "hello", None, None, None)
    assert (taken(commands), shown) == ([], [])


async def test_a_refused_message_fails_is_shown_and_stored_no_more() -> None:
    storage = MemoryStorage()
    made, commands, shown = sender(storage)
    place = made.post(ROOM, "hello", None, None, "ref")
    commands.answer(
        {"type": "error", "ref": "ref", "code": "muted", "message": "no", "retryable": False}, 0.0
    )
    with pytest.raises(OnRecordError):
        await place
    assert [(each.pending, each.failed and each.failed.code) for each in shown] == [
        (True, None),
        (False, "muted"),
    ]
    assert not Outbox(storage, URL, ME).entries


async def test_what_the_server_may_have_forgotten_is_not_sent_again() -> None:
    storage = MemoryStorage()
    sender(storage)[0].post(ROOM, "hello", None, None, "ref")
    _, commands, shown = sender(storage, now=FORGOTTEN_S + 1.0)
    assert taken(commands) == []
    assert [each.failed and each.failed.code for each in shown] == [OUTBOX_EXPIRED]
    assert not Outbox(storage, URL, ME).entries


async def test_the_outbox_is_bounded_and_a_long_message_refused() -> None:
    made, _, _ = sender(MemoryStorage())
    for number in range(MAX_STORED):
        made.post(ROOM, str(number), None, None, None)
    with pytest.raises(OnRecordError) as refused:
        made.post(ROOM, "one more", None, None, None)
    assert refused.value.code == OUTBOX_FULL
    with pytest.raises(OnRecordError) as too_long:
        sender(MemoryStorage())[0].post(ROOM, "x" * 131_072, None, None, None)
    assert too_long.value.code == "message_too_long"


def test_the_file_is_json_and_empty_after_all(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path / "box")
    outbox = Outbox(storage, URL, ME)
    outbox.add(Entry("ref", ROOM, "hello", 1.0))
    outbox.remove("ref")
    assert json.loads((tmp_path / "box").read_text()) == {}
    assert (tmp_path / "box").stat().st_mode & 0o077 == 0
