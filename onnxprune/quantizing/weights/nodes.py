"""Small weights in a copy of a model: nodes that make them real, or that compute with them.

These nodes are written by us: `onnxruntime.quantization` rounds by itself, takes models of at most 2 GB, replaces Gemm
and the producer's name, stores no weight without the inputs of its layer, and for MatMulNBits needs a package that it
does not require. The forms are those that it writes and ONNX Runtime fuses (DynamicQuantizeMatMul,
MatMulIntegerToFloat).

Whole tensors are made real by Cast and Mul, which ONNX Runtime computes once, when it loads the file: it runs as fast
as before. (It leaves DequantizeLinear in place: a convolution behind it takes 1.4 times as long, and of a product it
makes MatMulNBits, which rounds the activations as well.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper

from onnxprune.model.graph import Graph, Node, build
from onnxprune.model.load import Model
from onnxprune.model.names import fresh, taken
from onnxprune.model.plain import declared
from onnxprune.model.recorded import tidy
from onnxprune.model.splice import FRONT, splice
from onnxprune.model.tensors import LazyTensor
from onnxprune.quantizing.weights.packing import packed_zeros
from onnxprune.quantizing.weights.places import BLOCKS, PRODUCT, RECURRENCE, ROWS
from onnxprune.quantizing.weights.stored import Stored

MICROSOFT = "com.microsoft"


def with_small_weights(model: Model, stored: Mapping[str, Stored], accuracy_level: int) -> Model:
    """`model`, in its working form, with `stored` in place of the initializers of these names."""
    if not stored:
        return model
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    work = _Writing(build(Model(proto, model.tensors)), stored, accuracy_level)
    for item in stored.values():
        work.write(item)
    return work.finish(model)


def with_rounded_inputs(model: Model, keys: set[str]) -> tuple[Model, dict[str, str]]:
    """A float model in which readers of weights named `keys` (products) get inputs as DynamicQuantizeLinear rounds
    them; and for every input its rounded one."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    graph = build(Model(proto, model.tensors))
    names, before = taken(proto, model.tensors), dict[int, list[NodeProto]]()
    found: dict[str, str] = {}
    for node in graph.nodes:
        if len(node.inputs) < 2 or node.inputs[1] not in keys:
            continue
        x = node.proto.input[0]
        if x not in found:
            quantise, parts = _quantise(x, names)
            found[x] = fresh(f"{x}_rounded", names)
            before[node.index] = [quantise, helper.make_node("DequantizeLinear", parts, [found[x]])]
        node.proto.input[0] = found[x]
    splice(graph, before)
    return model.replace(proto, model.tensors), found


def _quantise(x: str, names: set[str]) -> tuple[NodeProto, list[str]]:
    parts = [fresh(f"{x}_{part}", names) for part in ("quantized", "scale", "zero_point")]
    return helper.make_node("DynamicQuantizeLinear", [x], parts), parts


class _Writing:
    def __init__(self, graph: Graph, stored: Mapping[str, Stored], accuracy_level: int) -> None:
        self.graph, self.stored, self.level = graph, stored, accuracy_level
        self.tensors = dict(graph.model.tensors)
        self.names = taken(graph.model.proto, self.tensors)
        self.before: dict[int, list[NodeProto]] = {}
        self.dropped: set[int] = set()
        self.rounded: dict[str, list[str]] = {}

    def write(self, item: Stored) -> None:
        readers = [self.graph.nodes[index] for index, _ in self.graph.consumers[item.place.key]]
        if item.place.form == BLOCKS:
            self._blocks(item, readers)
        elif item.place.form == PRODUCT:
            self._product(item, readers)
        elif item.place.form == RECURRENCE:
            self._recurrent(item)
        elif item.place.form == ROWS:
            self._rows(item, readers)
        else:
            self._whole(item)

    def finish(self, before: Model) -> Model:
        proto = self.graph.model.proto
        splice(self.graph, self.before, self.dropped)
        needed = any(node.domain == MICROSOFT for node in proto.graph.node)
        if needed and not any(entry.domain == MICROSOFT for entry in proto.opset_import):
            proto.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
        made = {name for node in proto.graph.node for name in node.output}
        for value in [value for value in proto.graph.input if value.name in made]:
            proto.graph.input.remove(value)  # before IR version 4 initializers are inputs, too
        return declared(before.replace(proto, tidy(proto, self.tensors, before.proto, nodes=False)))

    # ---- forms -------------------------------------------------------------------------------------------------
    def _blocks(self, item: Stored, readers: list[Node]) -> None:
        grid, key = item.grid, item.place.key
        assert grid is not None
        inputs = [
            self._add(f"{key}_{item.bits}bits", item.integers),
            self._add(f"{key}_scales", np.ascontiguousarray(grid.scale.T)),
        ]
        if not item.symmetric:
            inputs.append(self._add(f"{key}_zero_points", packed_zeros(grid.zero_point, item.bits)))
        sizes: dict[str, Any] = {"K": item.features, "N": item.outputs, "bits": item.bits, "block_size": grid.block}
        if self.level:
            sizes["accuracy_level"] = self.level
        for node in readers:
            result, rest = self._result(node)
            name, given = node.proto.name, [node.proto.input[0], *inputs]
            small = helper.make_node("MatMulNBits", given, [result], name=name, domain=MICROSOFT, **sizes)
            self._replace(node, small, *rest)

    def _product(self, item: Stored, readers: list[Node]) -> None:
        """x -> integers, scale, zero point; their product; times both scales."""
        grid, key = item.grid, item.place.key
        assert grid is not None
        weight = self._add(f"{key}_int8", np.ascontiguousarray(item.integers.T if item.turned else item.integers))
        scale = self._add(f"{key}_scales", grid.scale * np.float32(item.alpha))
        for node in readers:
            x, output = node.proto.input[0], node.proto.output[0]
            if x not in self.rounded:
                quantise, self.rounded[x] = _quantise(x, self.names)
                self._insert(node.index, quantise)
            integers, x_scale, zero = self.rounded[x]
            sums, real, both = (fresh(f"{output}_{part}", self.names) for part in ("sums", "real", "scales"))
            result, rest = self._result(node)
            self._replace(
                node,
                helper.make_node("MatMulInteger", [integers, weight, zero], [sums], name=node.proto.name),
                _to_float(sums, real),
                helper.make_node("Mul", [x_scale, scale], [both]),
                helper.make_node("Mul", [real, both], [result]),
                *rest,
            )

    def _recurrent(self, item: Stored) -> None:
        """Both weights of an LSTM, with the first of them."""
        node = self.graph.nodes[item.place.node.index]
        if node.index in self.dropped:
            return
        inputs, grids = list(node.proto.input), list[str]()
        for slot, one in enumerate((self.stored[key] for key in node.inputs[1:3]), 1):
            assert one.grid is not None
            scale = np.ascontiguousarray(np.broadcast_to(one.grid.scale, one.place.shape[:2]))
            inputs[slot] = self._add(f"{one.place.key}_int8", np.ascontiguousarray(one.integers.swapaxes(1, 2)))
            grids.append(self._add(f"{one.place.key}_scales", scale))
            grids.append(self._add(f"{one.place.key}_zero_points", np.zeros(scale.shape, np.int8)))
        inputs += [""] * (8 - len(inputs))
        small = NodeProto()
        small.CopyFrom(node.proto)
        small.op_type, small.domain = "DynamicQuantizeLSTM", MICROSOFT
        del small.input[:]
        small.input.extend([*inputs, *grids])
        for attribute in [a for a in small.attribute if a.name == "layout"]:
            small.attribute.remove(attribute)
        self._replace(node, small)

    def _rows(self, item: Stored, readers: list[Node]) -> None:
        table = self._add(f"{item.place.key}_{item.suffix}", item.integers)
        scale = None
        if item.grid is not None:
            scale = self._add(f"{item.place.key}_scales", item.grid.scale.reshape(-1, 1))
        for node in readers:
            name, (result,) = node.proto.name, node.proto.output
            rows, real = (fresh(f"{result}_{part}", self.names) for part in ("rows", "real"))
            nodes = [
                helper.make_node("Gather", [table, node.proto.input[1]], [rows], name=name, axis=0),
                _to_float(rows, result if scale is None else real),
            ]
            if scale is not None:
                each = fresh(f"{result}_scales", self.names)
                nodes.append(helper.make_node("Gather", [scale, node.proto.input[1]], [each], axis=0))
                nodes.append(helper.make_node("Mul", [real, each], [result]))
            self._replace(node, *nodes)

    def _whole(self, item: Stored) -> None:
        """Under the name of the initializer, at the beginning of the graph: readers stay what they are."""
        key = item.place.key
        small = self._add(f"{key}_{item.suffix}", item.integers)
        del self.tensors[key]
        if item.grid is None:
            self._insert(FRONT, _to_float(small, key))
            return
        shape = [1] * len(item.place.shape)
        shape[item.place.axis] = -1
        scale = self._add(f"{key}_scales", item.grid.scale.reshape(shape))
        real = fresh(f"{key}_real", self.names)
        self._insert(FRONT, _to_float(small, real), helper.make_node("Mul", [real, scale], [key]))

    # ---- inner -------------------------------------------------------------------------------------------------
    def _add(self, wish: str, array: NDArray[Any]) -> str:
        name = fresh(wish, self.names)
        self.tensors[name] = LazyTensor.from_array(name, array)
        return name

    def _insert(self, index: int, *nodes: NodeProto) -> None:
        self.before.setdefault(index, []).extend(nodes)

    def _replace(self, node: Node, *nodes: NodeProto) -> None:
        self._insert(node.index, *nodes)
        self.dropped.add(node.index)

    def _result(self, node: Node) -> tuple[str, list[NodeProto]]:
        """What a product is to give, and what adds its bias."""
        proto = node.proto
        bias = proto.input[2] if len(proto.input) > 2 else ""
        if not bias:
            return proto.output[0], []
        result = fresh(f"{proto.output[0]}_product", self.names)
        return result, [helper.make_node("Add", [result, bias], [proto.output[0]])]


def _to_float(source: str, result: str) -> NodeProto:
    return helper.make_node("Cast", [source], [result], to=TensorProto.FLOAT)
