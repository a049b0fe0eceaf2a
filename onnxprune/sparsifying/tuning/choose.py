"""From times to a choice. Pure functions over plain values."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from onnxprune.sparse.patterns import Pattern
from onnxprune.sparsifying.tuning.times import LayerTimes

MARGIN = 0.05
"""A layer becomes sparse if that takes this share of its time away: less is within what timing alone can tell."""


@dataclass(frozen=True)
class Choice:
    """`patterns` and `dense`: by weight, the blocks, or the reason why it stays dense; `depthwise`: weights of
    depthwise layers that become operators, dense, for `sparse.rewrite`.
    """

    patterns: Mapping[str, Pattern]
    dense: Mapping[str, str]
    depthwise: tuple[str, ...] = ()

    @property
    def operators(self) -> tuple[Mapping[str, Pattern], tuple[str, ...]]:
        """What is in the file, without the reasons."""
        return self.patterns, self.depthwise


def choose(times: Mapping[str, LayerTimes], margin: float = MARGIN) -> dict[str, Pattern | str]:
    """By weight: the pattern, or the reason why the layer stays dense.

    Of patterns that are about as fast (within the margin) as the fastest the one with the smallest blocks is taken:
    the smaller the blocks, the less a network loses by its zeros.
    """
    return {weight: _one(layer, margin) for weight, layer in times.items()}


def _one(layer: LayerTimes, margin: float) -> Pattern | str:
    known = list(layer.sparse_ms)
    if not known:
        return layer.reason or "there is no sparse operator for these blocks"
    least = min(layer.sparse_ms[pattern] for pattern in known)
    if least > layer.dense_ms * (1 - margin):
        return f"sparse it is not faster: {least:.3g} ms, dense {layer.dense_ms:.3g} ms"
    alike = [pattern for pattern in known if layer.sparse_ms[pattern] <= least * (1 + margin)]
    return min(alike, key=lambda pattern: (pattern.size, layer.sparse_ms[pattern], known.index(pattern)))


def as_choice(chosen: Mapping[str, Pattern | str], depthwise: Collection[str] = ()) -> Choice:
    """The same, patterns and reasons apart."""
    patterns = {weight: found for weight, found in chosen.items() if isinstance(found, Pattern)}
    dense = {weight: found for weight, found in chosen.items() if isinstance(found, str)}
    return Choice(patterns, dense, tuple(sorted(depthwise)))
