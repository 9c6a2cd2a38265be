"""Serves one of the applications: python -m tests.conformance engineio|socketio|echo [PORT]."""

import asyncio
import sys

import uvicorn
import uvloop

from tests.support.conformance.apps import APPS, config


async def main(name: str, port: int) -> None:
    size = 16 * 2**20 if name == "echo" else 1_000_000
    await uvicorn.Server(config(*APPS[name](), size, port=port)).serve()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 3000))
