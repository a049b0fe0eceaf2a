"""The activations of a group: what the layers that sum over its units read, after normalisation and nonlinearity.

Where pooling or flattening has taken the positions away before a layer reads them, the value before is meant: there a
channel is still a map. The channel axis is the one whose indices the trace has labelled with units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from onnxprune.capture.statistics import Statistic
from onnxprune.capture.walker import Walker
from onnxprune.errors import NotFinite
from onnxprune.results.providers import Threads
from onnxprune.trace.groups import Group, Trace
from onnxprune.trace.ops.atoms import IntArray

Array = NDArray[Any]
S = TypeVar("S", bound=Statistic)
PIECE = 1 << 22
"""Values that are looked at together."""
WITHOUT_POSITIONS = frozenset(
    {"AveragePool", "Cast", "Dropout", "Flatten", "GlobalAveragePool", "Identity", "ReduceMean", "Reshape", "Squeeze"}
)
"""Operators that may take the positions of a map and leave its channels as they are."""


@dataclass(frozen=True)
class Activation:
    """A value `key` whose indices along `axis` are channels; `labels` are their units, 0 for none."""

    key: str
    axis: int
    labels: IntArray


def activations_of(trace: Trace, groups: Sequence[Group]) -> list[list[Activation]]:
    """Per group what the layers read that sum over its units, in the order of the graph, each value once.

    Empty for a group that no layer outside of the bodies of If, Loop and Scan sums over.
    """
    owner = np.full(trace.unit_count, -1, np.int64)
    for number, group in enumerate(groups):
        owner[group.units] = number
    found: list[dict[tuple[str, int], Activation]] = [{} for _ in groups]
    for closing in trace.closings:
        node = trace.graph.nodes[closing.node]
        key = node.inputs[closing.slot]
        if (
            closing.kind not in ("sum", "range")
            or node.scope
            or key not in trace.graph.producer
            or key in trace.graph.constants
        ):
            continue
        read = _with_positions(trace, Activation(key, closing.axis, closing.labels))
        for number in np.unique(owner[read.labels]).tolist():
            if number >= 0:
                found[number].setdefault((read.key, read.axis), read)
    return [[reads[place] for place in sorted(reads, key=lambda p: _order(trace, p))] for reads in found]


def gathered(
    trace: Trace,
    activations: Sequence[Activation],
    batches: list[dict[str, Array]],
    statistic: Callable[[int], S],
    *,
    threads: Threads = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[Activation, S]]:
    """The statistic of every activation that the samples reach, in one walk over the network. Raises NotFinite for NaN
    and infinity.
    """
    walker = Walker(trace.graph.model, batches, trace.facts.dtypes, threads)
    ordered = sorted(activations, key=lambda a: _order(trace, (a.key, a.axis)))
    for number, activation in enumerate(ordered):
        walker.reach([activation.key])
        seen, values = statistic(len(activation.labels)), walker.values(activation.key)
        for value in values:
            for maps in _pieces(value, activation.axis):
                if not np.isfinite(maps).all():
                    raise NotFinite(
                        f"the activation {activation.key!r} holds NaN or infinity",
                        hint="the network overflows on the calibration samples: check them, and how they are "
                        "normalised",
                    )
                seen.add(maps)
        walker.drop_dead()
        if any(value.size for value in values):
            yield activation, seen
        if progress is not None:
            progress(number + 1, len(ordered))


def _order(trace: Trace, place: tuple[str, int]) -> tuple[int, str, int]:
    return (trace.graph.producer[place[0]], *place)


def _with_positions(trace: Trace, read: Activation) -> Activation:
    """The nearest value before `read` that has positions and the same units; `read` itself if there is none."""
    units = np.unique(read.labels[read.labels > 0])
    step = read
    while not _has_positions(trace, step):
        node = trace.graph.nodes[trace.graph.producer[step.key]]
        before = node.inputs[0] if node.inputs else ""
        if node.domain or node.op_type not in WITHOUT_POSITIONS or before not in trace.graph.producer:
            return read
        for axis, labels in enumerate(trace.axes(before)):
            if labels is not None and np.isin(units, labels).all():
                step = Activation(before, axis, labels)
                break
        else:
            return read
    return step


def _has_positions(trace: Trace, activation: Activation) -> bool:
    shape = trace.facts.shapes.get(activation.key, ())
    return any(size != 1 for axis, size in enumerate(shape) if axis not in (0, activation.axis))


def _pieces(value: Array, axis: int) -> Iterator[Array]:
    """(samples, channels, height, width) of a value, some samples at a time.

    Samples lie along axis 0; if the channels do, it is one sample. The last of the other axes is the width.
    """
    moved = value[None] if axis == 0 else np.moveaxis(value, axis, 1)
    rest = moved.shape[2:]
    shape = (moved.shape[1], int(np.prod(rest[:-1], dtype=np.int64)), rest[-1] if rest else 1)
    step = max(PIECE // max(int(np.prod(shape)), 1), 1)
    for top in range(0, len(moved), step):
        part = moved[top : top + step]
        if part.size:
            yield part.reshape(len(part), *shape)
