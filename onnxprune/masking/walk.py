"""The choice of masks layer by layer: from the weights alone, or in a walk over the samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxprune.capture.batches import affordable
from onnxprune.capture.features import linear_layer, residual_partner
from onnxprune.capture.layers import matched, write
from onnxprune.capture.moments import Split
from onnxprune.capture.walker import Walker
from onnxprune.masking.layers import Candidate
from onnxprune.masking.problem import Choice, Problem
from onnxprune.masking.refit import error, refitted, zeroed
from onnxprune.masking.registry import Method
from onnxprune.masking.view import View
from onnxprune.model.cost import total
from onnxprune.model.load import Model
from onnxprune.repair.least_squares import LEAST, with_biases
from onnxprune.repair.rectified import clipping_behind
from onnxprune.samples import Samples
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


def in_order(
    teacher: Teacher,
    trace: Trace,
    model: Model,
    tasks: Sequence[Task],
    method: Method,
    samples: Samples,
    *,
    refit: bool,
    threads: int = 0,
    progress: Callable[[int], None] | None = None,
) -> tuple[Model, list[Found]]:
    """The same by the samples, what stays being refitted if asked for. `trace`: of the model that is masked."""
    graph = teacher.trace.graph
    if refit:
        model = with_biases(model, {task.view.linear.y for task in tasks})
    batches = affordable(model, total(graph, teacher.trace.facts)[0], samples.batches, samples.held_out)
    original = Walker(graph.model, batches, teacher.trace.facts.dtypes, threads)
    current = Walker(model, batches, trace.facts.dtypes, threads)
    found = []
    for number, task in enumerate(tasks):
        linear = linear_layer(current.graph, current.graph.nodes[current.graph.producer[task.view.linear.y]])
        assert linear is not None  # as it was, or with a bias
        view = View(linear, task.view.shape, task.view.layout)
        partner = residual_partner(graph, linear.y)
        clipping = clipping_behind(current.graph, partner[0] if partner else linear.y)
        split = matched(
            graph,
            linear,
            original,
            current,
            samples.held_out,
            linear.node,
            lambda key, value: teacher.trace.kept_part(key, teacher.keep, value),
            keep_rows=clipping is not None and method.needs_rows,
        )
        problems = view.problems(current.tensors, task.allowed, split, clipping)
        choices = [method(problem, task.share) for problem in problems]
        keep = view.to_file([choice.keep for choice in choices])
        found.append(Found(keep, _error(problems, choices, split)))
        weights = [
            refitted(problem, choice) if refit else zeroed(problem, choice)
            for problem, choice in zip(problems, choices, strict=True)
        ]
        write(linear, view.solution(weights), current, bias=refit)
        if progress is not None:
            progress(number + 1)
    tensors = {name: current.tensors[name] for name in model.tensors}
    return model.replace(model.proto, tensors), found


def _error(problems: Sequence[Problem], choices: Sequence[Choice], split: Split) -> float:
    power = max(split.held_out.power, LEAST * split.fit.power, 1e-30)
    return float(sum(error(p, zeroed(p, c)) for p, c in zip(problems, choices, strict=True))) / power
