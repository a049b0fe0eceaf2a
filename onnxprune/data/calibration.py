"""N samples for the inputs of one model, read batch by batch.

A *sample* is what the first axis of every input counts. Three cases:

- The axis is symbolic: a sample is one row, a feed may hold any number of them.
- The model fixes it at B: a sample is a group of B rows, because the model runs on nothing smaller; rows left over at
  the end are dropped and the source says so. `fixed_batch` is true and `batches` yields one sample at a time.
- The input has no axis (rank 0): a sample is one number, fed alone.

A symbolic size may differ from sample to sample. One feed never mixes shapes: `batches` starts a new feed where the
shape changes, and `batch` raises DataError.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.data.column import Column, Positions, Shape
from onnxprune.data.specs import InputSpec
from onnxprune.errors import DataError


@dataclass(frozen=True)
class Feed:
    """One input and its rows. `shared`: the same rows belong to every sample."""

    spec: InputSpec
    column: Column
    shared: bool = False

    @property
    def samples(self) -> int:
        return self.column.rows // self.spec.group

    def rows(self, samples: Positions) -> Positions:
        """The rows that the given samples fill."""
        if self.shared:
            samples = np.zeros_like(samples)
        group = self.spec.group
        return np.asarray((samples[:, None] * group + np.arange(group)).ravel(), np.intp)

    def shape(self, sample: int) -> Shape:
        """The item shape of one sample; the rows of a group have the same (check.py)."""
        return self.column.shape(0 if self.shared else sample * self.spec.group)


class Calibration:
    """Samples for every input of a model. Made by `open_data`; immutable; arrays stay where they are."""

    def __init__(self, feeds: Sequence[Feed], order: Positions, source: str) -> None:
        self._feeds, self._order = tuple(feeds), order
        self.source = source
        """Where the data comes from, for people: base names only."""

    def __repr__(self) -> str:
        return f"Calibration({self.samples} samples of {', '.join(self.names)} from {self.source})"

    def __len__(self) -> int:
        return self.samples

    @property
    def samples(self) -> int:
        return len(self._order)

    @property
    def names(self) -> tuple[str, ...]:
        """The model's inputs, in its order."""
        return tuple(feed.spec.name for feed in self._feeds)

    @property
    def specs(self) -> tuple[InputSpec, ...]:
        return tuple(feed.spec for feed in self._feeds)

    @property
    def fixed_batch(self) -> bool:
        """Whether the model takes exactly one sample per feed."""
        return not all(feed.spec.batched for feed in self._feeds)

    @property
    def uniform(self) -> bool:
        """Whether all samples have the same shapes."""
        return all(len(feed.column.shapes()) == 1 for feed in self._feeds)

    def shapes(self, sample: int) -> dict[str, Shape]:
        """Per input the shape of a feed that holds only this sample."""
        index = int(self._order[sample])
        return {
            feed.spec.name: (feed.spec.group, *feed.shape(index)) if feed.spec.shape else () for feed in self._feeds
        }

    def batch(self, start: int, stop: int) -> dict[str, NDArray[Any]]:
        """Samples start..stop-1 (stop is clipped): per input ((stop - start) * group, *item) in the model's type.

        Arrays may be read-only views of a file. Raises IndexError for an empty range, DataError if shapes differ.
        """
        samples = self._order[start : min(stop, self.samples)]
        if start < 0 or not len(samples):
            raise IndexError(f"samples {start}..{stop} of {self.samples}")
        result = {}
        for feed in self._feeds:
            array = feed.column.read(feed.rows(samples))
            if not feed.spec.shape:
                if len(samples) > 1:
                    raise DataError(f"input {feed.spec.name!r} is a single number: take one sample at a time")
                array = array.reshape(())
            result[feed.spec.name] = array
        return result

    def batches(self, size: int) -> Iterator[dict[str, NDArray[Any]]]:
        """Feeds that the model accepts: at most `size` samples each, in order, each sample once."""
        if size < 1:
            raise ValueError(f"a batch of {size} samples")
        size = 1 if self.fixed_batch else size
        uniform, start = self.uniform, 0
        while start < self.samples:
            stop = min(start + size, self.samples)
            if not uniform:
                first = self.shapes(start)
                stop = next((i for i in range(start + 1, stop) if self.shapes(i) != first), stop)
            yield self.batch(start, stop)
            start = stop

    def split(self, held_out: float = 0.2, seed: int | None = 0) -> tuple[Calibration, Calibration]:
        """(to fit, to judge): a seeded shuffle, `held_out` of it to judge, at least one sample each.

        Without a seed the last ones judge, in their order.
        A single sample is both; the second source says so. Raises ValueError unless 0 < held_out < 1.
        """
        if not 0 < held_out < 1:
            raise ValueError(f"held_out must be between 0 and 1, not {held_out}")
        if self.samples == 1:
            return self, Calibration(self._feeds, self._order, f"{self.source} (the same sample: there is only one)")
        count = min(max(round(self.samples * held_out), 1), self.samples - 1)
        order = np.roll(self._order, count) if seed is None else np.random.default_rng(seed).permutation(self._order)
        return (
            Calibration(self._feeds, order[count:], self.source),
            Calibration(self._feeds, order[:count], f"{self.source} (held out)"),
        )

    def take(self, n: int) -> Calibration:
        """The first `n` samples, or all if there are fewer. Raises ValueError below 1."""
        if n < 1:
            raise ValueError(f"cannot take {n} samples")
        return Calibration(self._feeds, self._order[:n], self.source)
