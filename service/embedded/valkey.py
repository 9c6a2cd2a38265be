"""Valkey from its wheel. It stores nothing on disk: messages on the bus may be lost at any time (promise P4)."""

import os
import signal
import socket
from pathlib import Path

from service.config.development import Keys
from service.embedded.account import Account
from service.embedded.daemon import Daemon


class Valkey(Daemon):
    """The Valkey server of a data directory."""

    name = "Valkey"
    stop_signals = ((signal.SIGTERM, 10.0),)

    def __init__(self, program: Path, home: Path, log: Path, account: Account, keys: Keys) -> None:
        super().__init__(log, account)
        self._program = program
        self._home = home / "valkey"
        self._keys = keys

    def url(self) -> str:
        """Return the server's address."""
        return f"redis://:{self._keys.redis_password}@127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        """See `Daemon`."""
        return [str(self._program), str(self._home / "valkey.conf")]

    def remembered_pid(self) -> int | None:
        """See `Daemon`."""
        try:
            return int((self._home / "valkey.pid").read_text())
        except (OSError, ValueError):
            return None

    def answers(self, pid: int) -> bool:
        """See `Daemon`."""
        if self.remembered_pid() != pid:
            return False  # another process answers on this port
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(f"AUTH {self._keys.redis_password}\r\nPING\r\n".encode())
                with connection.makefile("rb") as replies:
                    return [replies.readline(), replies.readline()] == [b"+OK\r\n", b"+PONG\r\n"]
        except OSError:
            return False

    def prepare(self) -> None:
        """Write the configuration file; all users of the machine could read a password on the command line."""
        if not self._home.exists():
            self._home.mkdir(mode=0o700)
            self._account.own(self._home)
        (self._home / "valkey.pid").unlink(missing_ok=True)
        configuration = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "requirepass": self._keys.redis_password,
            "dir": f'"{self._home}"',
            "pidfile": f'"{self._home / "valkey.pid"}"',
            "save": '""',
            "appendonly": "no",
            "set-proc-title": "no",  # a server left behind is recognized by its command line
        }
        target = self._home / "valkey.conf"
        target.unlink(missing_ok=True)
        with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123
            file.writelines(f"{name} {value}\n" for name, value in configuration.items())
        self._account.own(target)
