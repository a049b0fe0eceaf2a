"""Masks for a whole network: the choice, layer by layer, and the refit of what stays.

With samples layers are visited in order, as in `repair.least_squares`: the inputs of a layer are those that the network
gives which is masked and refitted so far, its targets those of the original. Then all weights that stay may be adjusted
together (`repair.reconstruct`). In several steps the share rises, and what has left stays away.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from onnxprune.capture.kept import key_of, repeated
from onnxprune.capture.samples import Samples
from onnxprune.choose.schedule import shares
from onnxprune.model.graph import Graph, build
from onnxprune.model.grids import Grid
from onnxprune.model.load import Model
from onnxprune.model.plain import declared, hoisted, lowered, stored_grids
from onnxprune.model.rounded import rounded
from onnxprune.repair.lessons import BUDGET, Effort
from onnxprune.repair.reconstruct import Reconstruction, reconstruct
from onnxprune.results import ReconstructionSummary
from onnxprune.results.progress import watched
from onnxprune.results.providers import Threads
from onnxprune.results.units import format_percent
from onnxprune.sparse.masks import Mask
from onnxprune.sparsifying.masks.errors import output_errors
from onnxprune.sparsifying.masks.layers import Candidate, candidates
from onnxprune.sparsifying.masks.registry import Method
from onnxprune.sparsifying.masks.request import checked, fitting
from onnxprune.sparsifying.masks.shares import by_error, by_magnitude, losses
from onnxprune.sparsifying.masks.types import Masked, MaskedLayer, MaskRequest
from onnxprune.sparsifying.masks.view import View
from onnxprune.sparsifying.masks.walk import Found, Task, Teacher, in_order, without_data
from onnxprune.trace.groups import Trace

Bools = NDArray[np.bool_]
ProgressFunction = Callable[[int, int], None]


def masked(
    trace: Trace,
    request: MaskRequest,
    samples: Samples | None,
    *,
    whole: tuple[Trace, Bools] | None = None,
    threads: Threads = 0,
    progress: ProgressFunction | None = None,
) -> Masked:
    """The network of `trace` with zeros as `request` says. `whole`: the trace of the original, and the units that are
    kept of it, if `trace` is that of a network cut from it; targets are then those of the original.

    Raises UsageError for what contradicts itself or needs samples that are not there.
    """
    method = checked(request, samples)
    base = hoisted(trace.graph.model, integers=False)
    model = hoisted(base) if request.integers else base
    stored = stored_grids(base).keys() - request.integers.keys()
    layers = [layer for layer in candidates(model) if layer.weight not in stored]
    fitting(request, layers)
    tasks = [_task(model, layer, request) for layer in layers if _reason(layer, request) is None]
    teacher = Teacher(*(whole or (trace, np.ones(trace.unit_count, bool))))
    run = _Run(trace, teacher, request, method, samples, threads, progress)
    found, rebuilt = [Found(task.allowed) for task in tasks], None
    for number, share in enumerate(shares(request.schedule, request.sparsity, request.steps) if tasks else []):
        model, found = run.choose(model, run.shared(model, tasks, share), number)
        tasks = [replace(task, allowed=one.keep) for task, one in zip(tasks, found, strict=True)]
        if request.repair == "reconstruct":
            base = lowered(base, model) if request.integers else base
            rebuilt = run.rebuild(model, tasks, stored_grids(base) if request.integers else {})
            model = rebuilt.model
    base = lowered(base, model) if request.integers else model
    after = run.errors(hoisted(base) if request.integers else base, tasks)
    masks = {task.layer.weight: Mask(task.allowed, task.view.layout.pattern) for task in tasks}
    by_weight = {task.layer.weight: one for task, one in zip(tasks, found, strict=True)}
    summary = tuple(_summary(layer, request, masks, by_weight, after) for layer in layers)
    named = {request.integers.get(name, name): mask for name, mask in masks.items()}
    return Masked(declared(base), named, summary, _reconstruction(rebuilt))


@dataclass(frozen=True)
class _Run:
    trace: Trace
    teacher: Teacher
    request: MaskRequest
    method: Method
    samples: Samples | None
    threads: Threads
    progress: ProgressFunction | None

    def shared(self, model: Model, tasks: Sequence[Task], share: float) -> list[Task]:
        """The tasks with what each layer loses in all, if `share` has left in all after this step."""
        done = share / self.request.sparsity if self.request.sparsity else 1.0
        free = [task for task in tasks if task.view.layout.pattern.share is None]
        each = dict.fromkeys((task.layer.weight for task in free), share)
        if self.request.scope == "global" and free:
            if self.method.needs_data and self.samples is not None:
                each = by_error(losses(self.teacher, self.trace, model, free, self.samples, self.threads), share)
            else:
                each = by_magnitude({t.layer.weight: t.view.problems(model.tensors, t.allowed) for t in free}, share)
        return [
            replace(task, share=each.get(task.layer.weight, done * (task.view.layout.pattern.share or 0.0)))
            for task in tasks
        ]

    def choose(self, model: Model, tasks: Sequence[Task], number: int) -> tuple[Model, list[Found]]:
        if self.samples is None:
            return without_data(model, tasks, self.method)

        def progress(done: int) -> None:
            if self.progress is not None:
                self.progress(number * len(tasks) + done, self.request.steps * len(tasks))

        samples, memory = self.samples, watched(self.progress).memory
        masks = [(task.layer.weight, task.allowed, task.share, repr(task.view.layout.pattern)) for task in tasks]
        asked = self.request.method, self.request.repair
        model, found = repeated(
            memory.slot("masks", key_of(memory, model, number, asked, masks)),
            model,
            lambda: in_order(
                self.teacher,
                self.trace,
                model,
                tasks,
                self.method,
                samples,
                refit=self.request.repair != "none",
                threads=self.threads,
                progress=progress,
            ),
            (Found,),
        )
        for task, one in zip(tasks, found, strict=True):
            zero, lost = (
                format_percent(1 - float(np.mean(one.keep))),
                format_percent(math.sqrt(max(one.error or 0.0, 0.0))),
            )
            watched(self.progress).say(f"{task.layer.node}: {zero} zero, held-out error {lost} before it is refitted")
        return model, found

    def rebuild(self, model: Model, tasks: Sequence[Task], grids: Mapping[str, Grid]) -> Reconstruction:
        assert self.samples is not None
        return reconstruct(
            self.teacher.trace,
            self.teacher.keep,
            model,
            self.samples.batches,
            self.samples.held_out,
            masks={task.layer.weight: task.allowed for task in tasks},
            grids=grids,
            independent=self.samples.independent,
            more=self.samples.more,
            budget=BUDGET / self.request.steps,
            seed=self.request.seed,
            effort=Effort(self.request.effort),
            threads=self.threads,
            progress=self.progress,
        )

    def errors(self, model: Model, tasks: Sequence[Task]) -> dict[str, float]:
        if self.samples is None:
            return {}
        judged = self.samples.batches[-self.samples.held_out :]
        graph = build(model)
        keys = {task.layer.weight: _given(graph, task.view.linear.y) for task in tasks}
        return output_errors(self.teacher, model, self.trace.facts.dtypes, keys, judged, self.threads)


def _given(graph: Graph, key: str) -> str:
    """What others read of a layer's output: of one that is rounded, behind its activation, what that makes of it."""
    readers = graph.consumers.get(key, ())
    node = graph.nodes[readers[0][0]] if len(readers) == 1 else None
    behind = node.outputs[0] if node is not None and node.op_type == "Relu" and node.scope == 0 else key
    found = rounded(graph, behind)
    return key if found == behind else found


def _reason(layer: Candidate, request: MaskRequest) -> str | None:
    return layer.reason or request.dense.get(layer.weight)


def _task(model: Model, layer: Candidate, request: MaskRequest) -> Task:
    assert layer.linear is not None
    pattern = layer.pattern(request.patterns.get(layer.weight, request.pattern))
    view = View.of(layer.linear, layer.shape, pattern)
    weight = model.tensors[layer.weight].array()
    return Task(layer, view, weight != 0 if request.locked else np.ones(weight.shape, bool))


def _summary(
    layer: Candidate,
    request: MaskRequest,
    masks: dict[str, Mask],
    found: dict[str, Found],
    after: dict[str, float],
) -> MaskedLayer:
    name, size = layer.weight, math.prod(layer.shape)
    in_file = request.integers.get(name, name)
    if name not in masks:
        return MaskedLayer(layer.node, in_file, request.pattern, size, size, reason=_reason(layer, request))
    mask = masks[name]
    kept = int(np.count_nonzero(mask.keep))
    return MaskedLayer(layer.node, in_file, mask.pattern, size, kept, found[name].error, after.get(name))


def _reconstruction(rebuilt: Reconstruction | None) -> ReconstructionSummary | None:
    if rebuilt is None:
        return None
    before, after = math.sqrt(rebuilt.before), math.sqrt(rebuilt.after)  # a ratio of norms, as fidelity says it
    return ReconstructionSummary(rebuilt.steps, before, after, len(rebuilt.frozen), rebuilt.reason)
