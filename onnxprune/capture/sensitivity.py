"""How much the network's outputs suffer from an error in one group.

Errors of layers are relative to the layer; what reaches the outputs differs by orders of magnitude. A *trial* takes
the units of one group out of the original network, refits the layers that read it, and runs a few samples:

    s(k) = sum over outputs |f_k(x) - f(x)|^2 / |f(x) - mean f|^2,

at a few numbers k of removed units. Between and beyond the trials the curve follows the layer's own error to a power.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxprune.capture.walker import Array, Walker
from onnxprune.model.graph import Graph
from onnxprune.results.providers import Threads
from onnxprune.trace.groups import Trace

FloatArray = NDArray[np.float64]
LEAST = 1e-9


@dataclass(frozen=True)
class Trial:
    """The weights of the readers of a group, by initializer, refitted after its first `count` units have left."""

    count: int
    weights: Mapping[str, Array]


def output_errors(
    trace: Trace,
    trials: Sequence[Sequence[Trial]],
    batches: list[dict[str, Array]],
    *,
    threads: Threads = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[list[float]]:
    """s(k) of every trial of every group, on `batches`."""
    reference = _outputs(trace, {}, batches, threads)
    scale = [_spread(values) for values in reference]
    result: list[list[float]] = []
    for number, group in enumerate(trials):
        errors = []
        for trial in group:
            found = _outputs(trace, trial.weights, batches, threads)
            errors.append(
                float(sum(_distance(a, b) / s for a, b, s in zip(reference, found, scale, strict=True) if s > 0))
            )
        result.append(errors)
        if progress is not None:
            progress(number + 1, len(trials))
    return result


def rescaled(errors: FloatArray, counts: Sequence[int], measured: Sequence[float]) -> FloatArray:
    """The curve errors (n + 1,) as an error of the outputs: log-linear in log(error) through the trials.

    Before the first trial it falls in proportion to the layer's error, after the last it grows so.
    """
    at = np.log(np.maximum(errors[list(counts)], LEAST))
    goal = np.log(np.maximum(measured, LEAST))
    order = np.argsort(at, kind="stable")
    at, goal = at[order], np.maximum.accumulate(goal[order])
    x = np.log(np.maximum(errors, LEAST))
    inside = np.interp(x, at, goal)
    outside = np.where(x < at[0], x - at[0], np.where(x > at[-1], x - at[-1], 0.0))
    curve = np.exp(inside + outside)
    curve[errors <= LEAST] = 0.0
    curve[0] = 0.0
    return np.asarray(np.maximum.accumulate(curve), np.float64)


def judged(trace: Trace) -> list[str]:
    """Where errors are measured: outputs of the last layers with weights, on the way back from every graph output.

    Before the final activation and before parts of unlike scale (boxes and classes) are joined; with a shortcut that
    is added. An output without such a layer counts itself. Where the values decide how many rows a layer has, those are
    meant that come before: networks that differ find other rows, which cannot be compared.
    """
    return list(dict.fromkeys(k for output, found in last_layers(trace).items() for k in found or [output]))


def last_layers(trace: Trace) -> dict[str, list[str]]:
    """By graph output: the outputs of the last layers with weights that it comes from."""
    layers = {c.node for c in trace.state.closings if c.kind == "sum" and c.slot == 0}
    steady = {index for index in layers if is_steady(trace, trace.graph.nodes[index].outputs[0])}
    names = [value.name for value in trace.graph.model.proto.graph.output]
    found = {name: _last_layers(trace.graph, name, layers) for name in names}
    if steady == layers:
        return found
    return {name: _last_layers(trace.graph, name, steady) or keys for name, keys in found.items()}


def is_steady(trace: Trace, key: str) -> bool:
    """Whether the shape of a value follows from those of the inputs, not from what they hold."""
    return None not in trace.facts.shapes.get(key, ())


def _last_layers(graph: Graph, output: str, layers: set[int]) -> list[str]:
    """Outputs of the `layers` that are met first on the way back, with the shortcut that is added to them."""
    found: list[str] = []
    seen: set[str] = set()
    todo = [output]
    while todo:
        key = todo.pop()
        index = graph.producer.get(key)
        if key in seen or index is None:
            continue
        seen.add(key)
        if index not in layers:
            todo.extend(k for k in graph.nodes[index].inputs if k)
            continue
        readers = graph.consumers.get(key, [])
        node = graph.nodes[readers[0][0]] if len(readers) == 1 else None
        added = node is not None and node.op_type == "Add" and not any(k in graph.constants for k in node.inputs)
        found.append(node.outputs[0] if node is not None and added else key)
    return found


def _outputs(
    trace: Trace, weights: Mapping[str, Array], batches: list[dict[str, Array]], threads: Threads
) -> list[list[FloatArray]]:
    walker = Walker(trace.graph.model, batches, trace.facts.dtypes, threads)
    for name, array in weights.items():
        walker.replace(name, array)
    names = judged(trace)
    walker.reach(names)
    return [[v.astype(np.float64) for v in walker.values(k) if v.dtype.kind == "f"] for k in names]


def _spread(values: list[FloatArray]) -> float:
    total, count = sum(float(v.sum()) for v in values), sum(v.size for v in values)
    mean = total / max(count, 1)
    return float(sum(float(((v - mean) ** 2).sum()) for v in values))


def _distance(a: list[FloatArray], b: list[FloatArray]) -> float:
    """Sum of squares; where other rows were found, as much as if nothing was known of them."""
    pairs = [(x, y if x.shape == y.shape else x.mean()) for x, y in zip(a, b, strict=True) if x.size]
    return float(sum(float(((x - y) ** 2).sum()) for x, y in pairs))
