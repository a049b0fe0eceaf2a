"""Calibration samples as the stages take them: batches, the held-out ones last, and no more than memory allows.

Walking keeps the live values of every sample, so memory grows with their number. What one sample takes is estimated
from the shapes: the largest set of values that are alive together, once for the original and once for the network that
is being refitted, and twice the largest value for what is computed from them in between. Independent of the samples are
the weights, the second moments of the largest layer, and what the runtime needs for a batch.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from onnxprune.capture.batches import first_samples
from onnxprune.capture.features import Linear, linear_layer
from onnxprune.capture.independence import HELD_OUT, arranged
from onnxprune.capture.shapes import measured_shapes
from onnxprune.data import Calibration, More, open_data
from onnxprune.data.specs import expected, input_specs
from onnxprune.errors import DataError, UsageError
from onnxprune.model.graph import Graph
from onnxprune.model.infer import Facts, infer
from onnxprune.model.load import Model
from onnxprune.model.plain import shape_of
from onnxprune.model.sizes import sizes_of
from onnxprune.results.units import format_bytes, parse_bytes, plural
from onnxprune.trace import Trace, trace_model

Array = NDArray[Any]
BATCH_BYTES, MOST_PER_BATCH = 64 << 20, 64
LEAST = 2
COMPARED = 2  # samples of a proof
MEASURED = 8  # samples that are run to measure sizes, until none is empty
DEPENDENT = (
    "the model does not treat rows of its inputs one by one (the first axis may be time): they are run as a whole, the "
    "last ones held out"
)
MOMENTS = 8
"""Matrices of features x features that are at hand at once: moments of a few layers, and their inverses."""


@dataclass(frozen=True)
class Samples:
    """`batches` are feeds of the model, the last `held_out` of them held out. `memory_bytes` is the estimate for all.

    `independent`: every row is a sample; otherwise a batch is run as a whole only (`independence.py`). `notes` say what
    was left out.
    """

    batches: list[dict[str, Array]]
    held_out: int
    fit_samples: int
    held_out_samples: int
    source: str
    memory_bytes: int
    notes: tuple[str, ...] = ()
    independent: bool = True
    more: More | None = None

    def few(self, model: Model, count: int = COMPARED) -> dict[str, Array]:
        """A feed of the `model` with a few samples, of those that are held out; all of them if they belong together."""
        held_out = self.batches[-self.held_out :]
        return first_samples(model, held_out, count)[0] if self.independent else held_out[0]

    @property
    def count(self) -> int:
        """Different samples: a single one is both fitted and held out."""
        return max(self.fit_samples + self.held_out_samples, 1)


def traced_for(
    model: Model,
    data: Any,
    preprocess: str | None = None,
    samples: int | None = None,
    seed: int = 0,
    *,
    units: str = "channels",
) -> tuple[Trace, Calibration | None]:
    """The trace of a model for the sizes that its samples have, and the samples; for the usual sizes without `data`.

    Raises what `opened_data` raises.
    """
    if data is None:
        return trace_model(model, units=units), None
    found = opened_data(data, model, preprocess, samples, seed)
    sizes = sizes_of(model, _largest(found))
    known = {name: size for name, size in sizes.items() if size != 1}  # an axis of size 1 tells little: it broadcasts
    trace = trace_model(model, units=units, sizes=known)
    trace.facts.measured = _measured(trace, found)
    return trace, found


def _measured(trace: Trace, data: Calibration) -> dict[str, tuple[int, ...]]:
    """Sizes that are known only in a run: of the first sample, or of the first one in which nothing is empty, of which
    a layer behind it would cost nothing.
    """
    first: dict[str, tuple[int, ...]] | None = None
    for batch in islice(data.batches(1), MEASURED):
        shapes = measured_shapes(trace.graph, trace.facts, batch)
        if not any(0 in shape for shape in shapes.values()):
            return shapes
        first = first or shapes
    return first or {}


def open_samples(
    data: Any,
    trace: Trace,
    *,
    samples: int | None = None,
    max_memory: str | int = "4GB",
    seed: int = 0,
) -> Samples:
    """Open `data` (see `onnxprune.data.open_data`; or a Calibration) for the traced model.

    Raises UsageError for wrong options and missing paths, DataError for data that does not fit.
    """
    limit = parse_bytes(max_memory)
    if limit <= 0:
        raise UsageError(f"--max-memory must be more than nothing, found {max_memory!r}")
    model = trace.graph.model
    found, independent = arranged(trace, opened_data(data, model, None, samples, seed))
    per_sample = bytes_per_sample(trace, _largest(found))
    size = int(max(1, min(MOST_PER_BATCH, BATCH_BYTES // max(per_sample, 1))))
    fixed = model.size_bytes + _moments(trace.graph) + size * per_sample // 2
    allowed = max((limit - fixed) // max(per_sample, 1), 0)
    notes: list[str] = []
    if allowed < LEAST:
        need = fixed + LEAST * per_sample
        raise UsageError(
            f"--max-memory {format_bytes(limit)} is too little for this model: "
            f"{LEAST} samples take about {format_bytes(need)}",
            hint=f"Allow more, for example --max-memory {math.ceil(need / 1e9)}GB, or give smaller samples.",
        )
    if not independent:
        size = found.samples
        notes.append(DEPENDENT)
    fit, judge = found.split(HELD_OUT, seed if independent else None)
    total, more = found.samples, None
    if total > allowed:
        held = max(round(allowed * HELD_OUT), 1)
        if independent and found.uniform and not found.fixed_batch:
            rest = fit.after(allowed - held)
            more = None if rest is None else More(rest, judge.after(held))
        fit, judge = fit.take(allowed - held), judge.take(held)
        besides = "" if more is None else ", except by reconstruction"
        notes.append(f"{allowed} of {plural(total, 'sample')} used{besides}, so as to stay below {format_bytes(limit)}")
    held_batches = list(judge.batches(size))
    single = total == 1
    if single:
        notes.append("there is only one sample: it is fitted and judged by, so errors look too small")
    return Samples(
        [*fit.batches(size), *held_batches],
        len(held_batches),
        0 if single else fit.rows,
        judge.rows,
        found.source,
        fixed + min(total, allowed) * per_sample,
        tuple(notes),
        independent,
        more,
    )


def files_of(data: Any) -> tuple[Path, ...]:
    """The files that a data source names: a result must never replace them."""
    if isinstance(data, (str, os.PathLike)):
        data = [data]
    if not isinstance(data, Sequence):
        return ()
    texts = [os.fspath(item) for item in data if isinstance(item, (str, os.PathLike))]
    names = [name for text in texts for name in (text, text.partition("=")[2], text.rpartition(":")[0])]
    return tuple(Path(name).absolute() for name in names if name and os.path.isfile(name))


def bytes_per_sample(trace: Trace, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """What a sample of these input shapes takes while two networks are walked, as far as shapes are known."""
    facts = facts_for(trace, shapes)
    sizes = {key: _bytes(facts, key) for key in facts.shapes}
    return 2 * _most_alive(trace.graph, sizes) + 2 * max(
        (size for key, size in sizes.items() if key not in trace.graph.constants), default=0
    )


def bytes_of_values(trace: Trace, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """What all values of a sample of these input shapes take together, as far as shapes are known."""
    facts = facts_for(trace, shapes)
    return sum(_bytes(facts, key) for key in facts.shapes if key not in trace.graph.constants)


def bytes_at_ends(trace: Trace, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """What the inputs of these shapes and the outputs take together, as far as shapes are known."""
    facts = facts_for(trace, shapes)
    keys = {*shapes, *(value.name for value in trace.graph.model.proto.graph.output)}
    return sum(_bytes(facts, key) for key in keys if key in facts.shapes)


def features_of(layer: Linear, shape: tuple[int, ...]) -> int:
    """Of one group, by the shape of the weight."""
    if layer.implied:
        return shape[-1]
    if layer.transposed and not layer.spread:
        return math.prod(shape[1:])
    return math.prod(shape) // shape[1] // layer.groups


def _moments(graph: Graph) -> int:
    """Bytes of the second moments of the layer with the most features, with what is solved from them."""
    layers = [layer for node in graph.nodes if (layer := linear_layer(graph, node, implied=True)) is not None]
    sizes = [shape_of(graph, layer.weight) for layer in layers]
    features = [features_of(layer, shape) for layer, shape in zip(layers, sizes, strict=True)]
    numbers = (layer.groups * (d + 1) ** 2 for layer, d in zip(layers, features, strict=True))
    return MOMENTS * 8 * max(numbers, default=0)


def opened_data(data: Any, model: Model, preprocess: str | None, samples: int | None, seed: int) -> Calibration:
    """Samples of any form that `open_data` knows, or opened before for this model; `samples` of them at most."""
    if not isinstance(data, Calibration):
        return open_data(data, model, preprocess=preprocess, samples=samples, seed=seed)
    if preprocess is not None:
        raise UsageError("--preprocess has nothing to apply to: the samples are prepared already")
    specs = input_specs(model)
    if [(s.name, s.dtype, s.shape) for s in data.specs] != [(s.name, s.dtype, s.shape) for s in specs]:
        raise DataError("the samples were opened for another model", hint=expected(specs))
    if samples is not None and samples < 1:
        raise UsageError(f"--samples must be at least 1, not {samples}")
    return data if samples is None else data.take(samples)


def _largest(data: Calibration) -> dict[str, tuple[int, ...]]:
    """The shapes of the sample with the most elements."""
    numbers: Sequence[int] = range(1 if data.uniform else data.samples)
    return max((data.shapes(k) for k in numbers), key=lambda s: sum(math.prod(shape) for shape in s.values()))


def few_samples(data: Any, trace: Trace, seed: int = 0) -> dict[str, Array]:
    """A feed with the first samples of `data`, as `opened_data` takes it; with all of them if they belong together."""
    found, independent = arranged(trace, opened_data(data, trace.graph.model, None, None, seed))
    return next(found.batches(COMPARED if independent else found.samples))


def facts_for(trace: Trace, shapes: Mapping[str, tuple[int, ...]]) -> Facts:
    """Facts for inputs of these shapes: those of the trace where they are the same."""
    if all(trace.facts.inputs.get(name) == shape for name, shape in shapes.items()):
        return trace.facts
    return infer(trace.graph, sizes_of(trace.graph.model, shapes))


def _bytes(facts: Facts, key: str) -> int:
    shape = facts.shapes[key]
    dtype = facts.dtypes.get(key, TensorProto.FLOAT)
    item = 8 if dtype in (TensorProto.STRING, TensorProto.UNDEFINED) else _item_bytes(dtype)
    return math.prod(size or 1 for size in shape) * item


def _item_bytes(dtype: int) -> int:
    return int(np.dtype(helper.tensor_dtype_to_np_dtype(dtype)).itemsize)


def _most_alive(graph: Graph, sizes: Mapping[str, int]) -> int:
    """The largest sum of sizes of values that have been computed and are still to be read."""
    ends: dict[str, int] = {key: readers[-1][0] for key, readers in graph.consumers.items() if readers}
    outputs = {value.name for value in graph.model.proto.graph.output}
    dying: dict[int, list[str]] = {}
    for key, end in ends.items():
        if key not in outputs and key not in graph.constants:
            dying.setdefault(end, []).append(key)
    alive = sum(sizes.get(v.name, 0) for v in graph.model.proto.graph.input if v.name not in graph.constants)
    most = alive
    for node in graph.nodes:
        alive += sum(sizes.get(key, 0) for key in node.outputs if key and key not in graph.constants)
        most = max(most, alive)
        alive -= sum(sizes.get(key, 0) for key in dying.get(node.index, ()))
    return most
