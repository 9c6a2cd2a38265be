"""What a newcomer does: one command, two windows, a chat, and its history after a restart."""

from pathlib import Path

import pytest

from tests.support.clients.browser import Tab, chromium
from tests.support.clients.page import SAID, enter, message, newcomer, say
from tests.support.processes.processes import running


@pytest.mark.needs("chromium")
async def test_two_windows_chat_and_find_their_history_after_a_restart(place: Path, tmp_path: Path) -> None:
    async with running(newcomer(place), "dev") as server, chromium(tmp_path / "profile") as browser:
        alice, bob = await browser.open(server.address), await browser.open(server.address)
        await enter(alice, "Alice")
        await enter(bob, "Bob")
        await alice.fill("#message-text", "Hello Bob, <b>a < b</b> is text", "#message-send")
        await bob.until(f"{SAID}.includes('Hello Bob, <b>a < b</b> is text')")
        await bob.fill("#message-text", "Hello Alice", "#message-send")
        await alice.until(f"{SAID}.includes('Hello Alice')")
        await alice.until("document.querySelectorAll('#messages li[data-status=sent]').length === 2")
    async with running(newcomer(place), "dev") as server, chromium(tmp_path / "another") as browser:
        carol = await browser.open(server.address)
        await enter(carol, "Carol")
        await carol.until(f"{SAID}.length === 2")
        assert await carol.value(SAID) == ["Hello Bob, <b>a < b</b> is text", "Hello Alice"]


async def press(tab: Tab, row: str, name: str) -> None:
    """Press a button of a message's menu."""
    await tab.until(f"{row}?.querySelector('.menu .{name}')")
    await tab.value(f"{row}.querySelector('.menu .{name}').click()")


@pytest.mark.needs("chromium")
async def test_two_windows_answer_change_and_take_back_messages(place: Path, tmp_path: Path) -> None:
    async with running(newcomer(place), "dev") as server, chromium(tmp_path / "profile") as browser:
        alice, bob = await browser.open(server.address), await browser.open(server.address)
        await enter(alice, "Alice")
        await enter(bob, "Bob")
        await say(alice, "Lunch at noon?")
        await bob.until(message("Lunch at noon?"))
        await press(bob, message("Lunch at noon?"), "emoji")
        await alice.until(f"{message('Lunch at noon?')}.querySelector('.chip')?.textContent === '👍 1'")
        await press(bob, message("Lunch at noon?"), "reply")
        await say(bob, "Yes @alice")
        await alice.until(
            f"{message('Yes @alice')}?.querySelector('.quote').textContent === 'Alice: Lunch at noon?'"
        )
        await alice.until(f"{message('Yes @alice')}.classList.contains('for-me')")
        await press(bob, message("Yes @alice"), "edit")
        await bob.until("document.querySelector('#message-text').value === 'Yes @alice'")
        await bob.value("document.querySelector('#message-text').value = ''")
        await say(bob, "Later, <i>@alice</i>")
        await alice.until(f"{message('Later, <i>@alice</i>')}?.querySelector('.edited')")
        await press(alice, message("Lunch at noon?"), "pin")
        await bob.until(f"{message('Lunch at noon?')}.querySelector('.pin')")
        await alice.value("window.confirm = () => true")
        await press(alice, message("Later, <i>@alice</i>"), "delete")
        await bob.until("document.querySelector('#messages .gone')")
        assert await bob.value(SAID) == ["Lunch at noon?", "This message was deleted."]
        assert await bob.value("document.querySelectorAll('#messages i').length") == 0


@pytest.mark.needs("chromium")
async def test_a_message_is_unread_again_until_its_room_is_opened(place: Path, tmp_path: Path) -> None:
    general = "document.querySelector('#room-list li[data-room-id=general]')"
    async with running(newcomer(place), "dev") as server, chromium(tmp_path / "profile") as browser:
        alice, bob = await browser.open(server.address), await browser.open(server.address)
        await enter(alice, "Alice")
        await enter(bob, "Bob")
        await say(alice, "One")
        await say(alice, "Two")
        await alice.until(f"{message('Two')}?.querySelector('.note')?.textContent === 'Seen by Bob'")
        await press(bob, message("One"), "mark-unread")
        await bob.until(f"{general}.dataset.unread === '2'")
        await bob.until(f"{message('One')}.querySelector('.new')")
        await say(alice, "Three")
        await bob.until(f"{general}.dataset.unread === '3'")
        assert await alice.value(f"{message('Two')}.querySelector('.note').textContent") == "Seen by Bob"
        await bob.value(f"{general}.querySelector('button').click()")
        await bob.until(f"{general}.dataset.unread === '0'")
        await alice.until(f"{message('Three')}?.querySelector('.note')?.textContent === 'Seen by Bob'")

        await press(alice, message("Two"), "pin")
        await bob.until(f"{message('Two')}.querySelector('.pin')")
        await bob.value("document.querySelector('#pins-open').click()")
        await bob.until("document.querySelector('#pins-dialog').open")
        assert await bob.value("document.querySelector('#pins-list .content').textContent") == "Two"


@pytest.mark.needs("chromium")
async def test_windows_show_who_types_who_has_read_and_what_waits(place: Path, tmp_path: Path) -> None:
    async with running(newcomer(place), "dev") as server, chromium(tmp_path / "profile") as browser:
        alice, bob = await browser.open(server.address), await browser.open(server.address)
        await enter(alice, "Alice")
        await enter(bob, "Bob")
        await bob.fill("#message-text", "Thinking", "#members-toggle")
        await alice.until("document.querySelector('#typing').textContent === 'Bob is typing…'")
        assert await bob.value("document.querySelector('#typing').textContent") == ""
        await bob.value("document.querySelector('#message-send').click()")
        await alice.until("document.querySelector('#typing').textContent === ''")
        await bob.until(f"{message('Thinking')}?.querySelector('.note')?.textContent === 'Seen by Alice'")

        await alice.value("document.querySelector('#create-open').click()")
        await alice.value("document.querySelector('#create-private').checked = true")
        await alice.fill("#create-name", "Plans", "#create-submit")
        await alice.until("document.querySelector('#room-name').textContent === 'Plans'")
        await alice.value("document.querySelector('#members-toggle').click()")
        await alice.fill("#invite-user", "bob", "#invite-submit")
        await bob.until("document.querySelector('#invitation-list li[data-room-id^=r-] button')")
        await bob.value("document.querySelector('#invitation-list li[data-room-id^=r-] button').click()")
        await bob.until("document.querySelector('#room-name').textContent === 'Plans'")
        await bob.until("document.querySelector('#member-list').checkVisibility()")
        assert not await bob.value("document.querySelector('#invite-form').checkVisibility()")
        await alice.until("document.querySelector('#member-list li[data-user-id=bob][data-status=online]')")
        await say(bob, "Here I am")
        await bob.value("document.querySelector('#room-list li[data-room-id=general] button').click()")
        await say(alice, "Look, @bob")
        await bob.until("document.querySelector('#room-list li[data-room-id^=r-]').dataset.mentions === '1'")
        assert (
            await bob.value("document.querySelector('#room-list li[data-room-id^=r-]').dataset.unread") == "1"
        )
        await bob.value("document.querySelector('#room-list li[data-room-id^=r-] button').click()")
        await bob.until("document.querySelector('#room-list li[data-room-id^=r-]').dataset.unread === '0'")
