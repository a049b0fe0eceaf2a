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
from onnxprune.capture.kept import frozen, key_of, thawed
from onnxprune.capture.sensitivity import is_steady
from onnxprune.capture.training import Goals, Step, Weights, observer, training_step
from onnxprune.data import More
from onnxprune.model.graph import Graph, build
from onnxprune.model.grids import Grid
from onnxprune.model.load import Model
from onnxprune.model.rounded import rounded
from onnxprune.repair.course import Course, conclude
from onnxprune.repair.descent import Descent, State
from onnxprune.repair.importance import CHANNELS, Importance
from onnxprune.repair.lessons import LEAST_STEPS, USUAL, Effort, lessons
from onnxprune.repair.minibatches import LARGEST, Feeds, Minibatches, Position
from onnxprune.repair.places import Places, aligned, judged_places, target_places
from onnxprune.repair.stored import NOT_ON_GRIDS, Stored
from onnxprune.repair.teacher import Divided, Outputs, Teacher
from onnxprune.repair.whiten import coordinates
from onnxprune.results.kept.memory import NOTHING, Memory, Slot
from onnxprune.results.progress import Watch, watched
from onnxprune.results.providers import Threads, count, counted
from onnxprune.trace.groups import Trace

Array = NDArray[Any]
Bools = NDArray[np.bool_]
LAYERS = frozenset(CHANNELS)
AFFINE = frozenset({"BatchNormalization", "LayerNormalization", "InstanceNormalization", "GroupNormalization"})
RATE = 0.007  # for the largest batch; in proportion less for smaller ones, whose gradients are noisier
FIRST = 10  # minibatches whose loss is that of the start
ENDED = "the run was ended before its first step"
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
    more: More | None = None,
    seed: int = 0,
    threads: Threads = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Reconstruction:
    """Adjust the weights of `cut`, which keeps the units `keep` (units,); the last `held_out` batches judge.

    `masks`: by initializer, which of its weights stay, in its shape; the others are zero after every step.
    `grids`: by initializer, the grid on which it will be stored: it is trained and judged as it is there, and returned
    so unless there is nothing to train. `divided`: values of `cut` whose channels are smaller than the original's, and
    by what.
    `independent`: rows of the inputs are samples, each by itself; if not, there is nothing to draw from.
    `budget`: multiply-accumulates that it may take, see `lessons.BUDGET`.
    `threads` shards run side by side (0: as many as there are cores), each on its provider; their number does not
    change the result.
    """
    found = lessons(trace, cut, batches, held_out, independent, budget, effort, more)
    if isinstance(found, str):
        return Reconstruction(cut, 0.0, 0.0, 0, {}, found)
    watch, steps = watched(progress), found[2]
    key = key_of(watch.memory, cut, keep, masks, grids, divided, steps, seed, found[0].batch)
    kept = watch.memory.slot("reconstruction", key)
    known = kept.load()
    if known is not None:
        model, *figures = known[0]
        return Reconstruction(thawed(model, cut), *figures)
    if watch.ended:
        watch.shorten(0, steps)
        return Reconstruction(cut, 0.0, 0.0, 0, {}, ENDED)
    made = _reconstructed(trace, keep, cut, found, masks or {}, grids or {}, divided or {}, seed, threads, watch, key)
    if not watch.ended:
        figures = [made.before, made.after, made.steps, dict(made.frozen), made.reason]
        kept.put((frozen(made.model, cut), *figures), instead_of=watch.memory.slot("steps", key))
    return made


def _reconstructed(
    trace: Trace,
    keep: Bools,
    cut: Model,
    found: tuple[Minibatches, Feeds, int],
    masks: Mapping[str, Bools],
    grids: Mapping[str, Grid],
    divided: Divided,
    seed: int,
    threads: Threads,
    watch: Watch,
    key: str,
) -> Reconstruction:
    """See `reconstruct`; what is `found` to learn from. `key`: of all that the result depends on."""
    samples, example, steps = found
    graph = build(cut)
    names = _weights(graph)
    places, judges = (aligned(trace, graph, p) for p in (_places(trace, keep, graph), judged_places(trace, keep)))
    if not places or not names:
        return Reconstruction(cut, 0.0, 0.0, 0, {}, _untrainable(graph))
    if not judges:
        return Reconstruction(cut, 0.0, 0.0, 0, {}, UNSTEADY)
    one = counted(threads, 1)
    importance = Importance.measured(trace, samples.fitted(), one)
    targets, teacher = _taught(trace, keep, graph, places, importance, example, divided, one)
    if not targets:
        return Reconstruction(cut, 0.0, 0.0, 0, {}, _untrainable(graph))
    goals, outputs = teacher(example), Outputs(trace, keep, judges, samples, threads)
    if not outputs.finite or not all(np.isfinite(value).all() for value in goals.targets):
        return Reconstruction(cut, 0.0, 0.0, 0, {}, "the original gives NaN or infinity on the samples")
    step = _training_step(graph, example, names, targets, goals, one)
    weights: Weights = {name: cut.tensors[name].array().astype(np.float32) for name in step.weights}
    stored = Stored(grids)
    cut, run = stored.rest(cut, weights), _Run(samples, teacher, step, graph, masks, stored)
    judge = _Judge(cut, run, outputs)
    before = judge.of(weights, watch.memory, key)
    start = {name: array.copy() for name, array in weights.items()}
    course = Course(watch, judge.briefly, weights, steps, samples.batch)
    steps = run.train(weights, steps, seed, threads, course, watch.memory, key)
    best = _shortened(judge, start, weights)
    conclude(watch, steps, before.outputs, best.outputs if best.better_than(before) else before.outputs)
    if not best.better_than(before):
        error, model = before.outputs, before.model if grids else cut
        return Reconstruction(model, error, error, 0, step.frozen, "it did not make held-out samples better")
    return Reconstruction(best.model, before.outputs, best.outputs, steps, step.frozen)


def _training_step(
    graph: Graph, example: Feeds, names: list[str], targets: list[str], goals: Goals, threads: Threads
) -> Step:
    """Errors of `targets` count relative to how much the `goals` of one feed vary."""
    variances = [max(float(np.var(value)), 1e-12) for value in goals.targets]
    weighted = {k: weight.shape for k, weight in goals.weights.items()}
    return training_step(graph, example, names, targets, variances, threads, weighted=weighted)


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
    threads: Threads,
) -> tuple[list[str], Teacher]:
    """The targets that both networks have in one shape, and their teacher: a rank may depend on how many samples there
    are.
    """
    factors = {key: divided[given] for given, key in places.items() if given in divided}
    teacher = Teacher(trace, keep, list(places.values()), importance, factors, threads)
    values = observer(graph.model, list(places), threads).run(None, example)
    pairs = zip(places, values, teacher(example).targets, strict=True)
    targets = [key for key, value, goal in pairs if value.shape == goal.shape]
    if 0 < len(targets) < len(places):
        teacher = Teacher(trace, keep, [places[key] for key in targets], importance, factors, threads)
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
    outputs: Outputs

    def of(self, weights: Weights, memory: Memory = NOTHING, key: str = "") -> _Judged:
        stored = self.run.stored.of(weights)
        model = self._model(stored)
        errors = memory.call("judged", key, lambda: (self.run.judge(stored), self.outputs.error(model)))
        return _Judged(model, *errors)

    def briefly(self, weights: Weights, samples: int) -> float:
        """The error of the outputs on so many samples, or a few more."""
        return self.outputs.error(self._model(self.run.stored.of(weights)), -(-samples // self.run.samples.size))

    def _model(self, stored: Weights) -> Model:
        tensors = dict(self.cut.tensors)
        tensors |= {name: tensors[name].with_array(array) for name, array in stored.items()}
        return self.cut.replace(self.cut.proto, tensors)


@dataclass(frozen=True)
class _Run:
    samples: Minibatches
    teacher: Teacher
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
        self,
        weights: Weights,
        steps: int,
        seed: int,
        threads: Threads,
        course: Course | None,
        memory: Memory = NOTHING,
        key: str = "",
    ) -> int:
        """`steps` steps, in place, unless it is ended; how many there were. It goes on from where an earlier run was
        that had the `key`.
        """
        names, seen = self.step.weights, dict(weights)
        rate = RATE * self.samples.batch / LARGEST
        found = coordinates(self.graph, names, self.samples.fitted(), memory, key, threads=counted(threads, 1))
        descent, slot = Descent(names, found, rate, self.masks), memory.slot("steps", key)
        after = _state(slot)
        if after is None:
            first = itertools.islice(self.samples.steps(seed + 1, steps), FIRST)
            start = self.stored.of(weights)
            at_start = float(np.mean([self._loss(feeds, start) for shards in first for feeds in shards]))
        else:
            at_start = after.at_start
            if course is not None:
                course.goes_on(after.number)

        def gradients(feeds: Feeds) -> tuple[float, Sequence[NDArray[np.float32]]]:
            loss, slopes = self.step.run(feeds, self.teacher(feeds), seen)
            return loss, self.stored.slopes(names, slopes, weights, seen)

        def keep(state: Callable[[], State]) -> None:
            if slot.due:
                slot.put(state())

        return descent.run(
            weights,
            self.samples.steps(seed, steps, None if after is None else after.position),
            gradients,
            steps,
            at_start,
            least=LEAST_STEPS,
            threads=count(threads) or os.cpu_count() or 1,
            progress=course,
            ended=lambda: course is not None and course.ended,
            changed=lambda: seen.update(self.stored.of(weights)),
            after=after,
            kept=keep,
        )


def _state(slot: Slot) -> State | None:
    """Where an earlier run was."""
    found = slot.load((State, Position))
    return None if found is None else found[0]
