"""Reconstruction: all remaining weights are adjusted together until every layer gives what it gave in the original.

Least squares solves one layer at a time; what a layer cannot make up for is passed on. Here the loss is the mean, over
the outputs y_k of all layers with weights, of their squared error relative to the variance v_k in the original,

    L = 1/K sum_k w_k |y_k - t_k|^2 / v_k,

on unlabelled samples, minimised by Adam in whitened coordinates (`whiten`), with longer steps for layers that the
samples say more of, and shorter ones where they lead uphill (`descent`). Positions count as much as the outputs depend
on them: w_k (`importance`). Images are varied, the more the more often they come (`augment`). Matching what is inside,
not only the outputs, is what lets a hundred samples suffice (FitNets, ICLR 2015; Li et al., Few Sample Knowledge
Distillation, CVPR 2020; MiR, ECCV 2022).
The gradients are ONNX nodes that ONNX Runtime runs.

On held-out samples the loss and the outputs must have become better, by all of the change or a part of it, or the
weights stay as they were. What it may cost is a number of multiply-accumulates, not a time, so that the result does not
depend on the machine.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from onnxprune.capture.features import residual_partner
from onnxprune.capture.sensitivity import is_steady
from onnxprune.capture.training import Goals, Step, Weights, observer, training_step
from onnxprune.data import Calibration
from onnxprune.model.graph import Graph, build
from onnxprune.model.grids import Grid
from onnxprune.model.load import Model
from onnxprune.model.rounded import rounded
from onnxprune.repair.descent import Descent
from onnxprune.repair.importance import CHANNELS, Importance
from onnxprune.repair.lessons import LEAST_STEPS, USUAL, Effort, lessons
from onnxprune.repair.minibatches import LARGEST, Feeds, Minibatches
from onnxprune.repair.places import Places, aligned, judged_places, target_places
from onnxprune.repair.stored import NOT_ON_GRIDS, Stored
from onnxprune.repair.whiten import coordinates
from onnxprune.trace.groups import Trace

Array = NDArray[Any]
Bools = NDArray[np.bool_]
Divided = Mapping[str, NDArray[np.float64]]
"""By value, numbers of its channels (axis 1)."""
LAYERS = frozenset(CHANNELS)
AFFINE = frozenset({"BatchNormalization", "LayerNormalization", "InstanceNormalization", "GroupNormalization"})
RATE = 0.007  # for the largest batch; in proportion less for smaller ones, whose gradients are noisier
FIRST = 10  # minibatches whose loss is that of the start
SHARES_OF_WAY = (0.75, 0.5, 0.25)  # of what training changed
UNSTEADY = "how many rows the outputs have depends on what the inputs hold: there is nothing to compare"


@dataclass(frozen=True)
class Reconstruction:
    """`before` and `after`: relative error of the outputs on the held-out samples. `steps` 0 and a `reason`: `model` is
    the one that was given. `frozen`: weights that no gradient reaches, and why."""

    model: Model
    before: float
    after: float
    steps: int
    frozen: Mapping[str, str]
    reason: str | None = None


def reconstruct(
    trace: Trace,
    keep: Bools,
    cut: Model,
    batches: Sequence[Feeds],
    held_out: int,
    *,
    masks: Mapping[str, Bools] | None = None,
    grids: Mapping[str, Grid] | None = None,
    divided: Divided | None = None,
    independent: bool = True,
    budget: float | None = None,
    effort: Effort = USUAL,
    more: Calibration | None = None,
    seed: int = 0,
    threads: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Reconstruction:
    """Adjust the weights of `cut`, which keeps the units `keep` (units,); the last `held_out` batches judge.

    `masks`: by initializer, which of its weights stay, in its shape; the others are zero after every step.
    `grids`: by initializer, the grid on which it will be stored: it is trained and judged as it is there, and returned
    so unless there is nothing to train. `divided`: values of `cut` whose channels are smaller than the original's, and
    by what.
    `independent`: rows of the inputs are samples, each by itself; if not, there is nothing to draw from.
    `budget`: multiply-accumulates that it may take, see `lessons.BUDGET`. `more`: samples to fit of the same shapes,
    which are too many to be held and are read when they are needed.
    `threads` shards run side by side (0: as many as there are cores); their number does not change the result.
    """
    found = lessons(trace, cut, batches, held_out, independent, budget, effort, more)
    if isinstance(found, str):
        return Reconstruction(cut, 0.0, 0.0, 0, {}, found)
    samples, example, steps = found
    graph = build(cut)
    names = _weights(graph)
    places, judges = (aligned(trace, graph, p) for p in (_places(trace, keep, graph), judged_places(trace, keep)))
    if not places or not names:
        return Reconstruction(cut, 0.0, 0.0, 0, {}, _untrainable(graph))
    if not judges:
        return Reconstruction(cut, 0.0, 0.0, 0, {}, UNSTEADY)
    importance = Importance.measured(trace, samples.fitted(), threads=1)
    targets, teacher = _taught(trace, keep, graph, places, importance, example, divided or {})
    if not targets:
        return Reconstruction(cut, 0.0, 0.0, 0, {}, _untrainable(graph))
    goals, outputs = teacher(example), _Outputs(trace, keep, judges, samples)
    if not outputs.finite or not all(np.isfinite(value).all() for value in goals.targets):
        return Reconstruction(cut, 0.0, 0.0, 0, {}, "the original gives NaN or infinity on the samples")
    step = _training_step(graph, example, names, targets, goals)
    weights: Weights = {name: cut.tensors[name].array().astype(np.float32) for name in step.weights}
    stored = Stored(grids or {})
    cut, run = stored.rest(cut, weights), _Run(samples, teacher, step, graph, masks or {}, stored)
    judge = _Judge(cut, run, outputs)
    before = judge.of(weights)
    start = {name: array.copy() for name, array in weights.items()}
    run.train(weights, steps, seed, threads or os.cpu_count() or 1, progress)
    best = _shortened(judge, start, weights)
    if not best.better_than(before):
        error, model = before.outputs, before.model if grids else cut
        return Reconstruction(model, error, error, 0, step.frozen, "it did not make held-out samples better")
    return Reconstruction(best.model, before.outputs, best.outputs, steps, step.frozen)


def _training_step(graph: Graph, example: Feeds, names: list[str], targets: list[str], goals: Goals) -> Step:
    """Errors of `targets` count relative to how much the `goals` of one feed vary."""
    variances = [max(float(np.var(value)), 1e-12) for value in goals.targets]
    weighted = {k: weight.shape for k, weight in goals.weights.items()}
    return training_step(graph, example, names, targets, variances, threads=1, weighted=weighted)


def _shortened(judge: _Judge, start: Weights, end: Weights) -> _Judged:
    """The end of the training or, as long as that makes the held-out outputs better, a point on the way there.

    Where samples are few, the last part of the way fits what only they have.
    """
    best = judge.of(end)
    for share in SHARES_OF_WAY:
        point = judge.of({name: start[name] + np.float32(share) * (end[name] - start[name]) for name in start})
        if point.outputs >= best.outputs:
            break
        best = point
    return best


def _untrainable(graph: Graph) -> str:
    """Why no layer is trained."""
    weights = [graph.model.tensors.get(n.inputs[1]) for n in graph.nodes if n.op_type in LAYERS and not n.domain]
    types = sorted({TensorProto.DataType.Name(t.dtype).lower() for t in weights if t is not None} - {"float"})
    return f"weights are {' and '.join(types)}, and only float is trained" if types else "nothing to train"


def _places(trace: Trace, keep: Bools, graph: Graph) -> Places:
    """`_targets`, and what they are to become."""
    layers = _targets(trace, graph)
    return target_places(trace, keep, layers) if trace.removed_sums(keep) else dict(zip(layers, layers, strict=True))


def _targets(trace: Trace, graph: Graph) -> list[str]:
    """Outputs of the layers with weights, with the shortcut where one is added, that both networks have."""
    found: dict[str, None] = {}
    for node in graph.nodes:
        if node.scope == 0 and not node.domain and node.op_type in LAYERS and node.inputs[1] in graph.constants:
            partner = residual_partner(graph, node.outputs[0])
            key = partner[0] if partner else node.outputs[0]
            if key not in trace.graph.producer:  # an output, which is rounded to what the network gives
                key = rounded(graph, key)
            floats = key in trace.graph.producer and trace.facts.dtypes.get(key) == TensorProto.FLOAT
            if floats and is_steady(trace, key):
                found[key] = None
    return list(found)


def _taught(
    trace: Trace,
    keep: Bools,
    graph: Graph,
    places: Mapping[str, str],
    importance: Importance | None,
    example: Feeds,
    divided: Divided,
) -> tuple[list[str], _Teacher]:
    """The targets that both networks have in one shape, and their teacher: a rank may depend on how many samples there
    are.
    """
    factors = {key: divided[given] for given, key in places.items() if given in divided}
    teacher = _Teacher(trace, keep, list(places.values()), importance, factors)
    values = observer(graph.model, list(places), threads=1).run(None, example)
    pairs = zip(places, values, teacher(example).targets, strict=True)
    targets = [key for key, value, goal in pairs if value.shape == goal.shape]
    if 0 < len(targets) < len(places):
        teacher = _Teacher(trace, keep, [places[key] for key in targets], importance, factors)
    return targets, teacher


def _weights(graph: Graph) -> list[str]:
    """Float32 initializers that are weights, biases, or scales of normalisations."""
    found: dict[str, None] = {}
    for node in graph.nodes:
        if node.domain or not (node.op_type in LAYERS or node.op_type in AFFINE or node.op_type == "Add"):
            continue
        for key in node.inputs if node.op_type == "Add" else node.inputs[1:3]:
            tensor = graph.model.tensors.get(key)
            if tensor is not None and tensor.dtype == TensorProto.FLOAT and math.prod(tensor.shape) > 1:
                found[key] = None
    return list(found)


class _Teacher:
    """What the original gives at some values, as far as the cut network has them, and what its positions count.
    `divided`: by value, by what its channels are to be divided.
    """

    def __init__(
        self,
        trace: Trace,
        keep: Bools,
        keys: Sequence[str],
        importance: Importance | None = None,
        divided: Divided | None = None,
    ) -> None:
        self._trace, self._keep, self._keys, self._importance = trace, keep, keys, importance
        self._divided = divided or {}
        self._session = observer(trace.graph.model, keys, threads=1)

    def __call__(self, feeds: Feeds) -> Goals:
        values = self._session.run(None, feeds)
        targets = [self._trace.kept_part(key, self._keep, v) for key, v in zip(self._keys, values, strict=True)]
        for k, key in enumerate(self._keys):
            if key in self._divided:
                targets[k] = targets[k] / self._divided[key].reshape(-1, *[1] * (targets[k].ndim - 2)).astype(
                    np.float32
                )
        weights = self._importance.of(feeds) if self._importance else {}
        return Goals(targets, {k: weights[key] for k, key in enumerate(self._keys) if key in weights})


class _Outputs:
    """Relative error of the outputs (see `sensitivity.judged`) on the held-out samples, all positions alike."""

    def __init__(self, trace: Trace, keep: Bools, places: Mapping[str, str], samples: Minibatches) -> None:
        self._keys = list(places)
        teacher = _Teacher(trace, keep, list(places.values()))
        self._feeds = samples.judged()
        self._wanted = [teacher(feeds).targets for feeds in self._feeds]
        self.finite = all(np.isfinite(value).all() for values in self._wanted for value in values)

    def error(self, model: Model) -> float:
        session = observer(model, self._keys)
        found = [session.run(None, feeds) for feeds in self._feeds]
        worst = 0.0
        for k in range(len(self._keys)):
            wanted = np.concatenate([w[k].ravel() for w in self._wanted]).astype(np.float64)
            got = np.concatenate([f[k].ravel() for f in found]).astype(np.float64)
            worst += float(np.mean((got - wanted) ** 2) / max(np.var(wanted), 1e-12)) / len(self._keys)
        return worst


@dataclass(frozen=True)
class _Judged:
    """A model with its loss, and the relative error of its outputs, on the held-out samples."""

    model: Model
    loss: float
    outputs: float

    def better_than(self, other: _Judged) -> bool:
        return self.loss < other.loss and self.outputs <= other.outputs


@dataclass(frozen=True)
class _Judge:
    cut: Model
    run: _Run
    outputs: _Outputs

    def of(self, weights: Weights) -> _Judged:
        stored, tensors = self.run.stored.of(weights), dict(self.cut.tensors)
        tensors |= {name: tensors[name].with_array(array) for name, array in stored.items()}
        model = self.cut.replace(self.cut.proto, tensors)
        return _Judged(model, self.run.judge(stored), self.outputs.error(model))


@dataclass(frozen=True)
class _Run:
    samples: Minibatches
    teacher: _Teacher
    step: Step
    graph: Graph
    masks: Mapping[str, Bools]
    stored: Stored = NOT_ON_GRIDS

    def judge(self, weights: Weights) -> float:
        """The loss on held-out samples."""
        return float(np.mean([self._loss(feeds, weights) for feeds in self.samples.judged()]))

    def _loss(self, feeds: Feeds, weights: Weights) -> float:
        return self.step.loss(feeds, self.teacher(feeds), weights)

    def train(
        self, weights: Weights, steps: int, seed: int, threads: int, progress: Callable[[int, int], None] | None
    ) -> None:
        """`steps` steps, in place."""
        names, seen = self.step.weights, dict(weights)
        rate = RATE * self.samples.batch / LARGEST
        descent = Descent(names, coordinates(self.graph, names, self.samples.fitted()), rate, self.masks)
        first = itertools.islice(self.samples.steps(seed + 1, steps), FIRST)
        start = self.stored.of(weights)
        at_start = np.mean([self._loss(feeds, start) for shards in first for feeds in shards])

        def gradients(feeds: Feeds) -> tuple[float, Sequence[NDArray[np.float32]]]:
            loss, slopes = self.step.run(feeds, self.teacher(feeds), seen)
            return loss, self.stored.slopes(names, slopes, weights, seen)

        descent.run(
            weights,
            self.samples.steps(seed, steps),
            gradients,
            steps,
            float(at_start),
            least=LEAST_STEPS,
            threads=threads,
            progress=progress,
            changed=lambda: seen.update(self.stored.of(weights)),
        )
