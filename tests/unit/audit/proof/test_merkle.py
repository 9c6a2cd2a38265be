"""The tree of RFC 9162: known answers, and what holds for every size, leaf and tampering."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.audit.proof.merkle import (
    EMPTY,
    Frontier,
    Node,
    Span,
    consistency,
    inclusion,
    leaf_hash,
    node_hash,
    pieces,
    root_over,
    roots_over,
    subtree,
)
from tests.support.audit.verifier import extends, includes

# The test vectors of Certificate Transparency (RFC 6962, whose tree RFC 9162 keeps): eight leaves, and the roots of
# the trees of the first none, one, two ... of them.
LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        *("", "00", "10", "2021", "3031", "40414243", "5051525354555657"),
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
L = [leaf_hash(leaf) for leaf in LEAVES]
"""The leaf hashes; N and Q are the levels above them."""
N = [node_hash(L[n], L[n + 1]) for n in (0, 2, 4, 6)]
Q = [node_hash(N[0], N[1]), node_hash(N[2], N[3])]


def tree(leaves: list[bytes]) -> bytes:
    """Return the root as the RFC defines it, from the top."""
    if not leaves:
        return EMPTY
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(tree(leaves[:split]), tree(leaves[split:]))


def hashes(count: int) -> list[bytes]:
    return [leaf_hash(str(number).encode()) for number in range(count)]


def path(leaves: list[bytes], spans: list[Span]) -> list[bytes]:
    return [tree(leaves[start:end]) for start, end in spans]


sizes = st.integers(1, 700)


@st.composite
def size_and_index(draw: st.DrawFn) -> tuple[int, int]:
    size = draw(sizes)
    return size, draw(st.integers(0, size - 1))


@st.composite
def two_sizes(draw: st.DrawFn) -> tuple[int, int]:
    new = draw(sizes)
    return draw(st.integers(1, new)), new


# Known answers


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_the_published_vectors(size: int) -> None:
    edge = Frontier()
    edge.extend(L[:size])
    assert edge.root().hex() == ROOTS[size]


@pytest.mark.parametrize(
    ("index", "size", "expected"),
    [
        (0, 1, []),
        (0, 8, [L[1], N[1], Q[1]]),
        (5, 8, [L[4], N[3], Q[0]]),
        (2, 3, [N[0]]),
        (1, 5, [L[0], N[1], L[4]]),
        # The example of RFC 9162, section 2.1.5: seven leaves.
        (0, 7, [L[1], N[1], node_hash(N[2], L[6])]),
        (3, 7, [L[2], N[0], node_hash(N[2], L[6])]),
        (4, 7, [L[5], L[6], Q[0]]),
        (6, 7, [N[2], Q[0]]),
    ],
)
def test_inclusion_proofs_are_those_of_the_published_vectors(
    index: int, size: int, expected: list[bytes]
) -> None:
    assert path(L[:size], inclusion(index, size)) == expected
    assert includes(bytes.fromhex(ROOTS[size]), size, index, L[index], expected)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (1, 1, []),
        (1, 8, [L[1], N[1], Q[1]]),
        (6, 8, [N[2], N[3], Q[0]]),
        (2, 5, [N[1], L[4]]),
        # The example of RFC 9162, section 2.1.5.
        (3, 7, [L[2], L[3], N[0], node_hash(N[2], L[6])]),
        (4, 7, [node_hash(N[2], L[6])]),
        (6, 7, [N[2], L[6], Q[0]]),
    ],
)
def test_consistency_proofs_are_those_of_the_published_vectors(
    old: int, new: int, expected: list[bytes]
) -> None:
    assert path(L[:new], consistency(old, new)) == expected
    assert extends(bytes.fromhex(ROOTS[old]), old, bytes.fromhex(ROOTS[new]), new, expected)


# Properties


@given(st.lists(st.integers(0, 300), max_size=5))
def test_a_tree_grown_in_any_steps_is_the_tree_of_the_definition(steps: list[int]) -> None:
    leaves, edge, kept = hashes(sum(steps)), Frontier(), list[Node]()
    for step in steps:
        kept += edge.extend(leaves[edge.size : edge.size + step])
    assert edge.root() == tree(leaves)
    expected = [Node(8, n, tree(leaves[256 * n : 256 * (n + 1)])) for n in range(len(leaves) // 256)]
    assert kept == expected


def test_subtrees_of_every_kept_level_come_out_by_their_last_leaf() -> None:
    kept = Frontier().extend(hashes(65_536 + 256))
    assert [(node.level, node.number) for node in kept[-3:]] == [(8, 255), (16, 0), (8, 256)]


@given(size_and_index())
def test_every_leaf_of_every_tree_is_proved(case: tuple[int, int]) -> None:
    size, index = case
    leaves = hashes(size)
    proof = path(leaves, inclusion(index, size))
    assert includes(tree(leaves), size, index, leaves[index], proof)
    assert root_over(leaves[index], index, size, proof) == tree(leaves)


@given(size_and_index(), st.data())
def test_a_changed_inclusion_proof_proves_nothing(case: tuple[int, int], data: st.DataObject) -> None:
    size, index = case
    leaves = hashes(size)
    root, proof = tree(leaves), path(leaves, inclusion(index, size))
    other = data.draw(st.binary(min_size=32, max_size=32))
    at = data.draw(st.integers(0, len(proof)))
    assert not includes(root, size, index, other, proof)
    assert not includes(other, size, index, leaves[index], proof)
    assert not includes(root, size, index, leaves[index], [*proof[:at], other, *proof[at:]])
    for wrong in {index - 1, index + 1, size - 1 - index} - {index}:
        assert not includes(root, size, wrong, leaves[index], proof)
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        assert not includes(root, size, index, leaves[index], [*proof[:at], *proof[at + 1 :]])
        assert not includes(root, size, index, leaves[index], [*proof[:at], other, *proof[at + 1 :]])
        assert not includes(root, size, index, leaves[index], [*proof[1:], proof[0]]) or len(proof) == 1


@given(two_sizes())
def test_every_older_tree_is_proved_to_begin_the_newer(case: tuple[int, int]) -> None:
    old, new = case
    leaves = hashes(new)
    before, after, proof = tree(leaves[:old]), tree(leaves), path(leaves, consistency(old, new))
    assert extends(before, old, after, new, proof)
    assert roots_over(before, old, new, proof) == (before, after)


@given(two_sizes(), st.data())
def test_a_changed_consistency_proof_proves_nothing(case: tuple[int, int], data: st.DataObject) -> None:
    old, new = case
    leaves = hashes(new)
    before, after, proof = tree(leaves[:old]), tree(leaves), path(leaves, consistency(old, new))
    other = data.draw(st.binary(min_size=32, max_size=32))
    assert not extends(other, old, after, new, proof)
    assert not extends(before, old, other, new, proof)
    assert not extends(before, old, after, new, [*proof, other])
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        assert not extends(before, old, after, new, [*proof[:at], other, *proof[at + 1 :]])
        assert not extends(before, old, after, new, [*proof[:at], *proof[at + 1 :]])


@given(two_sizes(), st.data())
def test_a_history_that_was_rewritten_is_not_extended(case: tuple[int, int], data: st.DataObject) -> None:
    old, new = case
    leaves = hashes(new)
    rewritten = list(leaves)
    rewritten[data.draw(st.integers(0, old - 1))] = leaf_hash(b"another")
    proof = path(rewritten, consistency(old, new))
    before, after = tree(leaves[:old]), tree(rewritten)
    assert not extends(before, old, after, new, proof)
    assert roots_over(before, old, new, proof) != (before, after)


@given(size_and_index())
def test_spans_are_put_together_from_what_is_kept(case: tuple[int, int]) -> None:
    size, index = case
    leaves = hashes(size)
    for start, end in inclusion(index, size):
        found = [(level, tree(leaves[n << level : n + 1 << level])) for level, n in pieces(Span(start, end))]
        assert {level for level, _ in found} <= {0, 8}
        assert subtree(found) == tree(leaves[start:end])


def test_a_long_tree_is_read_in_few_pieces() -> None:
    spans = inclusion(1_234_567, 10_000_000)
    assert sum(len(pieces(span)) for span in spans) < 4 * 255


@pytest.mark.parametrize(("index", "size"), [(0, 0), (-1, 3), (3, 3)])
def test_there_is_no_proof_of_a_leaf_that_is_not_there(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="no leaf"):
        inclusion(index, size)
    assert not includes(EMPTY, size, index, EMPTY, [])


@pytest.mark.parametrize(("old", "new"), [(0, 0), (0, 3), (4, 3)])
def test_there_is_no_proof_between_trees_that_are_none(old: int, new: int) -> None:
    with pytest.raises(ValueError, match="no tree"):
        consistency(old, new)
    assert not extends(EMPTY, old, EMPTY, new, [])


def test_a_leaf_cannot_be_shown_for_a_node() -> None:
    left, right = hashes(2)
    assert leaf_hash(left + right) != node_hash(left, right)
