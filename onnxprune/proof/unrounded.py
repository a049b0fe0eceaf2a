"""Quantised networks without the rounding of what they compute: continuous, so that two can be compared closely.

    DequantizeLinear(QuantizeLinear(x)) = s (clip(round(x / s) + z, low, high) - z)
                                       -> clip(x, s (low - z), s (high - z)) + s

DynamicQuantizeLinear is taken apart as well (dynamic.py). Which way a value falls may depend on the last bit of a sum,
and one step of a quantiser may become many behind it. The step s is added, so that a wrong one shows where no value is
clipped, too. Weights stay as they are stored.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper

from onnxprune.model.folding import along_axis
from onnxprune.model.graph import Graph, Node, build
from onnxprune.model.infer import Facts
from onnxprune.model.load import Model
from onnxprune.model.names import fresh_prefix, taken
from onnxprune.model.splice import splice
from onnxprune.model.tensors import LazyTensor
from onnxprune.proof.dynamic import QUANTISER, is_understood, without_rounding
from onnxprune.proof.tolerance import QUANTISERS, rounds

PREFIX = "onnxprune.unrounded."
Limits = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]


class AlwaysRounds(Exception):
    """There is no such pair, or something else rounds."""


def unrounded(model: Model, facts: Facts) -> Model:
    """The model with every such pair replaced. `facts`: of the network it comes from, where values have the same rank.

    Raises AlwaysRounds.
    """
    if not is_understood(model):
        raise AlwaysRounds
    whole, model = model, without_rounding(model)
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    graph = build(Model(proto, model.tensors, model.path, model.external_files))
    prefix = fresh_prefix(PREFIX, taken(proto, model.tensors))
    given = {value.name for value in proto.graph.output}
    before: dict[int, list[NodeProto]] = {}
    dropped: set[int] = set()
    tensors = dict(model.tensors)
    for node in graph.nodes:
        if not rounds(node) or (node.op_type in QUANTISERS and node.inputs[0] in graph.constants):
            continue
        readers = [graph.nodes[index] for index, _ in graph.consumers.get(node.outputs[0], ())]
        if node.op_type == QUANTISER and not readers:  # only its range is read
            continue
        shown = node.scope or node.outputs[0] in given
        if shown or not readers or not all(_undoes(graph, reader, node) for reader in readers):
            raise AlwaysRounds
        names = [f"{prefix}{node.index}.{end}" for end in ("low", "high", "step")]
        for name, limit in zip(names, _limits(graph, node, facts), strict=True):
            tensors[name] = LazyTensor.from_array(name, limit)
        for reader in readers:
            above, clipped = (f"{prefix}{reader.index}.{end}" for end in ("above", "clipped"))
            before[reader.index] = [
                helper.make_node("Max", [node.proto.input[0], names[0]], [above], name=above),
                helper.make_node("Min", [above, names[1]], [clipped], name=clipped),
                helper.make_node("Add", [clipped, names[2]], [reader.proto.output[0]], name=f"{clipped}.stepped"),
            ]
        dropped |= {node.index, *(reader.index for reader in readers)}
    if not dropped and model is whole:
        raise AlwaysRounds
    splice(graph, before, dropped)
    return model.replace(proto, tensors)


def _undoes(graph: Graph, reader: Node, quantiser: Node) -> bool:
    """Whether a node takes back what the quantiser did, to the same type."""
    return (
        reader.op_type == "DequantizeLinear"
        and reader.scope == 0
        and len(reader.inputs) == len(quantiser.inputs)
        and all(_same(graph, a, b) for a, b in zip(reader.inputs[1:], quantiser.inputs[1:], strict=True))
        and reader.attribute("axis", 1) == quantiser.attribute("axis", 1)
        and not reader.attribute("output_dtype", 0)
    )


def _same(graph: Graph, a: str, b: str) -> bool:
    first, second = graph.constants.get(a), graph.constants.get(b)
    if a == b or first is None or second is None:
        return a == b
    return first.dtype == second.dtype and bool(np.array_equal(first.array(), second.array()))


def _limits(graph: Graph, node: Node, facts: Facts) -> Limits:
    """The least and the largest value that a QuantizeLinear can say, and its step, in shapes that broadcast."""
    keys = [key for key in node.inputs[1:] if key]
    if node.op_type != "QuantizeLinear" or len(keys) != 2 or any(key not in graph.constants for key in keys):
        raise AlwaysRounds
    scale, zero = (graph.constants[key].array() for key in keys)
    shape, dtype = facts.shapes.get(node.inputs[0]), facts.dtypes.get(node.inputs[0])
    if dtype != graph.constants[keys[0]].dtype:
        raise AlwaysRounds
    if "int" not in zero.dtype.name or scale.ndim > 1 or (scale.size > 1 and shape is None):
        raise AlwaysRounds
    if scale.size > 1 and shape is not None:
        scale, zero = (along_axis(node, part, len(shape)) for part in (scale, zero))
    bounds = ml_dtypes.iinfo(zero.dtype)  # type: ignore[no-untyped-call]
    wide = zero.astype(np.float64)
    low, high = ((float(bound) - wide) * scale.astype(np.float64) for bound in (bounds.min, bounds.max))
    with np.errstate(over="ignore"):  # no value of a short type is beyond infinity
        return low.astype(scale.dtype), high.astype(scale.dtype), scale
