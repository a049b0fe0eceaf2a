"""What integers would cost each layer, without quantising anything: for `inspect`."""

from __future__ import annotations

from onnxprune.capture.samples import Samples
from onnxprune.capture.training import observer
from onnxprune.options.quantizing import Quantizing
from onnxprune.quantizing.plans import FEW, Network, all_grids, network, written
from onnxprune.quantizing.request import resolve_quantization
from onnxprune.quantizing.sensitivity import output_error, sensitivities
from onnxprune.results.clock import Clock
from onnxprune.results.quantization import FLOAT, QuantizedLayer, Sensitivities
from onnxprune.trace.groups import Trace

INT8 = "int8"


def inspected(trace: Trace, samples: Samples, clock: Clock, *, threads: int = 0) -> Sensitivities:
    """The error of the outputs with each layer alone in int8, on ranges that the samples show; and of all together.

    Raises ModelError for what cannot be prepared, NotFinite where the network overflows on the samples.
    """
    clock.start("prepare")
    request = resolve_quantization(Quantizing(scheme="static", repair="none"), with_data=True)
    net = network(trace, request)
    errors: dict[int, float] = {}
    together: float | None = None
    few = samples.few(trace.graph.model, FEW)
    if net.whole:
        clock.start("ranges")
        grids = all_grids(net, request, samples, threads)
        clock.start("sensitivity")
        errors = sensitivities(net.graph, net.facts, net.found, net.layers, grids, net.judged, [few], clock.steps())
        wanted = [observer(net.graph.model, net.judged).run(None, dict(few))]
        together = output_error(written(net, grids, net.whole), net.judged, [few], wanted)
    layers = tuple(_layer(net, index, errors.get(index)) for index, one in net.found.items() if one.kind == "layer")
    return Sensitivities(min(FEW, samples.count), layers, together)


def _layer(net: Network, index: int, error: float | None) -> QuantizedLayer:
    node, one = net.graph.nodes[index], net.found[index]
    held = len(node.inputs) > 1 and node.inputs[1] in net.graph.model.tensors
    weight = node.inputs[1] if held else None
    precision = FLOAT if one.reason else INT8
    return QuantizedLayer(node.label, node.op_type, one.kind, precision, weight, error, one.reason)
