"""Listeners of the Python client."""

import pytest

from onrecord_client.emitter import Emitter


def test_a_listener_that_fails_is_logged_and_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    emitter, seen = Emitter("state"), list[object]()

    def fail(_value: object) -> None:
        raise ZeroDivisionError("in the application")

    emitter.on("state", fail)
    emitter.on("state", seen.append)
    emitter.emit("state", "connected")
    assert seen == ["connected"]
    assert "in the application" in caplog.text
    emitter.off("state", fail)
    caplog.clear()
    emitter.emit("state", "closed")
    assert (seen, caplog.text) == (["connected", "closed"], "")


def test_coroutine_functions_and_unknown_events_are_refused() -> None:
    async def listener(_value: object) -> None: ...

    emitter = Emitter("state")
    with pytest.raises(TypeError):
        emitter.on("state", listener)
    with pytest.raises(ValueError, match="there is no event 'stat'"):
        emitter.on("stat", print)
