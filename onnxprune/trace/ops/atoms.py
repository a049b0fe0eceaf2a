"""Union-find over atoms, vectorised: ties of whole axes cost a few numpy calls, not a Python loop per channel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
Labels = IntArray | None
"""The atoms of one axis, one per index; None where the axis cannot shrink. Atom 0: this index stays."""

STAYS = 0


class Atoms:
    """Disjoint sets of atoms. The smallest atom of a set is its root, so results do not depend on the order of ties."""

    def __init__(self) -> None:
        self._parent: IntArray = np.zeros(1024, np.int64)
        self._count = 1
        self.starts: list[int] = [0]
        """First atom of each block that `fresh` gave out; block k is one origin."""

    def __len__(self) -> int:
        return self._count

    def fresh(self, size: int) -> IntArray:
        """`size` new atoms of one origin."""
        start, end = self._count, self._count + size
        if end > len(self._parent):
            grown = np.zeros(max(end, 2 * len(self._parent)), np.int64)
            grown[: self._count] = self._parent[: self._count]
            self._parent = grown
        atoms = np.arange(start, end, dtype=np.int64)
        self._parent[start:end] = atoms
        self._count = end
        self.starts.append(start)
        return atoms

    def find(self, atoms: IntArray) -> IntArray:
        """Roots of `atoms`, same shape."""
        parent = self._parent
        root = parent[atoms]
        while True:
            above = parent[root]
            if np.array_equal(above, root):
                break
            root = above
        parent[atoms] = root
        return root

    def tie(self, a: IntArray, b: IntArray) -> None:
        """Join a[i] with b[i] for every i; arrays of one shape, without zeros."""
        while True:
            ra, rb = self.find(a), self.find(b)
            different = ra != rb
            if not different.any():
                return
            low, high = np.minimum(ra, rb)[different], np.maximum(ra, rb)[different]
            np.minimum.at(self._parent, high, low)

    def roots(self) -> IntArray:
        """Root of every atom."""
        return self.find(np.arange(self._count, dtype=np.int64))
