"""About what a network takes for any choice, by sizes alone: where a cut gains time, told without a clock.

A multiply-accumulate is not worth the same everywhere: kernels work on blocks of channels (a started one takes as long
as a full one), a single block fills no vector unit, depthwise layers and element-wise operators move more than they
compute, and every node takes its launch. The constants are those of one thread of an AVX-512 processor (AMD Zen 5,
ONNX Runtime 1.32; docs/channels.md); what counts is only how they compare, which other processors share. A choice made
with them is the same on every machine. What is to be true is measured: `--target latency=`, `bench`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from onnxprune.choose.allocate.device import Device
from onnxprune.cut.axes import Sizes, dims_of, known
from onnxprune.model.cost import macs_of
from onnxprune.model.graph import Graph, Node
from onnxprune.model.infer import Facts
from onnxprune.trace.groups import Trace

Bools = NDArray[np.bool_]
Dims = tuple[int, ...]
LAUNCH = 0.4e-6
MACS, DEPTHWISE, PRODUCTS, GROUPED = 125e9, 57e9, 110e9, 40e9
"""Multiply-accumulates a second: of convolutions, depthwise ones, matrix products, grouped convolutions outside of the
blocked layout."""
FEW_BLOCKS = {1: 1.6, 2: 1.2, 3: 1.07}
"""By how much longer a block takes where there are so few of them: sums wait for each other."""
OFF_INPUT, OFF_DEPTHWISE = 1.3, 7.0
"""The same where the layout cannot be used."""
WEIGHT_BYTES = 12e9
"""Read a second, by a product of few rows."""
FEW_ROWS = 4
UNFOLD = 0.3e-9
"""Seconds per element that is copied where a convolution becomes a matrix product."""
ELEMENT = 0.1e-9
ELEMENTS = {
    **dict.fromkeys(("Sigmoid", "Tanh", "HardSwish", "LeakyRelu", "Sqrt", "Reciprocal"), 0.2e-9),
    **dict.fromkeys(("MaxPool", "AveragePool", "InstanceNormalization", "GroupNormalization"), 0.3e-9),
    **dict.fromkeys(("Erf", "Gelu", "FastGelu", "QuickGelu"), 0.35e-9),
    **dict.fromkeys(("LayerNormalization", "SkipLayerNormalization", "Softmax", "LogSoftmax", "DepthToSpace"), 1e-9),
    **dict.fromkeys(("Elu", "Selu", "Celu"), 1.4e-9),
    **dict.fromkeys(("Resize", "Upsample"), 1e-9),
    **dict.fromkeys(("Pow", "Softplus", "Mish"), 6e-9),
}
"""Seconds per element of the larger of input and output, ELEMENT for all others."""
FREE = frozenset({"Constant", "Shape", "Size", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Cast"})
FUSED = frozenset({"BatchNormalization", "Relu", "Clip", "LeakyRelu"})
"""Computed together with a convolution in front of it that nothing else reads."""


class Estimate:
    """`cost` (keep) in seconds, roughly. Nodes whose sizes are unknown take nothing."""

    def __init__(self, trace: Trace, device: Device) -> None:
        self._trace, self._device = trace, device
        self._sizes = Sizes(trace, trace.facts.shapes.get)
        found = (self._known(node) for node in trace.graph.nodes)
        self._nodes = [one for one in found if one is not None]

    def cost(self, keep: Bools) -> float:
        counts, gone = self._sizes.counts(keep), self._trace.vanishing(keep)
        return sum(one.time(counts, self._device) for one in self._nodes if one.node.index not in gone)

    def _known(self, node: Node) -> _Known | None:
        if node.scope or node.op_type in FREE or _fused(self._trace.graph, node):
            return None
        inputs = [known(self._sizes.weight(node, slot)) for slot, key in enumerate(node.inputs) if key]
        outputs = [known(self._sizes.value(key)) for key in node.outputs if key]
        if not outputs or any(axes is None for axes in (*inputs, *outputs)):
            return None
        if all(key in self._trace.facts.values for key in node.outputs if key):
            return None  # arithmetic on sizes
        kind = ("Gemm", True) if node.op_type == "Gemm" and node.attribute("transA", 0) else (node.op_type, False)
        seconds = _LAYERS.get(node.op_type) or (_counted(node) if macs_of(node, self._trace.facts) else _elements)
        return _Known(node, kind, seconds, [a for a in inputs if a is not None], [a for a in outputs if a is not None])


_Seconds = Callable[[tuple[str, bool], Sequence[Dims], Sequence[Dims], Device], float]


class _Known:
    """A node with the axes of what it reads and writes; its time is worked out once for every choice of these."""

    def __init__(
        self,
        node: Node,
        kind: tuple[str, bool],
        seconds: _Seconds,
        inputs: list[Sequence[int]],
        outputs: list[Sequence[int]],
    ) -> None:
        self.node, self._kind, self._seconds = node, kind, seconds
        self._inputs, self._outputs = inputs, outputs
        self._numbers = sorted({-1 - n for axes in (*inputs, *outputs) for n in axes if n < 0})
        self._times: dict[tuple[int, ...], float] = {}

    def time(self, counts: Sequence[int], device: Device) -> float:
        key = tuple([counts[number] for number in self._numbers])
        if key not in self._times:
            ins = [dims_of(axes, counts) for axes in self._inputs]
            outs = [dims_of(axes, counts) for axes in self._outputs]
            self._times[key] = self._seconds(self._kind, ins, outs, device)
        return self._times[key]


def _fused(graph: Graph, node: Node) -> bool:
    if node.op_type not in FUSED:
        return False
    made = graph.producer.get(node.inputs[0])
    before = None if made is None else graph.nodes[made]
    if before is None or len(graph.consumers.get(node.inputs[0], ())) != 1:
        return False
    return before.op_type == "Conv" or _fused(graph, before)


def padded(channels: int, block: int) -> int:
    """What kernels compute for so many channels."""
    return -(-channels // block) * block


def _blocks(channels: int, block: int) -> float:
    """Channels that take as long if there are many of them."""
    whole = padded(channels, block)
    return whole * FEW_BLOCKS.get(whole // block, 1.0)


def convolution(kind: tuple[str, bool], ins: Sequence[Dims], outs: Sequence[Dims], device: Device) -> float:
    """Blocked layout, depthwise, grouped, or as a matrix product of copied windows."""
    x, w, y = ins[0], ins[1], outs[0]
    if 0 in w or 0 in y:
        return 0.0
    groups, places = x[1] // w[1], y[0] * math.prod(y[2:])
    window, block = math.prod(w[2:]), device.block
    if len(x) != 4:
        macs = places * window * w[1] * y[1]
        return LAUNCH + macs / PRODUCTS + UNFOLD * places * window * x[1]
    if groups == x[1] and w[1] == 1 and y[1] == groups and groups > 1:
        slow = OFF_DEPTHWISE if groups % device.least else 1.0
        return LAUNCH + slow * places * window * padded(groups, block) / DEPTHWISE
    inner, outer = w[1], y[1] // groups
    if groups > 1 and (inner % block or outer % block):
        apart = groups * (LAUNCH + places * window * inner * outer / GROUPED)
        return LAUNCH + apart + UNFOLD * places * window * x[1]
    slow = OFF_INPUT if inner >= block and inner % device.least else 1.0
    inner = padded(inner, block) if inner >= block else inner
    return LAUNCH + slow * groups * places * window * inner * _blocks(outer, block) / MACS


def _transposed(kind: tuple[str, bool], ins: Sequence[Dims], outs: Sequence[Dims], device: Device) -> float:
    x, w, y = ins[0], ins[1], outs[0]
    macs = math.prod(x) * math.prod(w[1:])
    copied = x[0] * math.prod(x[2:]) * math.prod(w[1:])
    return LAUNCH + macs / PRODUCTS + UNFOLD * copied + ELEMENT * math.prod(y)


def _product(kind: tuple[str, bool], ins: Sequence[Dims], outs: Sequence[Dims], device: Device) -> float:
    """Rows times a matrix; with few rows, what it takes to read the matrix."""
    a, y = ins[0], outs[0]
    depth = a[-2] if kind[1] and len(a) > 1 else a[-1]
    if len(ins[1]) <= 2:
        stack, rows = 1, math.prod(y[:-1])
    else:
        stack, rows = math.prod(y[:-2]), y[-2] if len(y) > 1 else 1
    columns = y[-1] if y else 1
    if rows < FEW_ROWS:
        return LAUNCH + 4 * stack * depth * columns / WEIGHT_BYTES
    return LAUNCH + stack * rows * depth * padded(columns, device.block) / PRODUCTS


def _recurrent(kind: tuple[str, bool], ins: Sequence[Dims], outs: Sequence[Dims], device: Device) -> float:
    """Products with the inputs for all steps at once, with the state for each of them."""
    steps, batch = ins[0][0], ins[0][1]
    state = math.prod(ins[2])
    by_step = LAUNCH + (4 * state / WEIGHT_BYTES if batch < FEW_ROWS else batch * state / PRODUCTS)
    return steps * (batch * math.prod(ins[1]) / PRODUCTS + by_step)


def _counted(node: Node) -> _Seconds:
    """Other operators that multiply (Einsum, attention in one node): their multiply-accumulates."""
    ins = [f"i{k}" if key else "" for k, key in enumerate(node.inputs)]
    outs = [f"o{k}" if key else "" for k, key in enumerate(node.outputs)]
    renamed = replace(node, inputs=tuple(ins), outputs=tuple(outs))
    names = [name for name in (*ins, *outs) if name]

    def seconds(kind: tuple[str, bool], ins: Sequence[Dims], outs: Sequence[Dims], device: Device) -> float:
        macs = macs_of(renamed, Facts(dict(zip(names, (*ins, *outs), strict=True)))) or 0
        return LAUNCH + macs / PRODUCTS

    return seconds


def _elements(kind: tuple[str, bool], ins: Sequence[Dims], outs: Sequence[Dims], device: Device) -> float:
    """What is read or written, channels of images in whole blocks."""
    most = max((_size(dims, device) for dims in (*ins, *outs)), default=0)
    return LAUNCH + ELEMENTS.get(kind[0], ELEMENT) * most


def _size(dims: Dims, device: Device) -> int:
    if len(dims) == 4 and dims[1] >= device.block:
        return dims[0] * padded(dims[1], device.block) * dims[2] * dims[3]
    return math.prod(dims)


def _quantised(layer: _Seconds) -> _Seconds:
    """Operators whose weight comes behind the scale and the zero point of their input."""

    def seconds(kind: tuple[str, bool], ins: Sequence[Dims], outs: Sequence[Dims], device: Device) -> float:
        return layer(kind, [ins[0], ins[QUANTISED_WEIGHT]], outs, device)

    return seconds


QUANTISED_WEIGHT = 3
_LAYERS: dict[str, _Seconds] = {
    "ConvInteger": convolution,
    "MatMulInteger": _product,
    "QLinearConv": _quantised(convolution),
    "QLinearMatMul": _quantised(_product),
    "QGemm": _quantised(_product),
    "Conv": convolution,
    "FusedConv": convolution,
    "ConvTranspose": _transposed,
    "Gemm": _product,
    "FusedGemm": _product,
    "MatMul": _product,
    "FusedMatMul": _product,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
}
