"""A message of the bus: who sent it, proof that it was one of us, and what it says.

    origin (16 bytes) | HMAC-SHA256 (32 bytes) | kind and payload (MessagePack)

The proof (RFC 2104, under `ONRECORD_BUS_KEY`) covers the channel too, so that a message cannot be moved to another.
What others write into Redis is ignored. An old message sent again does no harm: events are known by their seq, leases
by their counter, and the rest is declared lossy.
"""

import hmac
from typing import NamedTuple
from uuid import UUID

import msgspec

_ORIGIN = 16
_PROOF = 32


def channel_prefix(key: bytes) -> str:
    """Return what the channels of an installation begin with, so that several can share a Redis."""
    return f"onrecord:{hmac.digest(key, b'channels', 'sha256')[:4].hex()}:"


class Message(NamedTuple):
    """What a message says: `kind` names who takes it, `payload` is theirs."""

    kind: str
    payload: bytes


class Envelope:
    """Seals a node's messages and opens those of others; `origin` names the node."""

    def __init__(self, key: bytes, origin: UUID) -> None:
        self._key = key
        self._origin = origin.bytes
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(tuple[str, bytes])

    def seal(self, channel: str, message: Message) -> bytes:
        """Return the bytes that travel on a channel."""
        body = self._encoder.encode(message)
        return self._origin + self._prove(self._origin, channel, body) + body

    def own(self, sealed: bytes) -> bool:
        """Return whether a message says that it comes from this very node; cheap, and proves nothing."""
        return sealed.startswith(self._origin)

    def open(self, channel: str, sealed: bytes) -> Message | None:
        """Return what a message says, or None where it is not one of ours."""
        origin, proof, body = (
            sealed[:_ORIGIN],
            sealed[_ORIGIN : _ORIGIN + _PROOF],
            sealed[_ORIGIN + _PROOF :],
        )
        if not hmac.compare_digest(proof, self._prove(origin, channel, body)):
            return None
        return Message(*self._decoder.decode(body))

    def _prove(self, origin: bytes, channel: str, body: bytes) -> bytes:
        return hmac.digest(self._key, b"\0".join((origin, channel.encode(), body)), "sha256")
