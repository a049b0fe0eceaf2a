"""Reconstruction: all remaining weights are adjusted together until every layer gives what it gave in the original.

Least squares solves one layer at a time; what a layer cannot make up for is passed on. Here the loss is the mean, over
the outputs y_k of all layers with weights, of their squared error relative to the variance v_k in the original,

    L = 1/K sum_k |y_k - t_k|^2 / v_k,

on unlabelled samples, minimised by Adam. Matching what is inside, not only the outputs, is what lets a hundred samples
suffice (FitNets, ICLR 2015; Li et al., Few Sample Knowledge Distillation, CVPR 2020; MiR, ECCV 2022). The gradients are
ONNX nodes that ONNX Runtime runs.

On held-out samples the loss and the outputs must have become better, or the weights stay as they were. What it may
cost is a number of multiply-accumulates, not a time, so that the result does not depend on the machine.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from onnxprune.capture.features import residual_partner
from onnxprune.capture.shapes import concrete_shapes
from onnxprune.capture.training import Step, Weights, observer, training_step
from onnxprune.data.specs import input_specs
from onnxprune.model.cost import total
from onnxprune.model.graph import Graph, build
from onnxprune.model.infer import Facts
from onnxprune.model.load import Model
from onnxprune.repair.adam import Adam
from onnxprune.repair.minibatches import LARGEST, Feeds, Minibatches
from onnxprune.repair.places import judged_places, target_places
from onnxprune.trace.groups import Trace

Array = NDArray[Any]
Bools = NDArray[np.bool_]
LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
AFFINE = frozenset({"BatchNormalization", "LayerNormalization", "InstanceNormalization", "GroupNormalization"})
BUDGET = 1.5e12  # multiply-accumulates
MOST_EPOCHS, LEAST_STEPS = 40, 40
RATE = 0.01  # for the largest batch; in proportion less for smaller ones, whose gradients are noisier
LARGEST_MODEL = 1 << 30


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
    budget: float = BUDGET,
    seed: int = 0,
    threads: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Reconstruction:
    """Adjust the weights of `cut`, which keeps the units `keep` (units,); the last `held_out` batches judge.

    `masks`: by initializer, which of its weights stay, in its shape; the others are zero after every step.
    `threads` shards run side by side (0: as many as there are cores); their number does not change the result.
    """
    refused = _refusal(trace, cut, batches, held_out)
    if isinstance(refused, str):
        return Reconstruction(cut, 0.0, 0.0, 0, {}, refused)
    samples, graph = refused, build(cut)
    layers, names = _targets(trace, graph), _weights(graph)
    places = target_places(trace, keep, layers) if trace.removed_sums(keep) else dict(zip(layers, layers, strict=True))
    targets = list(places)
    example = samples.take(np.arange(samples.size))
    steps = _steps(samples, trace.graph.model, cut, example, budget)
    if steps < LEAST_STEPS or not targets or not names:
        reason = (
            f"it would take more than {budget:.1e} multiply-accumulates" if targets and names else "nothing to train"
        )
        return Reconstruction(cut, 0.0, 0.0, 0, {}, reason)
    teacher = _Teacher(trace, keep, list(places.values()))
    variances = [max(float(np.var(value)), 1e-12) for value in teacher(example)]
    step = training_step(graph, example, names, targets, variances, threads=1)
    weights: Weights = {name: cut.tensors[name].array().astype(np.float32) for name in step.weights}
    run = _Run(samples, teacher, step, masks or {})
    before, outside = run.judge(weights), _Outputs(trace, keep, samples)
    error = outside.error(cut)
    run.train(weights, steps, seed, threads or os.cpu_count() or 1, progress)
    tensors = dict(cut.tensors) | {name: cut.tensors[name].with_array(array) for name, array in weights.items()}
    better = cut.replace(cut.proto, tensors)
    after, found = run.judge(weights), outside.error(better)
    if not (after < before and found <= error):
        return Reconstruction(cut, error, error, 0, step.frozen, "it did not make held-out samples better")
    return Reconstruction(better, error, found, steps, step.frozen)


def _refusal(trace: Trace, cut: Model, batches: Sequence[Feeds], held_out: int) -> Minibatches | str:
    if max(cut.size_bytes, trace.graph.model.size_bytes) > LARGEST_MODEL:
        return "the model is too large to be trained in one piece"
    fixed = not all(spec.batched for spec in input_specs(trace.graph.model))
    samples = Minibatches.of(batches, held_out, fixed=fixed)
    return "the samples differ in shape, or are too few" if samples is None else samples


def _steps(samples: Minibatches, original: Model, cut: Model, example: Feeds, budget: float) -> int:
    """What the budget allows: a step is one pass of the original, and a forward and a backward pass of the cut one."""
    passes = []
    for model in (original, cut):
        shapes, types = concrete_shapes(model.complete_proto(), example)
        passes.append(total(build(model), Facts({**shapes}, types))[0])
    one = samples.count * (passes[0] + 3 * passes[1])
    return int(min(budget / max(one, 1), MOST_EPOCHS * samples.steps_per_epoch))


def _targets(trace: Trace, graph: Graph) -> list[str]:
    """Outputs of the layers with weights, with the shortcut where one is added, that both networks have."""
    found: dict[str, None] = {}
    for node in graph.nodes:
        if node.scope == 0 and not node.domain and node.op_type in LAYERS and node.inputs[1] in graph.constants:
            partner = residual_partner(graph, node.outputs[0])
            key = partner[0] if partner else node.outputs[0]
            if key in trace.graph.producer and trace.facts.dtypes.get(key) == TensorProto.FLOAT:
                found[key] = None
    return list(found)


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
    """What the original gives at some values, as far as the cut network has them."""

    def __init__(self, trace: Trace, keep: Bools, keys: Sequence[str]) -> None:
        self._trace, self._keep, self._keys = trace, keep, keys
        self._session = observer(trace.graph.model, keys, threads=1)

    def __call__(self, feeds: Feeds) -> list[Array]:
        values = self._session.run(None, feeds)
        return [self._trace.kept_part(key, self._keep, v) for key, v in zip(self._keys, values, strict=True)]


class _Outputs:
    """Relative error of the outputs (see `sensitivity.judged`) on the held-out samples."""

    def __init__(self, trace: Trace, keep: Bools, samples: Minibatches) -> None:
        places = judged_places(trace, keep)
        self._keys = list(places)
        teacher = _Teacher(trace, keep, list(places.values()))
        self._feeds = samples.judged()
        self._wanted = [teacher(feeds) for feeds in self._feeds]

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
class _Run:
    samples: Minibatches
    teacher: _Teacher
    step: Step
    masks: Mapping[str, Bools]

    def judge(self, weights: Weights) -> float:
        """The loss on held-out samples."""
        return float(np.mean([self.step.loss(feeds, self.teacher(feeds), weights) for feeds in self.samples.judged()]))

    def train(
        self, weights: Weights, steps: int, seed: int, threads: int, progress: Callable[[int, int], None] | None
    ) -> None:
        """`steps` steps, in place."""
        names, rate = self.step.weights, RATE * self.samples.batch / LARGEST
        adam = Adam([weights[name] for name in names], rate, steps, [self.masks.get(name) for name in names])

        def gradients(feeds: Feeds) -> list[NDArray[np.float32]]:
            return self.step.run(feeds, self.teacher(feeds), weights)[1]

        with ThreadPoolExecutor(min(self.samples.count, threads)) as pool:
            for number, shards in enumerate(itertools.islice(self.samples.steps(seed), steps)):
                parts = list(pool.map(gradients, shards))
                adam.step([sum(found[1:], found[0]) / len(found) for found in zip(*parts, strict=True)])
                if progress is not None:
                    progress(number + 1, steps)
