"""What integers give the original, before anything leaves: the base on which cuts are priced."""

from __future__ import annotations

from dataclasses import dataclass

from onnxprune.capture.samples import Samples
from onnxprune.compressing.form import Timing, dynamic_form, static_form
from onnxprune.measure.latency.form import Form
from onnxprune.quantizing.plans import all_grids, choices, network
from onnxprune.quantizing.request import AUTO, DYNAMIC, STATIC, QuantizeRequest
from onnxprune.quantizing.stage import PRODUCTS, dynamic_is_better, picked
from onnxprune.results.clock import Clock
from onnxprune.results.providers import Threads, count
from onnxprune.trace.groups import Trace


@dataclass(frozen=True)
class Precision:
    """`form`: what files will have of networks, None if no layer can compute with integers; `scheme`: by which."""

    scheme: str
    form: Form | None


def precision(
    trace: Trace, request: QuantizeRequest, samples: Samples, clock: Clock, threads: Threads, *, timed: bool
) -> Precision:
    """By times and errors measured on the original; what is not `timed` is to be small: all that can is in
    integers. Raises what `quantized` raises.
    """
    clock.start("prepare")
    net = network(trace, request)
    bits = 7 if request.types.reduced else 8
    if not net.whole and timed and net.share_of_products() >= PRODUCTS:  # of recurrent layers
        return Precision(DYNAMIC, dynamic_form(trace, frozenset(), bits, count(threads)))
    if not net.whole:
        return Precision(AUTO, None)
    clock.start("ranges")
    grids = all_grids(net, request, samples, threads)
    if not timed:
        return Precision(STATIC, static_form(net, grids, request.types, None))
    found, errors = choices(net, grids, samples, clock, threads)
    nodes = picked(net, grids, found, errors, samples, threads)
    if dynamic_is_better(net, grids, nodes, samples, threads):
        weights = frozenset(net.graph.nodes[index].inputs[1] for index in net.layers)
        return Precision(DYNAMIC, dynamic_form(trace, weights, bits, count(threads)))
    timing = Timing(errors, samples.few(trace.graph.model, 1), count(threads))
    return Precision(AUTO, static_form(net, grids, request.types, timing))
