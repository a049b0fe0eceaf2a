"""Every layer by itself: how long it takes dense, and how long as a sparse operator.

The dense layer is timed as the runtime fuses it, the operator with the same neighbours fused; conversions between
layouts are left out, since they hang on the neighbours: whether a set of layers pays is seen in the whole (whole.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto, TensorProto

from onnxprune import native
from onnxprune.capture.samples import facts_for
from onnxprune.errors import ModelError
from onnxprune.measure.latency.runtime import LAYOUT, Feed, kernel_times_in_turn
from onnxprune.model.graph import build
from onnxprune.model.load import load
from onnxprune.proof.inputs import feed as drawn
from onnxprune.sparse.patterns import INTEGER_COLUMNS, UNSTRUCTURED, Pattern
from onnxprune.sparse.rewrite import rewrite
from onnxprune.sparsifying.tuning.cache import Cache, environment
from onnxprune.sparsifying.tuning.masks import random_mask
from onnxprune.sparsifying.tuning.pieces import WEIGHT, Piece, Untimed, pieces
from onnxprune.trace.groups import Trace

Steps = Callable[[int, int], None]
Measure = Callable[[Sequence[ModelProto], int], Sequence[float]]
"""(models, threads) -> milliseconds of each."""
CONVERSIONS = LAYOUT | {"Transpose"}


@dataclass(frozen=True)
class LayerTimes:
    """Milliseconds of a layer with what is fused behind it. `sparse_ms` has no pattern that the operators do not know.

    The patterns are in the order in which they were asked for, in integer layers `for_integers`.
    `kind`: equal for layers that do the same work. `reason`: why nothing was measured.
    """

    node: str
    dense_ms: float
    sparse_ms: Mapping[Pattern, float]
    kind: str = ""
    reason: str | None = None


def layer_times(
    traced: Trace,
    sparsity: float,
    patterns: Sequence[Pattern],
    *,
    threads: int = 0,
    cache: Path | None = None,
    progress: Steps | None = None,
    feed: Feed | None = None,
    weights: Collection[str] | None = None,
    measure: Measure | None = None,
) -> dict[str, LayerTimes]:
    """By name of the weight (an initializer): the times of the layers that read it, summed up.

    Sizes are those of the inputs in `feed`, or the ones that the trace took for symbolic sizes. `weights`: of these
    only. `cache`: the folder of times measured before; None measures all of them. `measure`: for tests. Weights of
    depthwise layers are not among the results. Raises ModelError for an opset below 13.
    """
    facts = facts_for(traced, {name: array.shape for name, array in (feed or {}).items()})
    found = [piece for piece in pieces(traced.graph, facts, weights) if not getattr(piece, "depthwise", False)]
    missing = native.problem()
    if missing is not None:
        found = [Untimed(p.weight, p.node, f"the sparse operators are not there: {missing}") for p in found]
    known = Cache(cache, environment(threads))
    kinds = {piece.key: piece for piece in found if isinstance(piece, Piece)}
    times: dict[str, LayerTimes] = {}
    try:
        for done, (key, piece) in enumerate(kinds.items()):
            if progress is not None:
                progress(done, len(kinds))
            times[key] = _times(piece, sparsity, patterns, threads, known, measure or _measure)
    finally:
        known.save()
    return _by_weight(found, times)


def _by_weight(found: Sequence[Piece | Untimed], times: Mapping[str, LayerTimes]) -> dict[str, LayerTimes]:
    result: dict[str, LayerTimes] = {}
    for piece in found:
        if isinstance(piece, Untimed):
            one = LayerTimes(piece.node, 0.0, {}, reason=piece.reason)
        else:
            kind = times[piece.key]
            one = LayerTimes(piece.node, kind.dense_ms, kind.sparse_ms, piece.key, kind.reason)
        before = result.get(piece.weight)
        result[piece.weight] = one if before is None else _sum(before, one)
    return result


def _sum(one: LayerTimes, other: LayerTimes) -> LayerTimes:
    """Of two layers that share a weight."""
    both = [pattern for pattern in one.sparse_ms if pattern in other.sparse_ms]
    sparse = {pattern: one.sparse_ms[pattern] + other.sparse_ms[pattern] for pattern in both}
    kind = f"{one.kind}+{other.kind}"
    return LayerTimes(one.node, one.dense_ms + other.dense_ms, sparse, kind, one.reason or other.reason)


def _times(
    piece: Piece, sparsity: float, patterns: Sequence[Pattern], threads: int, cache: Cache, measure: Measure
) -> LayerTimes:
    """Patterns that are not known yet are measured in turn with the dense layer: it is their ratio that counts."""
    patterns = _of_integers(patterns) if piece.dtype == TensorProto.INT8 else patterns
    keys = {pattern: f"{piece.key} {pattern} {pattern.share or sparsity:.6g}" for pattern in patterns}
    reason = None
    new = {pattern: model for pattern in patterns if cache.get(keys[pattern], 2) is None
           and (model := sparse_model(piece, pattern, sparsity)) is not None}  # fmt: skip
    if new:
        try:
            dense, *rest = measure([piece.filled(), *new.values()], threads)
        except ModelError as problem:
            reason = f"it could not be timed: {problem.message}"
        else:
            for pattern, taken in zip(new, rest, strict=True):
                cache.put(keys[pattern], (dense, taken), f"{piece.words}: ms dense, as {pattern}")
    pairs = {pattern: pair for pattern, key in keys.items() if (pair := cache.get(key, 2)) is not None}
    if not pairs:
        return LayerTimes(piece.node, 0.0, {}, reason=reason)
    dense = min(pair[0] for pair in pairs.values())
    sparse = {pattern: dense * pair[1] / pair[0] for pattern, pair in pairs.items()}
    return LayerTimes(piece.node, dense, sparse, reason=reason)


def _of_integers(patterns: Sequence[Pattern]) -> list[Pattern]:
    """Blocks of the int8 kernels: with single weights also their smallest block, as which those are stored."""
    found: dict[Pattern, None] = {}
    for pattern in patterns:
        found[pattern.for_integers] = None
        if pattern == UNSTRUCTURED:
            found[Pattern(1, INTEGER_COLUMNS)] = None
    return list(found)


def sparse_model(piece: Piece, pattern: Pattern, sparsity: float) -> ModelProto | None:
    """The piece with its operator, as `rewrite` makes it; None where it knows none."""
    mask = random_mask(piece.shape, pattern, sparsity, transposed=piece.transposed)
    done = rewrite(load(piece.filled()), {WEIGHT: mask})
    return done.model.complete_proto() if done.operators else None


def _measure(models: Sequence[ModelProto], threads: int) -> list[float]:
    graph = build(load(models[0]))
    shapes = {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in models[0].graph.input}
    values = drawn(graph, shapes, 0, 1.0)
    found = kernel_times_in_turn(models, [values] * len(models), threads)
    return [1e3 * sum(s for (_, kind, _), s in kernels.items() if kind not in CONVERSIONS) for kernels in found]
