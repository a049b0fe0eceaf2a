"""Why a smaller model takes as long as before: its time in kernels, by what keeps each of them from being faster.

The kernel of a convolution in the blocked layout is padded to whole blocks of channels (8 or 16, as the processor has
it), and so are the shapes in the runtime's profile: those of the model's own weights say what was cut.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from onnxprune.benching.kernels import Kernel
from onnxprune.benching.results import Cause
from onnxprune.model.graph import Graph

LAYOUT, ROUNDED, UNCUT, WEIGHTLESS, KERNEL, SPARSE, SMALL = (
    *("layout", "rounded", "uncut", "weightless", "kernel", "sparse", "small"),
)
SMALL_S = 10e-6  # of a kernel on average: what the runtime does between two is then as much
PADDED = 1.05  # times the weights of the model: less is no reason
FASTER = 0.95  # of the time before

Layers = Mapping[str, Sequence[Kernel]]
Shape = tuple[int, ...]


def weights_of(graph: Graph) -> dict[str, Shape]:
    """Layer -> the shape of its largest constant of two axes or more; what has none has no weights."""
    found: dict[str, Shape] = {}
    for node in graph.nodes:
        shapes = [tuple(graph.constants[key].shape) for key in node.inputs if key in graph.constants]
        large = [shape for shape in shapes if len(shape) >= 2]
        if large:
            found[node.label] = max(large, key=math.prod)
    return found


def causes(before: Layers, after: Layers, old: Mapping[str, Shape], new: Mapping[str, Shape]) -> tuple[Cause, ...]:
    """The time of `after` by cause, the largest share first, and that all kernels are small, if so. `old` and `new` are
    the `weights_of` both models.
    """
    found: dict[str, dict[str, float]] = {}
    blocks: set[int] = set()
    for layer, kernels in after.items():
        kind = _kind(kernels, before.get(layer, ()), old.get(layer), new.get(layer))
        if kind == ROUNDED:
            blocks.add(_block(kernels[0].inputs[1]))
        if kind is not None:
            found.setdefault(kind, {})[layer] = _seconds(kernels)
    total = sum(_seconds(kernels) for kernels in after.values())
    count = sum(len(kernels) for kernels in after.values())
    result = [
        Cause(kind, sum(times.values()) / max(total, 1e-12), _largest(times), len(times), _step(kind, blocks))
        for kind, times in found.items()
    ]
    result.sort(key=lambda cause: -cause.share)
    if count and total / count < SMALL_S:
        result.append(Cause(SMALL, 1.0, (), count, None))
    return tuple(result)


def _kind(kernels: Sequence[Kernel], before: Sequence[Kernel], old: Shape | None, new: Shape | None) -> str | None:
    """What keeps a layer from being faster; None if it is, or if nothing is known."""
    first = kernels[0]
    if first.layout:
        return LAYOUT
    faster = bool(before) and _seconds(kernels) < FASTER * _seconds(before)
    if first.operator.startswith("Sparse"):
        return None if faster else SPARSE
    if new is None:
        return None if faster else WEIGHTLESS
    if old == new:
        return UNCUT
    if first.blocked and len(first.inputs) > 1 and math.prod(first.inputs[1]) > PADDED * math.prod(new):
        return ROUNDED
    return KERNEL if before and not faster else None


def _seconds(kernels: Sequence[Kernel]) -> float:
    return float(np.median(np.sum([kernel.microseconds for kernel in kernels], axis=0))) * 1e-6


def _largest(times: Mapping[str, float]) -> tuple[str, ...]:
    return tuple(sorted(times, key=lambda layer: -times[layer])[:3])


def _block(weight: Shape) -> int:
    """What the outputs of a kernel are a multiple of, as far as kernels go."""
    return math.gcd(weight[0], 16)


def _step(kind: str, blocks: set[int]) -> int | None:
    return min(blocks) if kind == ROUNDED and blocks else None
