"""Data that comes in pieces, from a function or a folder: whether the rows of a piece are samples, or the piece is one.

A piece has arrays for all inputs. Where these agree in how many samples they hold, samples are rows. Where they do not
(the nodes and the edges of a graph), every piece is a call of the model and one sample. What is the same in all pieces
and has no samples of its own (a rate, a threshold, a grid) is kept once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.data.axes import batch_symbol
from onnxprune.data.column import Positions
from onnxprune.data.specs import InputSpec, check_names
from onnxprune.data.store import LIMIT_BYTES, Spool
from onnxprune.errors import DataError

Array = NDArray[Any]


@dataclass
class Pieces:
    """Spools by input, and per piece how many rows each input got."""

    specs: Sequence[InputSpec]
    spools: dict[str, Spool] = field(default_factory=dict)
    counts: list[tuple[int, ...]] = field(default_factory=list)
    _first: dict[str, Array] = field(default_factory=dict)
    _differ: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.spools = {spec.name: Spool() for spec in self.specs}
        symbol = batch_symbol([spec.shape for spec in self.specs])
        self._own = [bool(spec.shape) and (symbol is None or symbol in spec.shape) for spec in self.specs]

    def add(self, arrays: Mapping[str, Array], label: str) -> None:
        """Append one sample (an array without the axis of samples) or several. Raises DataError."""
        check_names(arrays, self.specs, label)
        counts = []
        for spec in self.specs:
            array, rank = arrays[spec.name], max(len(spec.shape), 1)
            if array.ndim == rank - 1:
                array = np.expand_dims(array, spec.axis)
            if array.ndim != rank:
                raise DataError(f"{label}: shape {arrays[spec.name].shape} does not fit input {spec}")
            rows = np.moveaxis(array, spec.axis, 0)
            if not len(rows):
                raise DataError(f"{label}: no samples for input {spec.name!r}")
            counts.append(len(rows))
            self.spools[spec.name].add(rows, label)
            if not _same(self._first.setdefault(spec.name, rows), rows):
                self._differ.add(spec.name)
        self._check_counts(counts, label)
        self.counts.append(tuple(counts))
        if sum(spool.nbytes for spool in self.spools.values()) > LIMIT_BYTES:
            raise DataError(f"the data is larger than {LIMIT_BYTES // 10**9} GB at {label}", hint="Use --samples N.")

    def add_rows(self, name: str, rows: Array, label: str) -> None:
        """Append rows of the only input, of a type and layout that are yet to be fitted."""
        self.spools[name].add(rows, label)
        self.counts.append((len(rows),))

    def _check_counts(self, counts: Sequence[int], label: str) -> None:
        """One symbol counts one number of samples."""
        found: dict[str, int] = {}
        for spec, count in zip(self.specs, counts, strict=True):
            if isinstance(spec.counted, str) and found.setdefault(spec.counted, count) != count:
                shown = ", ".join(f"{s.name} {n / s.group:g}" for s, n in zip(self.specs, counts, strict=True))
                raise DataError(f"{label}: the inputs have different numbers of samples: {shown}")

    def enough(self, limit: int) -> bool:
        """Whether there are `limit` samples."""
        if max(map(self._samples, range(len(self.specs)))) < limit:
            return False
        if self.calls:
            return len(self.counts) >= limit
        return min(map(self._samples, self._counting)) >= limit

    @property
    def shared(self) -> frozenset[str]:
        """Inputs that are the same in all pieces, of those that have no samples of their own."""
        if len(self.counts) < 2:
            return frozenset()
        same = [spec.name not in self._differ for spec in self.specs]
        found = {n: (spec, own) for n, (spec, own) in enumerate(zip(self.specs, self._own, strict=True)) if same[n]}
        names = {s.name for n, (s, own) in found.items() if not own or (not s.batched and self._whole_group(n))}
        return frozenset(names) if len(names) < len(self.specs) else frozenset()

    def _whole_group(self, number: int) -> bool:
        """Whether each piece has one batch of what the model fixes, while others have more."""
        batched = [n for n, spec in enumerate(self.specs) if spec.batched]
        alone = all(piece[number] == self.specs[number].group for piece in self.counts)
        return alone and any(piece[n] > 1 for piece in self.counts for n in batched)

    @property
    def _counting(self) -> list[int]:
        """Numbers of the inputs whose rows are counted."""
        shared = self.shared
        return [number for number, spec in enumerate(self.specs) if spec.name not in shared]

    def _samples(self, number: int) -> float:
        spec = self.specs[number]
        return self.spools[spec.name].rows / spec.group

    @property
    def calls(self) -> bool:
        """Whether every piece is one sample, because its inputs differ in how many they hold."""
        groups = [self.specs[number].group for number in self._counting]
        return any(
            len({piece[number] / group for number, group in zip(self._counting, groups, strict=True)}) > 1
            for piece in self.counts
        )

    def starts(self, name: str) -> Positions:
        """Where the rows of each piece start, and the end (pieces + 1,)."""
        number = [spec.name for spec in self.specs].index(name)
        return np.concatenate([[0], np.cumsum([piece[number] for piece in self.counts])]).astype(np.intp)


def _same(a: Array, b: Array) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return a is b or a.tobytes() == b.tobytes() if a.dtype != object else bool((a == b).all())
