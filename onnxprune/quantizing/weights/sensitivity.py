"""How much the outputs of a network suffer from one small weight alone, and which layers to spare.

    s_i = E |f(x) - f_i(x)|^2 / E |f(x) - E f(x)|^2,

f_i the network in which weight i, and what it is multiplied with, is rounded to the nearest. Errors of layers are
nearly independent, so their sum predicts what all of them cost together; rounding by second moments then takes most of
the part of the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.capture.samples import Samples
from onnxprune.capture.walker import Walker
from onnxprune.model.graph import build
from onnxprune.model.load import Model
from onnxprune.quantizing.weights.nodes import with_rounded_inputs
from onnxprune.quantizing.weights.places import PRODUCT, Place, places
from onnxprune.quantizing.weights.request import WeightRequest, check_request
from onnxprune.quantizing.weights.run import working
from onnxprune.quantizing.weights.small import by_itself
from onnxprune.results.providers import Threads
from onnxprune.trace.groups import Trace

Array = NDArray[Any]
FEW = 8
"""Samples."""


def sensitivities(
    trace: Trace,
    samples: Samples,
    request: WeightRequest,
    *,
    count: int = FEW,
    threads: Threads = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """s_i by the label of the node, for every weight that `request` makes small.

    Args:
        trace: Of the network.
        samples: The first `count` of the held-out ones are run, once for every weight.
        request: What weights become.
        count: More take longer, and say more.
        threads: Of ONNX Runtime.
        progress: Called with the number of weights that are done, and of all.

    Raises:
        UsageError: `request` asks for what there is not.
    """
    check_request(request)
    model = working(trace, samples, request, threads)
    feeds, dtypes = [samples.few(trace.graph.model, count)], trace.facts.dtypes
    todo = [place for place in places(build(model), request) if place.reason is None]
    stops = [place.node.inputs[0] for place in todo if place.node.scope == 0]
    wanted = _outputs(model, stops, feeds, dtypes, threads)
    found: dict[str, float] = {}
    for number, place in enumerate(todo):
        alone = _alone(model, place, request)
        lost = 0.0 if alone is None else relative(_outputs(alone, stops, feeds, dtypes, threads), wanted)
        found[place.node.label] = found.get(place.node.label, 0.0) + lost
        model.release_pages()
        if progress is not None:
            progress(number + 1, len(todo))
    return found


def relative(found: Sequence[Array], wanted: Sequence[Array]) -> float:
    """The mean over floating-point outputs of their squared error relative to their variance."""
    errors = []
    for a, b in zip(found, wanted, strict=True):
        if b.dtype.kind == "f" and a.shape == b.shape and b.size:
            goal = b.astype(np.float64)
            errors.append(float(np.square(a - goal).mean() / max(goal.var(), 1e-12)))
    return float(np.mean(errors)) if errors else 0.0


# ---- inner -----------------------------------------------------------------------------------------------------
def _alone(model: Model, place: Place, request: WeightRequest) -> Model | None:
    """The network in which this weight alone is small; None if it cannot be."""
    small = by_itself(place, model.tensors[place.key].array(), request)
    if small.stored is None:
        return None
    twin, _ = with_rounded_inputs(model, {place.key} if place.form == PRODUCT else set())
    return twin.replace(twin.proto, {**twin.tensors, place.key: small.stored.real(model.tensors[place.key])})


def _outputs(
    model: Model, stops: Sequence[str], feeds: list[dict[str, Array]], dtypes: Mapping[str, int], threads: Threads
) -> list[Array]:
    """What a network gives, run piece by piece: one of more than 2 GB is no single session."""
    walker = Walker(model, feeds, dtypes, threads, as_it_is=True)
    for key in stops:
        walker.reach([key])
        walker.drop_dead()
    outputs = [value.name for value in model.proto.graph.output]
    walker.reach(outputs)
    return [np.concatenate([np.ravel(one) for one in walker.values(key)]) for key in outputs]
