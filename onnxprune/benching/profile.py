"""Where the time goes, per operator and per layer, and which layers of a smaller model did not get faster, and why.

The runtime writes whole microseconds: no interval is narrower than half of one on either side.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from onnxprune.benching.kernels import Kernel
from onnxprune.benching.results import (
    SLOWER,
    Estimate,
    LayerChange,
    LayerTime,
    OperatorTime,
    Profile,
    ProfileComparison,
)
from onnxprune.benching.statistics import ordered_interval, verdict

Floats = NDArray[np.float64]
QUANTUM_S = 0.5e-6
LAYER_MARGIN = 0.05
ALIGNED = 4
"""Input channels of a convolution must be a multiple of this for the blocked layout; measured with 1.31."""


def layers_of(kernels: Sequence[Kernel], names: Sequence[str]) -> dict[str, list[Kernel]]:
    """Layer -> the kernels that do its work, in order; conversions of the layout stand under their own names."""
    found: dict[str, list[Kernel]] = {}
    for kernel, name in zip(kernels, names, strict=True):
        found.setdefault(kernel.name if kernel.layout else name, []).append(kernel)
    return found


def profile(model: str, kernels: Sequence[Kernel], names: Sequence[str]) -> Profile:
    """Times per inference of one model; the layers that take most come first. Raises ValueError without kernels."""
    if not kernels:
        raise ValueError(f"{model}: no kernel ran")
    total = _sum(kernels)
    types: dict[str, list[Kernel]] = {}
    for kernel in kernels:
        types.setdefault(kernel.operator, []).append(kernel)
    operators = []
    for operator, found in types.items():
        own = _sum(found)
        operators.append(OperatorTime(operator, len(found), _estimate(own), _share(own, total)))
    layout = [kernel for kernel in kernels if kernel.layout]
    layers = [_layer(name, found) for name, found in layers_of(kernels, names).items()]
    return Profile(
        model,
        len(total),
        _estimate(total),
        tuple(sorted(operators, key=lambda o: -o.time.value)),
        tuple(sorted(layers, key=lambda one: -one.time.value)),
        _estimate(_sum(layout)) if layout else Estimate(0.0, 0.0, 0.0),
        len(layout),
    )


def compare(
    reference: str, before: dict[str, list[Kernel]], model: str, after: dict[str, list[Kernel]]
) -> ProfileComparison:
    """Layers of both, paired by name and run by run; what takes longest in either comes first."""
    changes = [_change(name, before.get(name, ()), after.get(name, ())) for name in dict.fromkeys((*before, *after))]
    return ProfileComparison(
        model, reference, tuple(sorted(changes, key=lambda c: -max(_value(c.before), _value(c.after))))
    )


def _value(layer: LayerTime | None) -> float:
    return 0.0 if layer is None else layer.time.value


def _change(name: str, before: Sequence[Kernel], after: Sequence[Kernel]) -> LayerChange:
    a = _layer(name, before) if before else None
    b = _layer(name, after) if after else None
    if not before or not after:
        kind = "only in the first" if before else "only in the second"
        return LayerChange(name, a, b, None, kind, _alone(before or after))
    ratio = _ratio(_sum(before), _sum(after))
    found = verdict(ratio, LAYER_MARGIN)
    grown = after[0].blocked != before[0].blocked or found == SLOWER
    return LayerChange(name, a, b, ratio, found, reason(before[0], after[0]) if grown else None)


def _ratio(before: Floats, after: Floats) -> Estimate:
    """after / before of neighbouring runs; what half a microsecond can change belongs to the interval."""
    runs = min(len(before), len(after))
    x, y = np.maximum(before[:runs], 0.5), np.maximum(after[:runs], 0.5)
    found = ordered_interval(np.log(y / x))
    rounding = 0.5 / float(np.median(x)) + 0.5 / float(np.median(y))
    return Estimate(*(float(np.exp(v)) for v in (found.value, found.low - rounding, found.high + rounding)))


def reason(before: Kernel, after: Kernel) -> str | None:
    """Why a layer may have become slower although it is smaller; None if nothing is known."""
    channels = after.inputs[0][1] if after.inputs and len(after.inputs[0]) >= 3 else None
    if after.operator != before.operator and after.operator.startswith("Sparse"):
        return f"runs as {after.operator} instead of {before.operator}"
    if before.blocked and not after.blocked:
        why = f"{channels} input channels are not a multiple of {ALIGNED}: " if channels and channels % ALIGNED else ""
        return f"{why}out of the blocked layout (NCHWc)"
    if before.operator != after.operator and not after.blocked:
        return f"runs as {after.operator} instead of {before.operator}"
    if before.inputs == after.inputs and before.outputs == after.outputs:
        return "its shapes are the same"
    odd = [
        f"{size} {kind} channels (before: {was}), not a multiple of 8"
        for kind, size, was in _widths(before, after)
        if size % 8 and not was % 8
    ]
    return "; ".join(odd) or None


def _widths(before: Kernel, after: Kernel) -> list[tuple[str, int, int]]:
    found = []
    for kind, old, new in (("input", before.inputs, after.inputs), ("output", before.outputs, after.outputs)):
        if old and new and len(old[0]) == len(new[0]) >= 2:
            axis = 1 if len(new[0]) in (3, 4, 5) else -1
            found.append((kind, new[0][axis], old[0][axis]))
    return found


def _alone(kernels: Sequence[Kernel]) -> str | None:
    return "a conversion between layouts" if all(kernel.layout for kernel in kernels) else None


def _layer(name: str, kernels: Sequence[Kernel]) -> LayerTime:
    first = kernels[0]
    kernel = f"{first.operator}, NCHWc" if first.blocked else first.operator
    shapes = [" x ".join(map(str, shape)) for shape in (*first.inputs[:2], *first.outputs[:1])]
    return LayerTime(
        name,
        first.operator,
        kernel,
        _estimate(_sum(kernels)),
        " -> ".join((", ".join(shapes[:-1]), shapes[-1])) if shapes else "",
    )


def _share(part: Floats, whole: Floats) -> Estimate:
    """Of the time in kernels, run by run."""
    found = ordered_interval(part / np.maximum(whole, 0.5))
    rounding = 0.5 / max(float(np.median(whole)), 0.5)
    return Estimate(found.value, max(found.low - rounding, 0.0), min(found.high + rounding, 1.0))


def _sum(kernels: Sequence[Kernel]) -> Floats:
    """Microseconds per run of several kernels together."""
    total: Floats = np.sum([kernel.microseconds for kernel in kernels], axis=0, dtype=np.float64)
    return total


def _estimate(microseconds: Floats) -> Estimate:
    found = ordered_interval(microseconds * 1e-6)
    return Estimate(
        found.value, max(min(found.low, found.value - QUANTUM_S), 0.0), max(found.high, found.value + QUANTUM_S)
    )
