"""What the benchmark builds, by several processes at once."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.world import build as building


@pytest.mark.parametrize("build", [building.node_modules, building.python])
def test_peers_are_installed_once_though_several_ask_at_once(
    build: Callable[[], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, ran = threading.Barrier(2), []

    def run(*command: str) -> None:
        ran.append(command)
        try:
            both.wait(0.5)  # where two are here at once, both see it
        except threading.BrokenBarrierError:
            both.reset()

    monkeypatch.setattr(building, "CACHE", tmp_path)
    monkeypatch.setattr(building, "_run", run)
    monkeypatch.setattr("venv.create", lambda *_, **__: None)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: build(), range(2))
    assert first == second
    assert len(ran) == 1
