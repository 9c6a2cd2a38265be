"""An event as it is shown outside, with what proves it: the one shape of proofs and exports. All pure.

    index, position, stream, seq, topic, subject, at, by     what its leaf says, and the leaf's number
    stateSha256                                              the last of it, where the state is not shown
    state                                                    the stored bytes, as text
    words                                                    text and salt of each personal field, while its key lives
    fields                                                   the event to be read: the state with its words, or null
    path                                                     the hashes from its leaf to the root (RFC 9162)
    unreadable                                               why words, or the state, cannot be read, where that is so

The rule: everything here can be worked out from the leaf's bytes and the words' commitments, so nothing has to be
believed. `service.audit.proof.offline` does so, and needs no key.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from service.audit.proof.leaf import Leaf, moment
from service.encryption.person_key import is_sealed
from service.protocol.events import timestamp

Words = Mapping[str, tuple[bytes, str]]


def redacted(leaf: Leaf, index: int, path: Sequence[bytes] | None) -> dict[str, Any]:
    """Return an event that keeps to itself what it says."""
    return {**_head(leaf, index), "stateSha256": leaf.state.hex(), **_path(path)}


def shown(
    leaf: Leaf,
    index: int,
    path: Sequence[bytes] | None,
    state: bytes,
    revealed: tuple[Words | None, str | None],
) -> dict[str, Any]:
    """Return an event with all that can be read of it (`EventSerializer.revealed`), and why that is not all."""
    words, unreadable = revealed
    document = redacted(leaf, index, path) if words is None else disclosed(leaf, index, path, state, words)
    return document if unreadable is None else {**document, "unreadable": unreadable}


def disclosed(
    leaf: Leaf, index: int, path: Sequence[bytes] | None, state: bytes, words: Words
) -> dict[str, Any]:
    """Return an event with all that it says; `words` lacks those that were erased."""
    fields: dict[str, Any] = msgspec.json.decode(state)
    return {
        **_head(leaf, index),
        "fields": {
            name: words[name][1] if name in words else None if is_sealed(value) else value
            for name, value in fields.items()
        },
        "state": state.decode(),
        "words": {
            name: {"text": text, "salt": b64encode(salt).decode()} for name, (salt, text) in words.items()
        },
        **_path(path),
    }


def _head(leaf: Leaf, index: int) -> dict[str, Any]:
    return {
        "index": index,
        "position": leaf.position,
        "stream": leaf.stream,
        "seq": leaf.seq,
        "topic": leaf.topic,
        "subject": leaf.subject,
        "at": timestamp(moment(leaf.at)),
        "by": leaf.by,
    }


def _path(path: Sequence[bytes] | None) -> dict[str, Any]:
    return {} if path is None else {"path": [step.hex() for step in path]}
