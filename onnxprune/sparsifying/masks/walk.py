"""The choice of masks layer by layer: from the weights alone, or in a walk over the samples."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxprune.capture.batches import affordable
from onnxprune.capture.features import Linear, residual_partner
from onnxprune.capture.layers import by_weights, matched, with_bias, write
from onnxprune.capture.moments import Split
from onnxprune.capture.rows import Unmatched
from onnxprune.capture.samples import Samples
from onnxprune.capture.walker import Walker
from onnxprune.model.cost import total
from onnxprune.model.graph import build
from onnxprune.model.load import Model
from onnxprune.repair.least_squares import fit_layer, fittable, with_biases
from onnxprune.repair.rectified import Clipping, clipping_behind
from onnxprune.results.providers import Threads
from onnxprune.sparsifying.masks.layers import LAYERS, Candidate
from onnxprune.sparsifying.masks.problem import Problem
from onnxprune.sparsifying.masks.refit import error, refitted, zeroed
from onnxprune.sparsifying.masks.registry import Method
from onnxprune.sparsifying.masks.view import View
from onnxprune.trace.groups import Trace

Bools = NDArray[np.bool_]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """A layer that gets a mask: what of its weight may stay (in the shape of the file), and the share that leaves."""

    layer: Candidate
    view: View
    allowed: Bools
    share: float = 0.0


@dataclass(frozen=True)
class Found:
    """The mask of one layer, in the shape of the file; the held-out error of its output with nothing else changed,
    squared and relative to the variance, None without samples."""

    keep: Bools
    error: float | None = None


@dataclass(frozen=True)
class Teacher:
    """The original, and the units of it that the network which is masked keeps."""

    trace: Trace
    keep: Bools


def without_data(model: Model, tasks: Sequence[Task], method: Method) -> tuple[Model, list[Found]]:
    """`model`, in its working form, with zeros as the method says by the weights alone."""
    tensors, found = dict(model.tensors), []
    for task in tasks:
        problems = task.view.problems(model.tensors, task.allowed)
        keep = task.view.to_file([method(problem, task.share).keep for problem in problems])
        old = model.tensors[task.layer.weight]
        tensors[task.layer.weight] = old.with_array(np.where(keep, old.array(), np.float32(0.0)))
        found.append(Found(keep))
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    return model.replace(proto, tensors), found


@dataclass(frozen=True)
class Visit:
    """A layer reached in a walk: the walk, the layer in it, its problems, and the power of what it should give."""

    task: Task
    view: View
    current: Walker
    problems: list[Problem]
    power: float


@dataclass(frozen=True)
class _Pair:
    """The original and the network that is masked, walked side by side."""

    teacher: Teacher
    original: Walker
    current: Walker
    held_out: int

    def split(self, linear: Linear, rows: bool) -> tuple[Split, Clipping | None]:
        """Moments of a layer, and the activation behind it; `rows`: with the rows if there is one that clips."""
        graph, keep = self.teacher.trace.graph, self.teacher.keep
        partner = residual_partner(graph, linear.y)
        clipping = clipping_behind(self.current.graph, partner[0] if partner else linear.y)
        split = matched(
            graph,
            linear,
            self.original,
            self.current,
            self.held_out,
            linear.node,
            lambda key, value: self.teacher.trace.kept_part(key, keep, value),
            keep_rows=rows and clipping is not None,
        )
        for part in (split.fit, split.held_out):
            part.require_finite(self.current.graph.nodes[linear.node].label)
        return split, clipping


def visits(
    teacher: Teacher,
    trace: Trace,
    model: Model,
    tasks: Sequence[Task],
    samples: Samples,
    *,
    rows: bool = False,
    others: Collection[str] = (),
    threads: Threads = 0,
) -> Iterator[Visit]:
    """The layers in order; what is written into `current` between two visits counts for those that follow. A layer
    whose rows are none, or not those of the original, is judged by its weights.

    `rows`: keep the rows where an activation follows that clips. `others`: outputs of layers without a mask that are
    refitted when the walk comes by, after the first task: their inputs have changed.
    """
    graph = teacher.trace.graph
    batches = affordable(model, total(graph, teacher.trace.facts)[0], samples.batches, samples.held_out)
    original = Walker(graph.model, batches, teacher.trace.facts.dtypes, threads)
    current = Walker(model, batches, trace.facts.dtypes, threads, as_it_is=True)
    pair, begun = _Pair(teacher, original, current, samples.held_out), False
    by_output = {task.view.linear.y: task for task in tasks}
    for node in (node for node in current.graph.nodes if node.scope == 0 and node.outputs):
        task = by_output.get(node.outputs[0])
        linear = fittable(current.graph, node) if task is not None or node.outputs[0] in others else None
        if task is not None:
            begun = True
            assert linear is not None  # as it was, or with a bias
            view = View(linear, task.view.shape, task.view.layout)
            try:
                split, clipping = pair.split(linear, rows)
            except Unmatched:
                split, clipping = by_weights(linear, current.tensors), None
            power = split.scale(with_bias(linear, current.tensors))
            yield Visit(task, view, current, view.problems(current.tensors, task.allowed, split, clipping), power)
        elif begun and linear is not None:
            with contextlib.suppress(Unmatched):
                split, clipping = pair.split(linear, True)
                fit_layer(node.label, linear, split, current, clipping)


def in_order(
    teacher: Teacher,
    trace: Trace,
    model: Model,
    tasks: Sequence[Task],
    method: Method,
    samples: Samples,
    *,
    refit: bool,
    threads: Threads = 0,
    progress: Callable[[int], None] | None = None,
) -> tuple[Model, list[Found]]:
    """The same by the samples, what stays being refitted if asked for. `trace`: of the model that is masked."""
    others: set[str] = set()
    if refit:
        graph = build(model)
        others = {node.outputs[0] for node in graph.nodes if node.scope == 0 and node.op_type in LAYERS}
        model = with_biases(model, others)
    found: list[Found] = []
    current = None
    for visit in visits(
        teacher, trace, model, tasks, samples, rows=refit or method.needs_rows, others=others, threads=threads
    ):
        problems, view = visit.problems, visit.view
        choices = [method(problem, visit.task.share) for problem in problems]
        bare = [zeroed(problem, choice) for problem, choice in zip(problems, choices, strict=True)]
        lost = sum(error(problem, weight) for problem, weight in zip(problems, bare, strict=True))
        found.append(Found(view.to_file([choice.keep for choice in choices]), float(lost) / visit.power))
        if refit:
            bare = [refitted(problem, choice) for problem, choice in zip(problems, choices, strict=True)]
        write(view.linear, view.solution(bare), visit.current, bias=refit)
        current = visit.current
        if progress is not None:
            progress(len(found))
    if current is None:
        return model, found
    return model.replace(model.proto, {name: current.tensors[name] for name in model.tensors}), found
