"""Calibration batches cut anew: shards of one size, in a seeded order, the held-out samples apart."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.data import Calibration, More
from onnxprune.data.batch import Batch
from onnxprune.repair.ahead import ahead
from onnxprune.repair.augment import varied

Array = NDArray[Any]
Feeds = dict[str, Array]
SHARDS = 2  # of a step, run side by side: faster than threads inside each operator, and reproducible
LEAST, LARGEST, STEPS_PER_EPOCH = 4, 16, 10
VARIED_FROM = 20  # times that a sample comes: from then on it is varied as much as possible


@dataclass(frozen=True)
class Position:
    """After `done` steps: `number` of this epoch, whose samples come in this `order`; `random` is the generator's
    state."""

    done: int
    number: int
    order: NDArray[np.int64]
    random: Mapping[str, Any]


class Shards(list[Feeds]):
    """The feeds of a step, and where it leaves the draw."""

    def __init__(self, feeds: Sequence[Feeds], position: Position) -> None:
        super().__init__(feeds)
        self.position = position


@dataclass(frozen=True)
class Minibatches:
    """A step has `count` shards of `size` samples. `arrays` are (samples, rows, *item): the first `fit` samples are
    fitted, the others judge. Only a model of fixed batch size has more than one row a sample. `axes`: where the samples
    of an input lie in a feed, by default on its first axis; `shared` are inputs that every feed has: what is the same
    for all samples."""

    arrays: Feeds
    fit: int
    size: int
    count: int
    shared: Feeds = field(default_factory=dict)
    axes: Mapping[str, int] = field(default_factory=dict)
    fixed: bool = False
    more: More | None = None

    @staticmethod
    def of(
        batches: Sequence[Feeds], held_out: int, *, whole: Collection[str] = (), more: More | None = None
    ) -> Minibatches | str:
        """From batches of which the last `held_out` judge. `whole`: inputs whose first axis the model fixes, or that
        have none. If there are some, it takes batches of this size only; those that are the same in all are no samples,
        but a threshold or a first state.

        Why not, if samples differ in shape, or are too few for two steps.
        """
        first = batches[0]
        axes = {k: a for k, a in first.axes.items() if a} if isinstance(first, Batch) else {}
        fixed = first.fixed if isinstance(first, Batch) else bool(whole)
        batches = [{k: np.moveaxis(v, axes[k], 0) if k in axes else v for k, v in b.items()} for b in batches]
        if len({tuple((k, v.shape[1:], v.ndim) for k, v in batch.items()) for batch in batches}) != 1:
            return "the samples differ in shape"
        shared = {k: v for k, v in batches[0].items() if k in whole and _equal([batch[k] for batch in batches])}
        batches = [{k: v for k, v in batch.items() if k not in shared} for batch in batches]
        if not batches[0]:
            return "all samples are the same"
        if any(array.ndim == 0 for array in batches[0].values()):
            return "an input is a single number that differs from sample to sample, of which no batch can be made"
        rows = [{len(array) for array in batch.values()} for batch in batches]
        if any(len(found) != 1 for found in rows):
            return "the inputs differ in their number of rows"
        if fixed and any(found != rows[0] for found in rows):
            return "the samples differ in shape"
        arrays = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
        group = rows[0].pop() if fixed else 1
        total, judge = (
            len(next(iter(arrays.values()))) // group,
            sum(len(_first(b)) for b in batches[len(batches) - held_out :]) // group,
        )
        fit = total - judge
        others = more if more is not None and not fixed and _alike(more.fit, arrays) else None
        seen = fit + (0 if others is None else others.fit.samples)
        step = min(max(seen // STEPS_PER_EPOCH, LEAST), LARGEST)
        size = 1 if fixed else step // SHARDS
        if fit < 2 * step or judge < size:
            return f"the samples are too few: {fit} to fit and {judge} to judge, and it takes {2 * step} and {size}"
        grouped = {name: array.reshape(total, group, *array.shape[1:]) for name, array in arrays.items()}
        return Minibatches(grouped, fit, size, step // size, shared, axes, fixed, others)

    def in_shards(self, most: int) -> Minibatches:
        """The same steps in shards of at most `most` samples, halved until they are that small."""
        size = self.size
        while size > most and size % 2 == 0:
            size //= 2
        return replace(self, size=size, count=self.batch // size)

    @property
    def batch(self) -> int:
        """Samples of a step."""
        return self.size * self.count

    @property
    def seen(self) -> int:
        """Samples that are fitted, those that are not held in memory among them."""
        return self.fit + (0 if self.more is None else self.more.fit.samples)

    @property
    def steps_per_epoch(self) -> int:
        return self.seen // self.batch

    def steps(self, seed: int, count: int, after: Position | None = None) -> Iterator[Shards]:
        """`count` steps; within an epoch every sample comes at most once. `after`: those that follow a position.

        The more often it comes in all, the more it is varied.
        """
        rng = np.random.default_rng(seed)
        strength = min(1.0, count / (self.steps_per_epoch * VARIED_FROM))
        done = 0 if after is None else after.done
        return ahead(itertools.islice(self._endless(rng, strength, after), count - done))

    def _endless(self, rng: np.random.Generator, strength: float, after: Position | None) -> Iterator[Shards]:
        done, first, order = 0, 0, None
        if after is not None:
            rng.bit_generator.state = dict(after.random)
            done, first, order = after.done, after.number, after.order
        while True:
            order = rng.permutation(self.seen) if order is None else order
            for number in range(first, self.steps_per_epoch):
                parts = [order[k * self.size : (k + 1) * self.size] for k in self._of_step(number)]
                feeds = [self._feed(varied(self._read(rows), rng, strength), len(rows)) for rows in parts]
                done += 1
                yield Shards(feeds, Position(done, number + 1, order, dict(rng.bit_generator.state)))
            first, order = 0, None

    def _of_step(self, number: int) -> range:
        return range(number * self.count, (number + 1) * self.count)

    def fitted(self) -> list[Feeds]:
        """The samples that are fitted and held in memory, as they are, as many as fill shards."""
        return self._shards(np.arange(self.fit))

    def judged(self) -> list[Feeds]:
        """The samples that judge, as many as fill shards."""
        return self._shards(np.arange(self.fit, len(_first(self.arrays))))

    def _shards(self, rows: NDArray[np.int64]) -> list[Feeds]:
        return [self.take(rows[k : k + self.size]) for k in range(0, len(rows) - self.size + 1, self.size)]

    def take(self, samples: NDArray[np.int64]) -> Feeds:
        """A feed of these samples."""
        return self._feed(self._own(samples), len(samples))

    def _feed(self, own: Feeds, samples: int) -> Feeds:
        """A feed that says where its samples are. `own`: inputs that are not shared, (samples * rows, *item)."""
        moved = {
            k: np.ascontiguousarray(np.moveaxis(v, 0, self.axes[k])) if k in self.axes else v for k, v in own.items()
        }
        axes = {**dict.fromkeys(self.shared), **{name: self.axes.get(name, 0) for name in own}}
        return Batch(self.shared | own | moved, axes, samples=samples, fixed=self.fixed)

    def _read(self, samples: NDArray[np.int64]) -> Feeds:
        """Fitted samples, wherever they are."""
        held = self._own(samples[samples < self.fit])
        others = samples[samples >= self.fit] - self.fit
        if self.more is None or not len(others):
            return held
        read = self._rows(self.more.fit, others.tolist())
        return {name: np.concatenate([array, *read[name]]) for name, array in held.items()}

    def _rows(self, source: Calibration, numbers: Sequence[int]) -> dict[str, list[Array]]:
        """Per input that is not shared the samples of a source, each (1, *item)."""
        read = [source.batch(k, k + 1) for k in numbers]
        return {k: [np.moveaxis(one[k], self.axes.get(k, 0), 0) for one in read] for k in self.arrays}

    def judging(self, most: int) -> Minibatches:
        """The same with so many samples to judge, as far as there are more than it has: they are read, and held."""
        source = None if self.more is None else self.more.judge
        missing = most - (len(_first(self.arrays)) - self.fit)
        if source is None or missing <= 0:
            return self
        read = self._rows(source, range(min(missing, source.samples)))
        arrays = {k: np.concatenate([v, *(one[:, np.newaxis] for one in read[k])]) for k, v in self.arrays.items()}
        return replace(self, arrays=arrays)

    def _own(self, samples: NDArray[np.int64]) -> Feeds:
        return {
            name: array[samples].reshape(len(samples) * array.shape[1], *array.shape[2:])  # -1 takes no empty past
            for name, array in self.arrays.items()
        }


def _alike(more: Calibration, arrays: Feeds) -> bool:
    """Whether samples that are not held have the shapes of those that are, batches of one."""
    return all(math.prod(more.shapes(0)[name]) == math.prod(array.shape[1:]) for name, array in arrays.items())


def _equal(arrays: Sequence[Array]) -> bool:
    nan = arrays[0].dtype.kind == "f"
    return all(np.array_equal(array, arrays[0], equal_nan=nan) for array in arrays[1:])


def _first(feeds: Feeds) -> Array:
    return next(iter(feeds.values()))
