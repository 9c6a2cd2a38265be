"""Signs a node's messages for the bus, and verifies those of other nodes.

    version (1 byte) | proof (32) | epoch (16) | origin (16) | counter (8) | sent (8) | kind and payload (MessagePack)

The proof is an HMAC-SHA256 (RFC 2104) under `ONRECORD_BUS_KEY` over the channel and the other fields, so a message
cannot be altered or moved to another channel. `epoch` is that of the log that the sender serves, `origin` a UUID of the
sender's process, `sent` the database's time in microseconds since 1970. Integers are unsigned and big-endian.
`service.cluster.replay_filter` decides whether a verified message is new.

Invariant: the counters of an origin rise in the order of sealing, and none is used twice.
"""

import hmac
from collections.abc import Callable
from struct import Struct
from typing import NamedTuple
from uuid import UUID

import msgspec

VERSION = 2
"""The first byte. A message of version 1 begins with the origin."""

NO_EPOCH = bytes(16)
"""Sent by a node that does not know the log's epoch yet; other nodes refuse it."""

_VERSION = bytes([VERSION])
_PROOF = slice(1, 33)
_SIGNED = slice(33, None)
_HEAD = Struct("!16s16sQQ")
_BODY = _SIGNED.start + _HEAD.size


def channel_prefix(key: bytes) -> str:
    """Return the prefix of an installation's channels, so that several installations can share a Redis."""
    return f"onrecord:{hmac.digest(key, b'channels', 'sha256')[:4].hex()}:"


class Message(NamedTuple):
    """The content of a message: `kind` selects the handler of `payload`."""

    kind: str
    payload: bytes


class Opened(msgspec.Struct, frozen=True, gc=False):
    """A message with a valid proof; `body` is not decoded yet."""

    epoch: bytes
    origin: bytes
    counter: int
    sent: int
    body: bytes


class Envelope:
    """Seals and opens messages under one key; `origin` identifies this process.

    `epoch` returns the log's epoch, a UUID, empty until it is known; `now` the database's time in microseconds.
    """

    def __init__(self, key: bytes, origin: UUID, epoch: Callable[[], str], now: Callable[[], int]) -> None:
        self._key = key
        self._origin = origin.bytes
        self._read_epoch = epoch
        self._epoch = ("", NO_EPOCH)
        self._counter = 0
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(tuple[str, bytes])
        self.now = now
        self.since = 0
        """When this process learned the epoch, by `now`."""

    @property
    def epoch(self) -> bytes:
        """The log's epoch, `NO_EPOCH` while it is not known."""
        epoch = self._read_epoch()
        if epoch != self._epoch[0]:
            self._epoch = (epoch, UUID(epoch).bytes if epoch else NO_EPOCH)
            self.since = self.now()
        return self._epoch[1]

    def seal(self, channel: str, message: Message) -> bytes:
        """Return a message's bytes for a channel."""
        self._counter += 1
        head = _HEAD.pack(self.epoch, self._origin, self._counter, self.now())
        signed = head + self._encoder.encode(message)
        return _VERSION + self._prove(channel, _VERSION, signed) + signed

    def is_own(self, opened: Opened) -> bool:
        """Return whether this process sealed a message."""
        return opened.origin == self._origin

    def open(self, channel: str, sealed: bytes) -> Opened | None:
        """Return a message of this version, None if its proof is not valid."""
        if sealed[:1] != _VERSION or len(sealed) < _BODY:
            return None
        if not hmac.compare_digest(sealed[_PROOF], self._prove(channel, _VERSION, sealed[_SIGNED])):
            return None
        epoch, origin, counter, sent = _HEAD.unpack_from(sealed, _SIGNED.start)
        return Opened(epoch, origin, counter, sent, sealed[_BODY:])

    def decode(self, opened: Opened) -> Message:
        """Return the content of an opened message.

        Raises:
            msgspec.MsgspecError: the body is not a kind and a payload.
        """
        return Message(*self._decoder.decode(opened.body))

    def is_of_other_version(self, channel: str, sealed: bytes) -> bool:
        """Return whether a message that this version does not open is signed by a node of another version."""
        if hmac.compare_digest(sealed[_PROOF], self._prove(channel, sealed[:1], sealed[_SIGNED])):
            return True
        origin, proof, body = sealed[:16], sealed[16:48], sealed[48:]  # of version 1
        return hmac.compare_digest(
            proof, hmac.digest(self._key, b"\0".join((origin, channel.encode(), body)), "sha256")
        )

    def _prove(self, channel: str, version: bytes, signed: bytes) -> bytes:
        # The name of a channel contains no NUL, so the first one ends it.
        return hmac.digest(self._key, b"".join((version, channel.encode(), b"\0", signed)), "sha256")
