"""The proofs as `onrecord-verify` verifies them, for trees that are given by root and size."""

from collections.abc import Sequence
from typing import Any

from service.audit.proof import offline


class _Tree:
    def __init__(self, root: bytes, size: int) -> None:
        self.root, self.size = root, size


def includes(root: bytes, size: int, index: int, leaf: bytes, path: Sequence[bytes]) -> bool:
    """Return whether `path` proves the leaf with the hash `leaf` (RFC 9162, section 2.1.3.2)."""
    tree: Any = _Tree(root, size)
    return offline.includes(tree, index, leaf, list(path))


def extends(old_root: bytes, old: int, new_root: bytes, new: int, path: Sequence[bytes]) -> bool:
    """Return whether `path` proves that the new tree begins with the old one (RFC 9162, section 2.1.4.2)."""
    before: Any = _Tree(old_root, old)
    after: Any = _Tree(new_root, new)
    return offline.extends(before, after, list(path))
