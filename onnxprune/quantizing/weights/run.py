"""The weights of a network made small, layer by layer; with samples in a walk that counts the errors of earlier ones.

Memory holds the integers of all layers and the moments of one: float weights are read from the file when a layer comes
by, and what stands in their place is computed from the integers whenever it is read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx

from onnxprune.capture.batches import affordable
from onnxprune.capture.features import Linear
from onnxprune.capture.layers import matched
from onnxprune.capture.rows import Unmatched
from onnxprune.capture.samples import Samples
from onnxprune.capture.walker import Walker
from onnxprune.model.cost import total
from onnxprune.model.graph import build
from onnxprune.model.load import Model
from onnxprune.model.plain import declared, hoisted
from onnxprune.model.tensors import LazyTensor
from onnxprune.quantizing.equalise import equalised
from onnxprune.quantizing.spelling import respelled
from onnxprune.quantizing.weights.entries import entry_of
from onnxprune.quantizing.weights.nodes import with_rounded_inputs, with_small_weights
from onnxprune.quantizing.weights.places import PRODUCT, RECURRENCE, WHOLE, Place, places
from onnxprune.quantizing.weights.request import DYNAMIC, NEAREST, WeightRequest, check_request
from onnxprune.quantizing.weights.results import WeightLayer, WeightsOnly
from onnxprune.quantizing.weights.small import Small, by_itself, by_samples
from onnxprune.quantizing.weights.stored import Stored
from onnxprune.quantizing.zeros import STAY, made_sparse
from onnxprune.results.providers import Threads
from onnxprune.trace.groups import Trace

Progress = Callable[[int, int], None]


def weights_only(
    trace: Trace,
    samples: Samples | None,
    request: WeightRequest,
    *,
    threads: Threads = 0,
    progress: Progress | None = None,
) -> WeightsOnly:
    """The network of `trace` with small weights, as `request` says.

    Args:
        trace: Of the network; weights that nodes make of constants are those that the nodes make.
        samples: Feeds, the last ones held out: weights are rounded so that what layers give changes least. None: so
            that the weights themselves do.
        request: What weights become, and which stay.
        threads: Of ONNX Runtime, 0 for its default.
        progress: Called with the number of weights that are done, and of all.

    Returns:
        The model, the float model that it stands for, and what became of every weight.

    Raises:
        UsageError: `request` asks for what there is not.
        NotFinite: The network gives NaN or infinity on the samples.
    """
    check_request(request)
    model = working(trace, samples, request, threads)
    found = places(build(model), request)
    todo = [place for place in found if place.reason is None]
    twin, inputs = with_rounded_inputs(model, {place.key for place in todo if place.form == PRODUCT})
    done: dict[str, Small] = {}
    steps: Iterator[tuple[Place, Small]]
    if samples is None or request.rounding == NEAREST:
        steps = ((place, by_itself(place, model.tensors[place.key].array(), request)) for place in todo)
    else:
        steps = _walked(trace, model, _Twin(twin, inputs), todo, samples, request, threads)
    for place, small in steps:
        done[place.key] = small
        model.release_pages()
        if progress is not None:
            progress(len(done), len(todo))
    return _result(trace.graph.model, model, twin, found, done, request)


def working(trace: Trace, samples: Samples | None, request: WeightRequest, threads: Threads = 0) -> Model:
    """The model whose weights become small: weights as initializers; where inputs are rounded as well, spelled for the
    runtime and, with samples, equalised. It computes what the original does.
    """
    model = hoisted(trace.graph.model)
    if DYNAMIC not in (request.kind, *request.chosen.values()):
        return model
    model = respelled(model, trace.facts.dtypes)
    if samples is None or request.rounding == NEAREST:
        return model
    products = {p.key for p in places(build(model), request) if p.form == PRODUCT and p.reason is None}
    fitted = samples.batches[: len(samples.batches) - samples.held_out] or samples.batches
    return equalised(model, trace.facts.dtypes, fitted, keys=products, threads=threads)[0]


# ---- inner -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Twin:
    """The float model that is walked beside the original: `inputs` of products -> what they are rounded to."""

    model: Model
    inputs: Mapping[str, str]

    def seen(self, place: Place) -> Linear | None:
        """The layer of a place in it."""
        if place.linear is None or place.form != PRODUCT:
            return place.linear
        return replace(place.linear, x=self.inputs[place.linear.x])


def _walked(
    trace: Trace,
    model: Model,
    twin: _Twin,
    todo: Sequence[Place],
    samples: Samples,
    request: WeightRequest,
    threads: Threads,
) -> Iterator[tuple[Place, Small]]:
    """The layers in order, each against the original on inputs as those before it leave them."""
    batches = affordable(model, total(trace.graph, trace.facts)[0], samples.batches, samples.held_out)
    original = Walker(model, batches, trace.facts.dtypes, threads, as_it_is=True)
    current = Walker(twin.model, batches, trace.facts.dtypes, threads, as_it_is=True)
    for place in todo:
        weight, linear = model.tensors[place.key].array(), twin.seen(place)
        small = None
        if made_sparse(weight):
            place = replace(place, note=STAY)
        elif linear is not None:
            with contextlib.suppress(Unmatched):
                split = matched(
                    current.graph, linear, original, current, samples.held_out, place.node.index, keep_rows=True
                )
                for part in (split.fit, split.held_out):
                    part.require_finite(place.node.label)
                key = linear.bias
                bias = None if key is None else current.tensors[key].array()
                small = by_samples(place, linear, weight, bias, split, request)
                if small.bias is not None and key is not None:
                    current.replace(key, small.bias)
        small = by_itself(place, weight, request) if small is None else small
        if small.stored is not None:
            current.tensors[place.key] = small.stored.real(model.tensors[place.key])
        yield place, small


def _result(
    original: Model,
    model: Model,
    twin: Model,
    found: Sequence[Place],
    done: Mapping[str, Small],
    request: WeightRequest,
) -> WeightsOnly:
    tensors: dict[str, LazyTensor] = dict(model.tensors)
    for place in found:
        bias = done[place.key].bias if place.key in done else None
        if bias is not None and place.linear is not None and place.linear.bias is not None:
            tensors[place.linear.bias] = tensors[place.linear.bias].with_array(bias)
    stored = _paired({key: small.stored for key, small in done.items() if small.stored is not None})
    fitted = _with(model, tensors)
    real = _with(twin, tensors | {key: item.real(tensors[key]) for key, item in stored.items()})
    layers = tuple(_layer(place, done.get(place.key), stored.get(place.key), model) for place in found)
    if not stored:
        return WeightsOnly(original, original, layers)
    small, grids = with_small_weights(fitted, stored, request.accuracy_level), tuple(map(entry_of, stored.values()))
    return WeightsOnly(small, real, layers, grids)


def _with(model: Model, tensors: Mapping[str, LazyTensor]) -> Model:
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    return declared(model.replace(proto, tensors))


def _paired(stored: dict[str, Stored]) -> dict[str, Stored]:
    """Recurrent layers whose other weight stays float get this one as a whole."""
    found = {}
    for key, item in stored.items():
        place = item.place
        if place.form == RECURRENCE and not all(other in stored for other in place.node.inputs[1:3]):
            item = replace(item, place=replace(place, form=WHOLE, note="the other weight of its layer stays float"))
        found[key] = item
    return found


def _layer(place: Place, small: Small | None, stored: Stored | None, model: Model) -> WeightLayer:
    names = place.node.label, place.node.op_type, place.key
    if stored is None:
        tensor = model.tensors.get(place.key)
        reason = place.reason if small is None else small.reason
        return WeightLayer(*names, None, place.size, tensor.nbytes if tensor else 4 * place.size, reason=reason)
    error = None if small is None else small.error
    return WeightLayer(*names, stored.kind, place.size, stored.nbytes, error, note=stored.place.note)
