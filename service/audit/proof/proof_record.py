"""The JSON form of an event with its proof, as in proofs and exports. Pure.

    index, position, stream, seq, topic, subject, at, by     the fields of the leaf, and the leaf's index
    stateSha256                                              the leaf's state hash, if the state is not disclosed
    state                                                    the stored bytes, as text
    words                                                    text and salt of each personal field whose key exists
    fields                                                   the readable event: the state with its texts, or null
    path                                                     the hashes from the leaf to the root (RFC 9162)
    unreadable                                               the reason, if texts or the state cannot be read

Invariant: everything here can be verified against the leaf's hash and the commitments to the texts, without any key.
`service.audit.proof.offline` does so.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from service.audit.proof.leaf import COLUMNS, Leaf, digest, moment, of_row
from service.encryption.person_key import is_sealed
from service.eventstore.serializer import EventSerializer
from service.protocol.events import timestamp

Texts = Mapping[str, tuple[bytes, str]]
"""Salt and text of each personal field that can be decrypted."""

SELECT = f"""
    SELECT {COLUMNS}, key_id, wrapped, state, stored FROM readable_events LEFT JOIN open_keys USING (key_id)
"""  # noqa: S608 - constants
"""The rows that `of_stored` takes."""


def of_stored(
    row: Any, index: int, path: Sequence[bytes] | None, serializer: EventSerializer, *, reveal: bool = True
) -> dict[str, Any]:
    """Return a row of `SELECT` as JSON, with its content as far as it can be read; `reveal` False withholds it."""
    leaf = of_row(row, digest(row["stored"]))
    if not reveal:
        return redacted(leaf, index, path)
    texts, unreadable = serializer.try_reveal(row)
    document = (
        redacted(leaf, index, path) if texts is None else disclosed(leaf, index, path, row["stored"], texts)
    )
    return document if unreadable is None else {**document, "unreadable": unreadable}


def redacted(leaf: Leaf, index: int, path: Sequence[bytes] | None) -> dict[str, Any]:
    """Return an event without its content."""
    return {**_head(leaf, index), "stateSha256": leaf.state.hex(), **_path(path)}


def disclosed(
    leaf: Leaf, index: int, path: Sequence[bytes] | None, state: bytes, texts: Texts
) -> dict[str, Any]:
    """Return an event with its content; `texts` lacks the erased ones."""
    fields: dict[str, Any] = msgspec.json.decode(state)
    return {
        **_head(leaf, index),
        "fields": {
            name: texts[name][1] if name in texts else None if is_sealed(value) else value
            for name, value in fields.items()
        },
        "state": state.decode(),
        "words": {
            name: {"text": text, "salt": b64encode(salt).decode()} for name, (salt, text) in texts.items()
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
