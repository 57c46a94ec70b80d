"""Union-find over documents: components that depend on the set of edges alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nautiloid.core.errors import missing_extra

try:
    from numba import njit
except ModuleNotFoundError:
    raise missing_extra("numba", "curate") from None


def index_type(count: int) -> type[np.signedinteger[Any]]:
    """The smallest type that numbers so many documents."""
    return np.int32 if count < 2**31 else np.int64


def forest(count: int) -> NDArray[Any]:
    """Every document alone: its own parent."""
    return np.arange(count, dtype=index_type(count))


@njit(cache=True, nogil=True)
def find(parent: Any, item: Any) -> Any:
    """Root of an item; the path is halved on the way."""
    while parent[item] != item:
        parent[item] = parent[parent[item]]
        item = parent[item]
    return item


@njit(cache=True, nogil=True)
def unite(parent: Any, first: Any, second: Any) -> bool:
    """Join two components under the smaller root; false if they were one already."""
    first, second = find(parent, first), find(parent, second)
    if first == second:
        return False
    if first > second:
        first, second = second, first
    parent[second] = first
    return True


@njit(cache=True, nogil=True)
def unite_all(parent: Any, pairs: Any) -> None:
    """Join the two documents of every row of `pairs` [n, 2]."""
    for i in range(len(pairs)):
        unite(parent, np.int64(pairs[i, 0]), np.int64(pairs[i, 1]))


@njit(cache=True, nogil=True)
def flatten(parent: Any) -> None:
    """Make every document a child of its root."""
    for i in range(len(parent)):
        parent[i] = find(parent, i)


@njit(cache=True, nogil=True)
def grouped(parent: Any, out: Any) -> None:
    """Mark [N] the documents of a flat forest whose component has two members or more."""
    for i in range(len(parent)):
        if parent[i] != i:
            out[i] = True
            out[parent[i]] = True


@njit(cache=True, nogil=True)
def keepers(parent: Any, rank: Any, best: Any) -> None:
    """Member of least rank of each component of a flat forest, at the place of its root."""
    for i in range(len(parent)):
        best[i] = i
    for i in range(len(parent)):
        root = parent[i]
        if rank[i] < rank[best[root]]:
            best[root] = i
