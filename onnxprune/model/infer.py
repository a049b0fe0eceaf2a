"""Shapes, element types and known integer values of every tensor, for one choice of the symbolic dimensions.

onnx's own inference does the bulk in one call; where it stops, each node is inferred alone with the values that the
arithmetic on shapes (values.py, partial.py) has found by then. com.microsoft operators have shape rules (contrib.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, TypeProto, ValueInfoProto

from onnxprune.model.arithmetic import INTEGERS, evaluated, is_value, partial_of, shape_from_parts, value_of
from onnxprune.model.borders import Scopes, enter, leave
from onnxprune.model.contrib import SHAPED, contrib_shape
from onnxprune.model.facts import Facts, Shape, complete
from onnxprune.model.fitting import contradicted, fitting
from onnxprune.model.graph import Graph, Node
from onnxprune.model.sizes import input_shapes
from onnxprune.model.structure import graphs_of

__all__ = ["Facts", "Shape", "infer", "infer_like", "partial_of", "propagate", "value_of"]

INLINE_BYTES = 8192


def infer(graph: Graph, sizes: Mapping[str, int] | None = None, *, fit: bool = False) -> Facts:
    """Facts for symbolic dimensions of the given `sizes` (symbol -> size), defaults for the others.

    Without `sizes`, or with `fit`: where operators refuse the defaults, for the first other ones that none refuses, if
    there are any.
    """
    given = dict(sizes or {})
    facts = _infer(graph, given)
    if facts.refused and (fit or sizes is None):
        facts = fitting(graph, facts, lambda other: _infer(graph, {**other, **given}), given)
    return facts


def infer_like(graph: Graph, facts: Facts | None) -> Facts:
    """Facts for the sizes of those of another model, of which this one was made; for the usual ones without them."""
    if facts is None:
        return infer(graph)
    found = infer(graph, facts.symbols)
    found.measured = facts.measured
    return found


def _infer(graph: Graph, sizes: Mapping[str, int]) -> Facts:
    facts = Facts()
    facts.inputs, facts.symbols = input_shapes(graph.model, sizes)
    _bulk(graph, facts)
    for value in graph.model.proto.graph.input:  # an override has the shape that the input declares
        if value.name in graph.model.tensors and value.name not in graph.constants:
            facts.dtypes[value.name] = value.type.tensor_type.elem_type
            declared = _shape(value)
            if declared is not None:
                facts.shapes[value.name] = declared
    for constant in graph.constants.values():
        facts.shapes[constant.key] = constant.shape
        facts.dtypes[constant.key] = constant.dtype
    for sparse in graph.model.proto.graph.sparse_initializer:
        facts.shapes[sparse.values.name] = tuple(sparse.dims)
        facts.dtypes[sparse.values.name] = sparse.values.data_type
    propagate(graph, facts, fill=True)
    return facts


def propagate(graph: Graph, facts: Facts, *, fill: bool) -> None:
    """Evaluate the arithmetic on shapes in node order; with `fill`, infer missing shapes node by node as well."""
    opset = graph.model.opset()
    scopes = Scopes(graph)
    for node in graph.nodes:
        if fill:
            for index in scopes.entered(node):
                enter(graph, facts, index)
            if node.index in graph.borders:
                leave(graph, facts, node.index)
        if node.op_type == "Constant" and node.outputs and node.outputs[0] in graph.constants:
            continue
        inputs = [partial_of(graph, facts, key) for key in node.inputs]
        if fill and any(o and not complete(facts.shapes.get(o)) for o in node.outputs):
            whole = [part.value if part is not None and part.whole else None for part in inputs]
            _infer_node(graph, facts, node, whole)
            shape_from_parts(facts, node, inputs, opset)
        if fill and node.scope == 0 and node.label not in facts.refused and contradicted(node, facts, inputs):
            facts.refused.append(node.label)
        outputs = evaluated(graph, facts, node, inputs, opset)
        if outputs is None:
            continue
        for key, part in zip(node.outputs, outputs, strict=False):
            if key and is_value(node, graph, part.value):
                if part.whole:
                    facts.values[key] = part.value
                else:
                    facts.partial[key] = part
                facts.shapes[key] = part.value.shape
                facts.dtypes[key] = onnx.helper.np_dtype_to_tensor_dtype(part.value.dtype)


def _bulk(graph: Graph, facts: Facts) -> None:
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.model.proto)
    if graph.model.calls is not None:  # inference would go through all calls in them, too
        endless = [k for k, entry in enumerate(proto.functions) if graph.model.calls.endless(entry)]
        for position in reversed(endless):
            del proto.functions[position]
    _drop_recorded_shapes(proto.graph, facts)
    for value in proto.graph.input:
        if value.name in facts.inputs:
            del value.type.tensor_type.shape.dim[:]
            for size in facts.inputs[value.name]:
                value.type.tensor_type.shape.dim.add().dim_value = size
    for value in proto.graph.output:
        value.type.tensor_type.ClearField("shape")
    for tensor in proto.graph.initializer:
        lazy = graph.model.tensors[tensor.name]
        if lazy.nbytes <= INLINE_BYTES and lazy.dtype in INTEGERS | {TensorProto.FLOAT}:
            tensor.CopyFrom(lazy.to_proto())
    try:
        inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    except Exception:  # onnx raises bare exceptions of several types here; node by node inference takes over
        inferred = proto
    for name, shape in facts.inputs.items():
        facts.shapes[name] = shape
    for value in inferred.graph.input:
        facts.dtypes[value.name] = value.type.tensor_type.elem_type
    _collect(inferred.graph, facts)


def _drop_recorded_shapes(proto: onnx.GraphProto, facts: Facts) -> None:
    """Inference knows better than the file, except behind operators that nobody here knows."""
    foreign = {
        name
        for node in proto.node
        if node.domain not in ("", "ai.onnx") and not (node.domain == "com.microsoft" and node.op_type in SHAPED)
        for name in node.output
    }
    recorded = [value for value in proto.value_info if value.name in foreign]
    del proto.value_info[:]
    proto.value_info.extend(recorded)
    for value in proto.value_info:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in facts.symbols:
                dim.dim_value = facts.symbols[dim.dim_param]


def _collect(inferred: onnx.GraphProto, facts: Facts) -> None:
    """Read value_info of the top level and of the bodies, which appear in the same order as `graph.scopes`."""
    graphs: list[tuple[onnx.GraphProto, int]] = [(inferred, 0)]
    _number_bodies(inferred, graphs)
    for current, here in graphs:
        declared = list(current.input) if here else []
        # a body may also say what it sees of values outside of it: those have keys of their own
        own = {value.name for value in declared} | {name for node in current.node for name in node.output}
        for value in [*current.value_info, *current.output, *declared]:
            key = value.name if here == 0 else f"{value.name}@{here}"
            if value.type.HasField("tensor_type") and (not here or value.name in own):
                facts.dtypes[key] = value.type.tensor_type.elem_type
                shape = _shape(value)
                if shape is not None:
                    facts.shapes.setdefault(key, shape)


def _number_bodies(proto: onnx.GraphProto, graphs: list[tuple[onnx.GraphProto, int]]) -> None:
    """Number nested bodies depth first in node order, exactly as graph.build does."""
    for node in proto.node:
        for body in graphs_of(node):
            graphs.append((body, len(graphs)))
            _number_bodies(body, graphs)


def _shape(value: ValueInfoProto) -> Shape | None:
    if not value.type.tensor_type.HasField("shape"):
        return None
    return tuple(d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim)


def _infer_node(graph: Graph, facts: Facts, node: Node, inputs: Sequence[NDArray[Any] | None]) -> None:
    if node.domain:
        contrib_shape(facts, node)
        return
    if node.op_type in WITHOUT_INFERENCE:
        _like_first(facts, node)
        return
    version = graph.model.opset()
    try:
        schema = onnx.defs.get_schema(node.op_type, version, "")
        types: dict[str, TypeProto] = {}
        data: dict[str, TensorProto] = {}
        for name, key, value in zip(node.proto.input, node.inputs, inputs, strict=True):
            shape = facts.shapes.get(key)
            if not name or key not in facts.dtypes:
                continue
            types[name] = onnx.helper.make_tensor_type_proto(facts.dtypes[key], shape)
            if value is not None:
                data[name] = onnx.numpy_helper.from_array(np.asarray(value, order="C"), name)
        if any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in node.proto.attribute):
            return
        found = onnx.shape_inference.infer_node_outputs(
            schema, node.proto, types, data, opset_imports=list(graph.model.proto.opset_import), ir_version=10
        )
    except onnx.shape_inference.InferenceError:  # the inference function gives up: the shape stays unknown
        # (in a branch that is not taken, it is none of our business)
        if node.scope == 0 and all(complete(facts.shapes.get(key)) for key in node.inputs if key):
            facts.refused.append(node.label)
        return
    except Exception:  # an unknown operator, mostly
        return
    if node.op_type == "Expand" and not complete(facts.shapes.get(node.outputs[0])):
        _expand_to(graph, facts, node, inputs[1])
        return
    for name, key in zip(node.proto.output, node.outputs, strict=True):
        if name in found and found[name].HasField("tensor_type"):
            tensor = found[name].tensor_type
            facts.dtypes.setdefault(key, tensor.elem_type)
            if tensor.HasField("shape"):
                facts.shapes[key] = tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)


def _expand_to(graph: Graph, facts: Facts, node: Node, target: NDArray[Any] | None) -> None:
    """Expand to sizes that are known or, where not all are, to the shape of another value: what is known is worth
    having.
    """
    data = facts.shapes.get(node.inputs[0])
    index = graph.producer.get(node.inputs[1])
    maker = None if index is None else graph.nodes[index]
    like: Shape | None = None
    if target is not None:
        like = tuple(int(size) for size in target.ravel())
    elif maker is not None and maker.op_type == "Shape" and not maker.attributes:
        like = facts.shapes.get(maker.inputs[0])
    if data is None or like is None:
        return
    rank = max(len(data), len(like))
    pairs = zip((1,) * (rank - len(data)) + data, (1,) * (rank - len(like)) + like, strict=True)
    facts.shapes[node.outputs[0]] = tuple(b if a == 1 else a for a, b in pairs)
    if node.inputs[0] in facts.dtypes:
        facts.dtypes.setdefault(node.outputs[0], facts.dtypes[node.inputs[0]])


# Operators of the default domain for which onnx has no inference function (nor one for their function bodies), or which
# only ONNX Runtime has there.
WITHOUT_INFERENCE = frozenset({"GroupNormalization", "MeanVarianceNormalization", "SimplifiedLayerNormalization"})


def _like_first(facts: Facts, node: Node) -> None:
    """The output has the shape and the type of the first input, as far as they are known."""
    source, target = node.inputs[0], node.outputs[0]
    if source in facts.shapes:
        facts.shapes[target] = facts.shapes[source]
    if source in facts.dtypes:
        facts.dtypes.setdefault(target, facts.dtypes[source])
