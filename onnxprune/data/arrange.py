"""How the arrays of several inputs belong together: where their samples are, what is the same for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from onnxprune.data.axes import batch_symbol
from onnxprune.data.feed import Feed
from onnxprune.data.specs import InputSpec
from onnxprune.errors import DataError


def by_sizes(specs: Sequence[InputSpec], shapes: Mapping[str, tuple[int, ...]]) -> Sequence[InputSpec]:
    """The inputs with their axes of samples, as `shapes` of the data say it where the declared ones do not.

    An input whose first axis the model fixes, and of which there is one batch, has its samples on another open axis if
    that alone is as long as there are samples of the others: a state of (2, samples, 128).
    """
    sizes = {shapes[s.name][s.axis] for s in specs if s.batched and len(shapes[s.name]) > s.axis}
    count = sizes.pop() if len(sizes) == 1 else 1
    return [_by_size(spec, shapes[spec.name], count, specs) for spec in specs]


def _by_size(spec: InputSpec, shape: tuple[int, ...], count: int, specs: Sequence[InputSpec]) -> InputSpec:
    if count == 1 or not spec.shape or spec.batched or len(shape) != len(spec.shape) or shape[0] != spec.group:
        return spec
    elsewhere = {size for other in specs if other is not spec for size in other.shape if isinstance(size, str)}
    axes = [
        axis
        for axis, size in enumerate(spec.shape)
        if axis and not isinstance(size, int) and size not in elsewhere and shape[axis] == count
    ]
    return replace(spec, axis=axes[0]) if len(axes) == 1 else spec


def with_shared(feeds: Sequence[Feed]) -> list[Feed]:
    """Inputs that are the same for all samples: of a fixed batch of which there is exactly one, where the others have
    more; and those that have no axis for what others count, unless there are as many.
    """
    most = max((feed.samples for feed in feeds if feed.spec.batched and not feed.shared), default=1)
    symbol = batch_symbol([feed.spec.shape for feed in feeds])
    count = {feed.samples for feed in feeds if symbol is not None and symbol in feed.spec.shape}

    def alone(feed: Feed) -> bool:
        spec = feed.spec
        if not spec.batched and spec.shape:
            return feed.samples == 1 < most
        other = isinstance(spec.counted, str) and symbol not in spec.shape
        return other and len(count) == 1 and feed.samples not in count and not _paired(feed, feeds)

    return [replace(feed, shared=feed.shared or alone(feed)) for feed in feeds]


def _paired(feed: Feed, feeds: Sequence[Feed]) -> bool:
    """Whether other inputs of the same symbol differ in their number of rows: a mistake, to be said."""
    return len({f.samples for f in feeds if f.spec.counted == feed.spec.counted}) > 1


def counted(feeds: Sequence[Feed]) -> tuple[int, int]:
    """(samples, rows left over). Raises DataError if the inputs disagree or there is not one whole sample."""
    for feed in feeds:
        if not feed.samples:
            raise DataError(
                f"input {feed.spec.name!r} has {feed.column.rows} rows, the model takes {feed.spec.group} at a time"
            )
        if feed.calls is not None and not feed.spec.batched and feed.spec.shape:
            wrong = np.flatnonzero(np.diff(feed.calls) != feed.spec.group)
            if len(wrong):
                label = feed.column.label(int(feed.calls[wrong[0]]))
                rows = int(np.diff(feed.calls)[wrong[0]])
                raise DataError(f"{label}: input {feed.spec.name!r} has {rows} rows, the model takes {feed.spec.group}")
    own = [feed for feed in feeds if not feed.shared] or list(feeds[:1])
    counts = {feed.spec.name: feed.samples for feed in own}
    if len(set(counts.values())) > 1:
        shown = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise DataError(f"the inputs have different numbers of samples: {shown}")
    left = [feed.column.rows % feed.spec.group for feed in own if feed.calls is None]
    return own[0].samples, max(left, default=0)
