"""One feed of a model that knows which axis of every input counts its samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Axes = Mapping[str, int | None]


class Batch(dict[str, Array]):
    """Arrays by input name. `axes`: per input the axis that counts samples, None where it is the same for all of them
    or belongs to the feed as a whole. `fixed`: the model takes it as it is, neither a part of it nor more.
    """

    def __init__(self, arrays: Mapping[str, Array], axes: Axes, *, samples: int, fixed: bool = False) -> None:
        super().__init__(arrays)
        self.axes = dict(axes)
        self.samples = samples
        self.fixed = fixed

    def take(self, start: int, stop: int) -> Batch:
        """Samples start..stop-1. Of one that is fixed: itself."""
        if self.fixed or (start == 0 and stop >= self.samples):
            return self
        found = {}
        for name, array in self.items():
            axis = self.axes.get(name)
            found[name] = array if axis is None else array[(slice(None),) * axis + (slice(start, stop),)]
        return Batch(found, self.axes, samples=min(stop, self.samples) - start)

    def one_by_one(self) -> list[Batch]:
        """A feed for every sample; itself if it is fixed."""
        return [self] if self.fixed else [self.take(k, k + 1) for k in range(self.samples)]


def joined(batches: Sequence[Batch]) -> Batch:
    """One feed with the samples of several, which are not fixed and differ in nothing but samples."""
    first = batches[0]
    if len(batches) == 1:
        return first
    found = {}
    for name, array in first.items():
        axis = first.axes.get(name)
        found[name] = array if axis is None else np.concatenate([batch[name] for batch in batches], axis=axis)
    return Batch(found, first.axes, samples=sum(batch.samples for batch in batches))


def samples_of(feed: Mapping[str, Array]) -> int:
    """How many samples a feed holds: what it says, or else the longest first axis."""
    if isinstance(feed, Batch):
        return feed.samples
    return max((array.shape[0] if array.ndim else 1 for array in feed.values()), default=1)
