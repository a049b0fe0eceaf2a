"""Scale and shift: two numbers per output channel of every layer bring its mean and its deviation back.

Layers are visited in order; y is what a channel gives in the network that is cut and repaired so far, t what the
original gives there (with a shortcut, the original sum minus the shortcut as it is now):

    a = (dev t + lambda dev y) / ((1 + lambda) dev y),   b = mean t - a mean y

It is the recalibration of normalisations (Li et al., EagleEye, ECCV 2020) for layers of any kind, and needs few samples
and no matrix. It is folded into the weights and the bias, into a BatchNormalization or an added constant where one
follows: no node is added. Judged is the distance of the two distributions as if they were normal (Wasserstein),

    (mean y - mean t)^2 + (dev y - dev t)^2,

on held-out samples, by which lambda is chosen too; a channel that does not get better keeps its numbers. (Regression of
t on y would only make a channel weaker that has become noisy: measured, it does worse.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxprune.capture.features import Linear, linear_layer, residual_partner
from onnxprune.capture.moments import meaningful, require_finite
from onnxprune.capture.rows import NO_ROWS, Unmatched, differences
from onnxprune.capture.walker import Array, Walker
from onnxprune.model.graph import Graph, Node
from onnxprune.model.load import Model
from onnxprune.model.plain import hoisted, lowered, settable, shape_of
from onnxprune.repair.least_squares import RIDGES, LayerFit, Refit, with_biases
from onnxprune.results.providers import Threads
from onnxprune.trace.groups import Trace

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]
LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


@dataclass(frozen=True)
class Affine:
    """A value y of `axis` channels that can be scaled: `scales` are tensors of one number (or row) per channel with
    the axis it is on, `shift` the tensor that is added last, or None.
    """

    y: str
    axis: int
    scales: tuple[tuple[str, int], ...]
    shift: str | None


@dataclass(frozen=True)
class Spread:
    """Mean and deviation per channel (c,) of y and of t, over so many positions."""

    y_mean: FloatArray
    y_dev: FloatArray
    t_mean: FloatArray
    t_dev: FloatArray
    positions: int

    @staticmethod
    def of(ys: list[Array], ts: list[Array], axis: int) -> Spread:
        rows = [_rows(t, axis) for t in ts]
        return Spread(*_spread([_rows(y, axis) for y in ys]), *_spread(rows), sum(map(len, rows)))

    @property
    def power(self) -> float:
        """Mean square of t around its mean, summed over channels."""
        return float((self.t_dev**2).sum())

    def scale(self, fit: Spread) -> float:
        """What errors on these positions are relative to, more than 0; `fit`: the positions that are fitted."""
        own = self.positions / max(self.positions + fit.positions, 1)
        within = own * self.power + (1 - own) * fit.power
        both = within + own * (1 - own) * float(np.sum((self.t_mean - fit.t_mean) ** 2))
        mean = own * self.t_mean + (1 - own) * fit.t_mean
        found = own * (self.y_dev**2 + self.y_mean**2) + (1 - own) * (fit.y_dev**2 + fit.y_mean**2)
        square = both + float(np.sum(mean**2))
        return meaningful(self.power, both, square, float(found.sum()), self.positions)

    def errors(self, scale: FloatArray, shift: FloatArray) -> FloatArray:
        """(c,) the distance of scale y + shift from t."""
        mean = scale * self.y_mean + shift - self.t_mean
        return np.asarray(mean**2 + (scale * self.y_dev - self.t_dev) ** 2, np.float64)

    def fitted(self, ridge: float, with_shift: bool) -> tuple[FloatArray, FloatArray]:
        """Scale and shift (c,), the scale pulled towards 1. A channel that is constant is only shifted."""
        wanted, found = self.t_dev, self.y_dev
        if not with_shift:  # of the values themselves, not around their mean
            wanted, found = np.hypot(wanted, self.t_mean), np.hypot(found, self.y_mean)
        lively = found > 1e-5 * wanted
        scale = np.ones_like(found)
        scale[lively] = (wanted + ridge * found)[lively] / ((1 + ridge) * found[lively])
        return scale, self.t_mean - scale * self.y_mean if with_shift else np.zeros_like(scale)


def scale_shift(
    trace: Trace,
    keep: Bools,
    cut: Model,
    batches: list[dict[str, Array]],
    held_out: int,
    *,
    threads: Threads = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Refit:
    """Scale and shift the layers of `cut` whose inputs changed; the last `held_out` batches judge."""
    touched = _touched(trace, keep)
    names = {n.proto.output[0] for n in touched if n.scope == 0}
    bare, cut = cut, with_biases(hoisted(cut), names)
    original = Walker(trace.graph.model, batches, trace.facts.dtypes, threads)
    current = Walker(cut, batches, trace.facts.dtypes, threads, as_it_is=True)
    by_output = {n.proto.output[0]: n for n in current.graph.nodes if n.scope == 0 and n.proto.output}
    fits: list[LayerFit] = []
    skipped: list[str] = []
    unmatched: dict[str, str] = {}
    for number, node in enumerate(touched):
        found = by_output.get(node.proto.output[0])
        affine = None if found is None else affine_of(current.graph, found)
        if affine is None or affine.y not in trace.graph.producer:
            skipped.append(node.label)
        else:
            try:
                spreads = _spreads(trace, keep, affine, original, current, held_out)
                fits.append(_fit(node.label, affine, *spreads, current))
            except Unmatched as problem:
                skipped.append(node.label)
                unmatched[node.label] = problem.reason
            current.drop_dead()
        if progress is not None:
            progress(number + 1, len(touched))
    tensors = {name: current.tensors[name] for name in cut.tensors}
    return Refit(lowered(bare, cut.replace(cut.proto, tensors)), tuple(fits), tuple(skipped), unmatched)


def affine_of(graph: Graph, node: Node) -> Affine | None:
    """Where the scale and the shift of a layer's output go; None if its weights are not its own."""
    layer = linear_layer(graph, node)
    if layer is None or not _own(graph, layer.weight) or not (layer.bias is None or _own(graph, layer.bias)):
        return None
    behind = _normalised(graph, layer.y)
    if behind is not None:
        return behind
    axis = 1 if layer.kernel else -1
    scales: list[tuple[str, int]] = [(layer.weight, _output_axis(layer))]
    if layer.bias is not None:
        return Affine(layer.y, axis, (*scales, (layer.bias, -1)), layer.bias)
    added = _added(graph, layer)
    if added is not None:
        return Affine(added[0], axis, (*scales, (added[1], -1)), added[1])
    return Affine(layer.y, axis, tuple(scales), None)


# ---- inner -----------------------------------------------------------------------------------------------------
def _touched(trace: Trace, keep: Bools) -> list[Node]:
    """Top-level layers with weights that read something that the cut has changed, in order."""
    losers = {c.node for c in trace.closings if not keep[c.labels].all()}
    changed: set[str] = set()
    found = []
    for node in trace.graph.nodes:
        if node.index not in losers and changed.isdisjoint(node.inputs):
            continue
        changed.update(key for key in node.outputs if key)
        layer = node.scope == 0 and not node.domain and node.op_type in LAYERS and len(node.inputs) > 1
        if layer and node.inputs[0] not in trace.graph.constants and settable(trace.graph, node.inputs[1]):
            found.append(node)
    return found


def _own(graph: Graph, key: str) -> bool:
    return key in graph.model.tensors and settable(graph, key) and len(graph.consumers.get(key, ())) == 1


def _sole_reader(graph: Graph, key: str) -> tuple[Node, int] | None:
    readers = graph.consumers.get(key, [])
    if len(readers) != 1 or key in {o.name for o in graph.model.proto.graph.output}:
        return None
    return graph.nodes[readers[0][0]], readers[0][1]


def _normalised(graph: Graph, key: str) -> Affine | None:
    """The BatchNormalization that alone reads a layer."""
    found = _sole_reader(graph, key)
    if found is None or found[0].op_type != "BatchNormalization" or found[1] != 0 or found[0].scope != 0:
        return None
    node = found[0]
    if len([o for o in node.outputs if o]) != 1 or not all(_own(graph, k) for k in node.inputs[1:3]):
        return None
    return Affine(node.outputs[0], 1, ((node.inputs[1], 0), (node.inputs[2], 0)), node.inputs[2])


def _added(graph: Graph, layer: Linear) -> tuple[str, str] | None:
    """(sum, constant) if a constant of one number per output is all that happens to a matrix product."""
    found = _sole_reader(graph, layer.y)
    if layer.kernel or found is None or found[0].op_type != "Add" or found[0].scope != 0:
        return None
    other = found[0].inputs[1 - found[1]]
    outputs = shape_of(graph, layer.weight)[_output_axis(layer)]
    if not _own(graph, other) or shape_of(graph, other) != (outputs,):
        return None
    return found[0].outputs[0], other


def _output_axis(layer: Linear) -> int:
    """The axis of the weight's outputs; -2 marks a transposed convolution, whose groups share it."""
    if layer.spread:
        return -2
    return 0 if layer.transposed else 1


def _spreads(
    trace: Trace, keep: Bools, affine: Affine, original: Walker, current: Walker, held_out: int
) -> tuple[Spread, Spread]:
    """Of the samples that are fitted, and of those that are held out. Raises Unmatched where one has no rows."""
    partner = residual_partner(trace.graph, affine.y)
    goal = partner[0] if partner else affine.y
    original.reach([goal])
    current.reach([affine.y, *([partner[1]] if partner else [])])
    targets = [trace.kept_part(goal, keep, value).astype(np.float64) for value in original.values(goal)]
    if partner:
        targets = differences(targets, current.values(partner[1]))
    ys, at = current.values(affine.y), len(targets) - held_out
    original.drop_dead()
    parts = [part for values in (ys, targets) for part in (values[:at] or values, values[at:])]
    if not all(sum(value.size for value in part) for part in parts):
        raise Unmatched(NO_ROWS)
    fitted = Spread.of(ys[:at] or ys, targets[:at] or targets, affine.axis)
    return fitted, Spread.of(ys[at:], targets[at:], affine.axis)


def _fit(name: str, affine: Affine, fit: Spread, judge: Spread, current: Walker) -> LayerFit:
    for part in (fit, judge):
        require_finite(name, part.y_mean, part.y_dev, part.t_mean, part.t_dev)
    one, zero = np.ones_like(fit.y_mean), np.zeros_like(fit.y_mean)
    kept, power = judge.errors(one, zero), judge.scale(fit)
    before = best = float(kept.sum())
    chosen, ridge = (one, zero), 0.0
    for candidate in RIDGES:
        scale, shift = fit.fitted(candidate, affine.shift is not None)
        better = judge.errors(scale, shift) < kept
        scale, shift = np.where(better, scale, one), np.where(better, shift, zero)
        error = float(judge.errors(scale, shift).sum())
        if error < best:
            best, ridge, chosen = error, candidate, (scale, shift)
    if ridge:
        _write(affine, *chosen, current)
    return LayerFit(name, before / power, best / power, ridge)


def _write(affine: Affine, scale: FloatArray, shift: FloatArray, current: Walker) -> None:
    """Into the weights, and into the values that the walk has computed with the old ones."""
    for key, axis in affine.scales:
        old = current.tensors[key].array()
        new = _scaled(old.astype(np.float64), axis, scale)
        if key == affine.shift:
            new = new + shift.reshape(new.shape)
        current.replace(key, new.astype(old.dtype))
    values = current.values(affine.y)
    shape = [1] * values[0].ndim
    shape[affine.axis] = -1
    current.assign(
        affine.y, [(v * scale.reshape(shape) + shift.reshape(shape)).astype(v.dtype, copy=False) for v in values]
    )


def _scaled(array: FloatArray, axis: int, scale: FloatArray) -> FloatArray:
    if axis == -2:  # inputs, outputs of a group, ...
        groups = scale.size // array.shape[1]
        blocks = array.reshape(groups, -1, *array.shape[1:])
        factors = scale.reshape(groups, 1, -1, *[1] * (array.ndim - 2))
        return np.asarray((blocks * factors).reshape(array.shape), np.float64)
    shape = [1] * array.ndim
    shape[axis] = -1
    return np.asarray(array * scale.reshape(shape), np.float64)


def _rows(value: Array, axis: int) -> FloatArray:
    """(positions, channels)"""
    return np.moveaxis(value, axis, -1).reshape(-1, value.shape[axis]).astype(np.float64)


@np.errstate(over="ignore", invalid="ignore")  # `require_finite` tells
def _spread(rows: list[FloatArray]) -> tuple[FloatArray, FloatArray]:
    """Mean and deviation of the columns, over all batches."""
    count = max(sum(len(part) for part in rows), 1)
    mean = np.asarray(sum(part.sum(axis=0) for part in rows) / count, np.float64)
    square = sum(((part - mean) ** 2).sum(axis=0) for part in rows) / count
    return mean, np.sqrt(np.asarray(square, np.float64))
