"""Weights that are not initializers: as initializers in a working form of the model, and back in their places.

A weight may be the value of a Constant node, or reach its layer through Identity, Transpose or a Cast between floats.
In the working form the layer reads an initializer of the same name, and the nodes on the way are left out; `lowered`
writes new values to where they came from, so that the nodes of the file stay what they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, NodeProto, helper

from onnxprune.model.folding import folded, source
from onnxprune.model.graph import Graph, Node, build
from onnxprune.model.load import Model
from onnxprune.model.splice import splice
from onnxprune.model.tensors import FLOATS, LazyTensor

Array = NDArray[Any]
PASSED = frozenset({"Identity", "Transpose", "Cast"})


def plain_path(graph: Graph, key: str) -> list[Node] | None:
    """The nodes between a floating-point constant and `key`, if all of them can be undone; None if `key` is no such
    weight."""
    path = source(graph, key)
    if path is None:
        return None
    constant = graph.constants[path[0].inputs[0] if path else key]
    types = [constant.dtype, *(node.attribute("to") for node in path if node.op_type == "Cast")]
    if not FLOATS.issuperset(types) or any(node.op_type not in PASSED for node in path):
        return None
    return path


def origin(graph: Graph, key: str) -> str:
    """The constant from which `key`, a weight for which `plain_path` gives a path, comes."""
    path = source(graph, key)
    return path[0].inputs[0] if path else key


def settable(graph: Graph, key: str) -> bool:
    """Whether `key` is an initializer that is the model's own, or becomes one in the working form."""
    if key in graph.model.tensors:
        return key not in graph.fixed
    path = plain_path(graph, key)
    return path is not None and _exclusive(graph, key, path)


def owned(graph: Graph, key: str) -> bool:
    """Whether `key` is settable, and has one reader."""
    return settable(graph, key) and len(graph.consumers.get(key, ())) == 1


def copyable(graph: Graph, key: str) -> bool:
    """Whether a layer may get a copy of `key` of its own: of an initializer that others read as well, or of a constant
    on whatever way.
    """
    if key in graph.model.tensors:
        return key not in graph.fixed and len(graph.consumers[key]) > 1
    return plain_path(graph, key) is not None and origin(graph, key) not in graph.fixed


def shape_of(graph: Graph, key: str) -> tuple[int, ...]:
    """The shape of a settable value."""
    if key in graph.constants:
        return graph.constants[key].shape
    return tuple(folded(graph, key).shape)


def dtype_of(graph: Graph, key: str) -> int:
    """The element type of `key`, a weight for which `plain_path` gives a path."""
    casts = [int(node.attribute("to")) for node in source(graph, key) or () if node.op_type == "Cast"]
    return casts[-1] if casts else graph.constants[origin(graph, key)].dtype


def outputs_of(node: NodeProto, shape: tuple[int, ...]) -> int:
    """Outputs of a Conv, ConvTranspose or Gemm with a weight of this shape."""
    attributes = {a.name: int(a.i) for a in node.attribute}
    if node.op_type == "ConvTranspose":
        return shape[1] * attributes.get("group", 1)
    return shape[0 if node.op_type == "Conv" or attributes.get("transB") else 1]


def hoisted(model: Model) -> Model:
    """The working form. A constant that reaches more than one value through nodes stays as it is."""
    graph = build(model)
    paths = _paths(graph)
    if not paths:
        return model
    tensors = dict(model.tensors)
    gone = set()
    for key, path in paths.items():
        start = origin(graph, key)
        gone |= {node.index for node in path} | {graph.constants[start].node} - {None}
        if start not in paths:
            tensors.pop(start, None)
        tensors[key] = LazyTensor.from_array(key, folded(graph, key), dtype_of(graph, key))
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    copy = build(Model(proto, model.tensors))
    splice(copy, {}, {index for index in gone if index is not None})
    for value in [v for v in proto.graph.input if v.name in model.tensors and v.name not in tensors]:
        proto.graph.input.remove(value)
    return declared(model.replace(proto, tensors))


def declared(model: Model) -> Model:
    """Before IR version 4 initializers are graph inputs as well: those that are not become so."""
    known = {value.name for value in model.proto.graph.input}
    missing = [t for name, t in model.tensors.items() if name not in known] if model.proto.ir_version < 4 else []
    if not missing:
        return model
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    proto.graph.input.extend(helper.make_tensor_value_info(t.name, t.dtype, t.shape) for t in missing)
    return model.replace(proto, model.tensors)


def lowered(model: Model, repaired: Model) -> Model:
    """`model` with the values and the biases of `repaired`, which was made of its working form."""
    graph = build(model)
    paths = _paths(graph)
    if not paths:
        return repaired
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    inputs = {node.output[0]: node.input for node in repaired.proto.graph.node if node.output}
    by_output = {node.output[0]: node for node in proto.graph.node if node.output}
    for name, node in by_output.items():
        if name in inputs and list(inputs[name]) != list(node.input):
            del node.input[:]
            node.input.extend(inputs[name])
    tensors = dict(model.tensors)
    tensors.update((name, tensor) for name, tensor in repaired.tensors.items() if name not in paths)
    for key, path in paths.items():
        array = repaired.tensors[key].array()
        if np.array_equal(array, folded(graph, key), equal_nan=True):
            continue
        constant = graph.constants[origin(graph, key)]
        values = _undone(graph, path, array).astype(constant.array().dtype)
        if constant.node is None:
            tensors[constant.name] = tensors[constant.name].with_array(values)
        else:
            _set_value(by_output[constant.name], values)
    return model.replace(proto, tensors)


def constant_value(node: NodeProto) -> AttributeProto | None:
    """The attribute of a Constant node that holds floating-point numbers, dense."""
    found: AttributeProto
    for found in node.attribute:
        dense = found.name == "value" and found.t.data_type in FLOATS
        if (dense or found.name == "value_floats") and not found.ref_attr_name:
            return found
    return None


# ---- inner -----------------------------------------------------------------------------------------------------
def _paths(graph: Graph) -> dict[str, list[Node]]:
    """The values at the top level that become initializers, each with the nodes between its constant and itself."""
    found: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for key in node.inputs if node.scope == 0 and not (node.op_type in PASSED and not node.domain) else ():
            if not key or key in graph.model.tensors or key in found:
                continue
            path = plain_path(graph, key)
            if path is not None and _exclusive(graph, key, path):
                found[key] = path
    return found


def _exclusive(graph: Graph, key: str, path: list[Node]) -> bool:
    """Whether nobody else reads the constant and the values on the way, and all of them are at the top level."""
    start, outputs = origin(graph, key), {value.name for value in graph.model.proto.graph.output}
    constant = graph.constants[start]
    if key in outputs or constant.scope != 0 or start in graph.fixed or any(node.scope != 0 for node in path):
        return False
    if constant.node is not None and constant_value(graph.nodes[constant.node].proto) is None:
        return False
    between = [start, *(node.outputs[0] for node in path[:-1])] if path else []
    return all(len(graph.consumers.get(one, ())) == 1 and one not in outputs for one in between)


def _undone(graph: Graph, path: list[Node], array: Array) -> Array:
    """The value of the constant that becomes `array` on its way. Casts are undone by who writes it."""
    for node in reversed(path):
        if node.op_type == "Transpose":
            order = node.attribute("perm") or list(range(array.ndim))[::-1]
            array = np.transpose(array, np.argsort(order))
    return array


def _set_value(node: NodeProto, values: Array) -> None:
    attribute = constant_value(node)
    assert attribute is not None
    if attribute.name == "value_floats":
        del attribute.floats[:]
        attribute.floats.extend(values.ravel().tolist())
        return
    old = attribute.t
    tensor = LazyTensor.from_array(old.name, values, old.data_type).to_proto()
    tensor.doc_string = old.doc_string
    old.CopyFrom(tensor)
