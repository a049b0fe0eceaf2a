"""N samples for the inputs of one model, read batch by batch.

A *sample* is what one axis of every input counts, mostly the first (`axes.py`). Cases:

- The axis is symbolic: a sample is one row, a feed may hold any number of them.
- The model fixes it at B: a sample is a group of B rows, because the model runs on nothing smaller; rows left over at
  the end are dropped and the source says so. `fixed_batch` is true and `batches` yields one sample at a time.
- The model leaves it open, and takes only B rows all the same: `grouped` makes samples of B rows of what was opened.
- The input is the same for all samples (a rate, thresholds, a first state): it goes with every feed, which holds one
  sample if the model fixes its first axis.
- The inputs of a call have different numbers of rows (nodes and edges of a graph): a sample is one whole call.
- The input has no axis (rank 0), and differs from sample to sample: a sample is one number, fed alone.

A symbolic size may differ from sample to sample. One feed never mixes shapes: `batches` starts a new feed where the
shape changes, and `batch` raises DataError.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from onnxprune.data.batch import Batch
from onnxprune.data.column import Positions, Shape
from onnxprune.data.feed import Feed
from onnxprune.data.specs import InputSpec
from onnxprune.errors import DataError


class Calibration:
    """Samples for every input of a model. Made by `open_data`; immutable; arrays stay where they are."""

    def __init__(
        self, feeds: Sequence[Feed], order: Positions, source: str, *, items: Positions | None = None, group: int = 0
    ) -> None:
        """`order` (samples,) are numbers of the samples of the `feeds`. `items`: where each piece that the source gave
        starts, and the end, in these numbers. `group`: how many of them the model takes in a feed; 0: any number.
        """
        self._feeds, self._order, self._items, self._group = tuple(feeds), order, items, group
        self.source = source
        """Where the data comes from, for people: base names only."""

    def __repr__(self) -> str:
        return f"Calibration({self.samples} samples of {', '.join(self.names)} from {self.source})"

    def __len__(self) -> int:
        return self.samples

    @property
    def samples(self) -> int:
        return len(self._order) // max(self._group, 1)

    @property
    def rows(self) -> int:
        """Samples as they were given, before they were grouped."""
        return self.samples * max(self._group, 1)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of rows of a call, if all calls have as many."""
        found = {int(n) for feed in self._feeds if feed.calls is not None for n in np.diff(feed.calls)}
        return tuple(found) if len(found) == 1 else ()

    @property
    def rows_per_sample(self) -> int:
        """How many rows one sample has, where that is the same in all inputs that have samples of their own; else 1."""
        own = {feed.spec.group for feed in self._feeds if not feed.shared and feed.calls is None and feed.spec.shape}
        return max(self._group, 1) * (own.pop() if len(own) == 1 else 1)

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
        return self._group > 0 or any(feed.bound for feed in self._feeds)

    @property
    def uniform(self) -> bool:
        """Whether all samples have the same shapes."""
        return all(feed.even for feed in self._feeds)

    def shapes(self, sample: int) -> dict[str, Shape]:
        """Per input the shape of a feed that holds only this sample."""
        found = {}
        for feed in self._feeds:
            shape = list(feed.shape(int(self._numbers(sample, sample + 1)[0])))
            if feed.axis is not None:
                shape[feed.axis] *= max(self._group, 1)
            found[feed.spec.name] = tuple(shape)
        return found

    def _numbers(self, start: int, stop: int) -> Positions:
        group = max(self._group, 1)
        return self._order[start * group : min(stop, self.samples) * group]

    def batch(self, start: int, stop: int) -> Batch:
        """Samples start..stop-1 (stop is clipped): per input the array in the model's type and layout.

        Arrays may be read-only views of a file. Raises IndexError for an empty range, DataError if shapes differ.
        """
        numbers = self._numbers(start, stop)
        if start < 0 or not len(numbers):
            raise IndexError(f"samples {start}..{stop} of {self.samples}")
        result = {}
        for feed in self._feeds:
            array = feed.read(numbers)
            if not feed.spec.shape:
                if len(array) > 1:
                    raise DataError(f"input {feed.spec.name!r} is a single number: take one sample at a time")
                array = array.reshape(())
            result[feed.spec.name] = array
        count = len(numbers) // max(self._group, 1) * self.rows_per_sample
        axes = {feed.spec.name: feed.axis for feed in self._feeds}
        return Batch(result, axes, samples=count, fixed=self.fixed_batch)

    def batches(self, size: int) -> Iterator[Batch]:
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
            return self, self._with(self._order, f"{self.source} (the same sample: there is only one)")
        count = min(max(round(self.samples * held_out), 1), self.samples - 1)
        numbers = np.arange(self.samples)
        drawn = np.roll(numbers, count) if seed is None else np.random.default_rng(seed).permutation(numbers)
        order = self._order[: self.samples * max(self._group, 1)].reshape(self.samples, -1)[drawn]
        return (
            self._with(order[count:].ravel(), self.source),
            self._with(order[:count].ravel(), f"{self.source} (held out)"),
        )

    def take(self, n: int) -> Calibration:
        """The first `n` samples, or all if there are fewer. Raises ValueError below 1."""
        if n < 1:
            raise ValueError(f"cannot take {n} samples")
        return self._with(self._order[: n * max(self._group, 1)], self.source)

    def after(self, n: int) -> Calibration | None:
        """What `take(n)` leaves, None if that is nothing."""
        rest = self._order[n * max(self._group, 1) :]
        return self._with(rest, self.source) if len(rest) >= max(self._group, 1) else None

    def grouped(self, rows: int) -> Calibration | None:
        """Samples of `rows` rows each, for a model that takes no others; what is left over at the end is dropped.

        None where that cannot be: there are too few, or samples are groups already.
        """
        if self.fixed_batch or len(self._order) < rows:
            return None
        left = len(self._order) % rows
        source = self.source + (f" ({left} left over)" if left else "")
        return Calibration(self._feeds, self._order[: len(self._order) - left], source, group=rows)

    def calls(self) -> Calibration | None:
        """Every piece that the source gave as one sample. None if it came in one piece, or if some were left out."""
        if self._items is None or len(self._items) < 3 or self.fixed_batch or len(self._order) != self._items[-1]:
            return None
        feeds = [feed if feed.shared else Feed(feed.spec, feed.column, calls=self._items) for feed in self._feeds]
        return Calibration(feeds, np.arange(len(self._items) - 1), self.source)

    def one_call(self) -> Calibration | None:
        """All of it as one sample. None if it is one already, or if some were left out."""
        own = [feed for feed in self._feeds if not feed.shared]
        if self._group or any(feed.axis is None or len(self._order) != feed.samples for feed in own):
            return None
        whole = np.array([0, len(self._order)], np.intp)
        feeds = [feed if feed.shared else Feed(feed.spec, feed.column, calls=whole) for feed in self._feeds]
        return Calibration(feeds, np.arange(1), self.source)

    def _with(self, order: Positions, source: str) -> Calibration:
        items = self._items if order is self._order else None
        return Calibration(self._feeds, order, source, items=items, group=self._group)


@dataclass(frozen=True)
class More:
    """Samples that are too many to be held: `fit` are fitted and `judge` held out like those that are, of the same
    shapes, and read when they are needed.
    """

    fit: Calibration
    judge: Calibration | None = None
