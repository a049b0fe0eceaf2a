"""How much the outputs of a network suffer if one layer alone computes with integers:

    s_i = E |f(x) - f_i(x)|^2 / E |f(x) - E f(x)|^2,

f_i the network in which layer i, and what it reads and gives, is rounded. Measured, on few samples: errors of layers
add up (they are nearly independent), so the sum of s_i predicts what all of them together cost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.capture.training import observer
from onnxprune.model.graph import Graph
from onnxprune.model.grids import Grid
from onnxprune.model.infer import Facts
from onnxprune.quantizing.layers import Candidate, between
from onnxprune.quantizing.rewrite import with_quantisers
from onnxprune.results.progress import watched
from onnxprune.results.units import format_percent

Feed = Mapping[str, NDArray[Any]]
MOST = 150
"""Runs: neighbours of networks with more layers are measured together, and share their error."""


@dataclass(frozen=True)
class Grids:
    """Grids of all values and weights that may be rounded."""

    values: Mapping[str, Grid]
    weights: Mapping[str, Grid]


def output_error(
    model: Any, keys: Sequence[str], feeds: Sequence[Feed], wanted: Sequence[Sequence[NDArray[Any]]]
) -> float:
    """Of the float32 values `keys`, the mean over them of their squared error relative to their variance."""
    session = observer(model, keys)
    found = [session.run(None, dict(feed)) for feed in feeds]
    worst = []
    for k in range(len(keys)):
        goal = np.concatenate([one[k].ravel() for one in wanted]).astype(np.float64)
        got = np.concatenate([one[k].ravel() for one in found]).astype(np.float64)
        worst.append(float(np.mean((got - goal) ** 2) / max(float(np.var(goal)), 1e-12)))
    return float(np.mean(worst)) if worst else 0.0


def sensitivities(
    graph: Graph,
    facts: Facts,
    found: Mapping[int, Candidate],
    layers: Collection[int],
    grids: Grids,
    keys: Sequence[str],
    feeds: Sequence[Feed],
    progress: Callable[[int, int], None] | None = None,
) -> dict[int, float]:
    """By layer. `keys`: the float32 values that are judged."""
    original = observer(graph.model, keys)
    wanted = [original.run(None, dict(feed)) for feed in feeds]
    result: dict[int, float] = {}
    parts = np.array_split(np.array(sorted(layers)), min(len(layers), MOST))
    for number, part in enumerate(parts, 1):
        alone = between(graph, found, part.tolist())
        model = with_quantisers(graph, facts, alone, grids.values, grids.weights)
        error = output_error(model, keys, feeds, wanted)
        result |= {int(index): error / len(part) for index in part}
        names = ", ".join(graph.nodes[index].label for index in part.tolist())
        watched(progress).say(f"{names}: error of the outputs {format_percent(math.sqrt(error))}")
        if progress is not None:
            progress(number, len(parts))
    return result
