"""Weights that are not initializers: as initializers in a working form of the model, and back in their places.

A weight may be the value of a Constant node, or be computed from constants by operators that can be undone: Identity,
Transpose, Casts, DequantizeLinear, changes of shape, Concat, and products and sums with constants (an 8-bit weight and
its scale). In the working form the layer reads an initializer of the same name, and the nodes on the way are left out;
`lowered` writes new values to where they came from, so that the nodes of the file stay what they are. Integers are
rounded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, NodeProto, TensorProto, helper

from onnxprune.model.folding import folded
from onnxprune.model.graph import Graph, Node, build
from onnxprune.model.grids import Grid
from onnxprune.model.load import Model
from onnxprune.model.names import fresh, taken
from onnxprune.model.recorded import tidy
from onnxprune.model.splice import splice
from onnxprune.model.tensors import FLOATS, LazyTensor
from onnxprune.model.tied_scales import BIAS, OUTPUTS, regrown
from onnxprune.model.undo import UNDO, WHOLE, Made, made, undone

Array = NDArray[Any]


def origins(graph: Graph, key: str) -> Sequence[str]:
    """The constants from which `key`, a weight for which `made` gives a way, comes, with their scales."""
    found = made(graph, key)
    return () if found is None else (*found.constants, *found.scales.values())


def settable(graph: Graph, key: str) -> bool:
    """Whether `key` is an initializer that is the model's own, or becomes one in the working form."""
    if key in graph.model.tensors:
        return key not in graph.fixed
    way = made(graph, key)
    return way is not None and _exclusive(graph, key, way)


def owned(graph: Graph, key: str) -> bool:
    """Whether `key` is settable, and has one reader."""
    return settable(graph, key) and len(graph.consumers.get(key, ())) == 1


def copyable(graph: Graph, key: str) -> bool:
    """Whether a layer may get a copy of `key` of its own: of an initializer that others read as well, or of a constant
    on whatever way.
    """
    if key in graph.model.tensors:
        return key not in graph.fixed and len(graph.consumers[key]) > 1
    way = made(graph, key)
    return way is not None and graph.fixed.keys().isdisjoint(way.constants)


def shape_of(graph: Graph, key: str) -> tuple[int, ...]:
    """The shape of a settable value."""
    if key in graph.constants:
        return graph.constants[key].shape
    return tuple(folded(graph, key).shape)


def dtype_of(graph: Graph, key: str) -> int:
    """The element type of `key`, a weight for which `made` gives a way."""
    way = made(graph, key)
    return TensorProto.FLOAT if way is None else way.dtype


def outputs_of(node: NodeProto, shape: tuple[int, ...]) -> int:
    """Outputs of a Conv, ConvTranspose or Gemm with a weight of this shape."""
    attributes = {a.name: int(a.i) for a in node.attribute}
    if node.op_type == "ConvTranspose":
        return shape[1] * attributes.get("group", 1)
    return shape[0 if node.op_type == "Conv" or attributes.get("transB") else 1]


def hoisted(model: Model, *, integers: bool = True) -> Model:
    """The working form. A constant that reaches more than one value through nodes stays as it is; without `integers`
    those of DequantizeLinear, too.
    """
    graph = build(model)
    paths = _paths(graph)
    if not integers:
        paths = {key: way for key, way in paths.items() if not way.grids}
    if not paths:
        return model
    tensors = dict(model.tensors)
    gone = set()
    for key, way in paths.items():
        gone |= {node.index for node in way.nodes} | {graph.constants[start].node for start in way.constants}
        for start in way.constants:
            if start not in paths:
                tensors.pop(start, None)
        tensors[key] = LazyTensor.from_array(key, folded(graph, key), dtype_of(graph, key))
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    copy = build(Model(proto, model.tensors))
    splice(copy, {}, {index for index in gone if index is not None})
    for value in [v for v in proto.graph.input if v.name in model.tensors and v.name not in tensors]:
        proto.graph.input.remove(value)
    return declared(model.replace(proto, tidy(proto, tensors, model.proto, nodes=False)))


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


def stored_grids(model: Model) -> dict[str, Grid]:
    """By weight of the working form, the grid on which the file stores it. Those of 32 bits are as good as none."""
    found = {key: way.grid for key, way in _paths(build(model)).items()}
    return {key: grid for key, grid in found.items() if grid is not None and grid.dtype != TensorProto.INT32}


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
    added = _added_biases(graph, by_output, tensors)
    arrays = {key: repaired.tensors[key].array() for key in (*paths, *added.values())}
    fits = regrown(graph, paths, arrays, added)
    file = _File(graph, proto, tensors)
    for key, way in paths.items():
        grown = any(index in fits.grids for index in way.grids)
        if not grown and np.array_equal(arrays[key], folded(graph, key), equal_nan=True):
            continue
        found = undone(graph, way, arrays[key], fits.grids)
        for start, values in found.constants.items():
            file.set(start, values)
        for index, scale in found.scales.items():
            file.set_scale(graph.nodes[index], way.scales.get(index), scale)
    for name, grid in fits.biases.items():
        file.store_bias(name, grid)
    return model.replace(proto, tensors)


def constant_value(node: NodeProto) -> AttributeProto | None:
    """The attribute of a Constant node that holds the numbers of a weight, dense."""
    found: AttributeProto
    for found in node.attribute:
        dense = found.name == "value" and found.t.data_type in FLOATS | WHOLE
        if (dense or found.name == "value_floats") and not found.ref_attr_name:
            return found
    return None


# ---- inner -----------------------------------------------------------------------------------------------------
def _paths(graph: Graph) -> dict[str, Made]:
    """The values at the top level that become initializers, and how each is made."""
    found: dict[str, Made] = {}
    for node in graph.nodes:
        if node.scope != 0 or not graph.computed.isdisjoint(node.outputs):
            continue
        for key in node.inputs:
            if not key or key in graph.model.tensors or key in found:
                continue
            way = made(graph, key)
            if way is not None and _exclusive(graph, key, way):
                found[key] = way
    return found


def _exclusive(graph: Graph, key: str, way: Made) -> bool:
    """Whether nobody else reads the constants and the values on the way, and all of them are at the top level."""
    outputs = {value.name for value in graph.model.proto.graph.output}
    if key in outputs or any(node.scope != 0 for node in way.nodes):
        return False
    for start in way.constants:
        constant = graph.constants[start]
        if constant.scope != 0 or start in graph.fixed:
            return False
        if constant.node is not None and constant_value(graph.nodes[constant.node].proto) is None:
            return False
    between = {*way.constants, *(node.outputs[0] for node in way.nodes)} - {key}
    return all(len(graph.consumers.get(one, ())) == 1 and one not in outputs for one in between)


def _added_biases(graph: Graph, nodes: Mapping[str, NodeProto], tensors: Mapping[str, LazyTensor]) -> dict[int, str]:
    """By layer, names of biases that are not in the file. `nodes`: as they become, by first output."""
    found = {}
    for node in graph.nodes:
        if node.scope == 0 and node.op_type in OUTPUTS and not node.domain:
            reads = nodes[node.proto.output[0]].input
            if len(reads) > BIAS and reads[BIAS] in tensors and reads[BIAS] not in graph.model.tensors:
                found[node.index] = reads[BIAS]
    return found


@dataclass
class _File:
    """A file that is given new values. `graph`: as it was; `proto` and `tensors`: as it becomes."""

    graph: Graph
    proto: onnx.ModelProto
    tensors: dict[str, LazyTensor]
    scales: dict[tuple[str, bytes], str] = field(default_factory=dict)

    @cached_property
    def _nodes(self) -> dict[str, NodeProto]:
        return {node.output[0]: node for node in self.proto.graph.node if node.output}

    @cached_property
    def _names(self) -> set[str]:
        return taken(self.proto, self.tensors)

    def set(self, key: str, values: Array) -> None:
        """New values of a constant."""
        constant = self.graph.constants[key]
        if constant.node is None:
            self.tensors[constant.name] = self.tensors[constant.name].with_array(values)
        else:
            _set_value(self._nodes[constant.name], values)

    def set_scale(self, node: Node, own: str | None, scale: Array) -> None:
        """A new scale of a node: in place of its `own` one, or beside one that others read."""
        if own is not None:
            old = self.graph.constants[own]
            self.set(own, scale.astype(helper.tensor_dtype_to_np_dtype(old.dtype)).reshape(old.shape))
            return
        constant = self.graph.constants[node.inputs[1]]
        values = scale.astype(helper.tensor_dtype_to_np_dtype(constant.dtype)).reshape(constant.shape)
        key = constant.key, values.tobytes()
        if key not in self.scales:
            self.scales[key] = fresh(f"{constant.name}.grown", self._names)
            self.tensors[self.scales[key]] = LazyTensor.from_array(self.scales[key], values, constant.dtype)
        self._nodes[node.proto.output[0]].input[1] = self.scales[key]

    def store_bias(self, name: str, grid: Grid) -> None:
        """The initializer `name` as integers, and DequantizeLinear before its reader."""
        parts = {"quantized": grid.integers(self.tensors.pop(name).array()), "scale": grid.scale}
        parts["zero_point"] = grid.zero_point
        names = [fresh(f"{name}.{part}", self._names) for part in parts]
        self.tensors |= {key: LazyTensor.from_array(key, a) for key, a in zip(names, parts.values(), strict=True)}
        undo = helper.make_node(UNDO, names, [name], f"{name}.{UNDO}")
        if grid.axis is not None:
            undo.attribute.append(helper.make_attribute("axis", grid.axis))
        nodes = self.proto.graph.node
        nodes.insert(next(i for i, node in enumerate(nodes) if name in node.input), undo)


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
