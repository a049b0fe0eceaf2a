"""Small weights in a copy of a model: nodes that make them real, or that compute with them.

`onnxruntime.quantization` rounds by itself, takes models of at most 2 GB, and knows no weights of convolutions here: so
these nodes are written by us. Whole tensors are made real by Cast and Mul, which ONNX Runtime computes once, when it
loads the file: it runs as fast as before. (It leaves DequantizeLinear in place: a convolution behind it takes 1.4 times
as long, and of a product it makes MatMulNBits, which rounds the activations as well.)
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
from onnxprune.quantizing.weights.places import BLOCKS, ROWS
from onnxprune.quantizing.weights.stored import Stored

MICROSOFT = "com.microsoft"


def with_small_weights(model: Model, stored: Mapping[str, Stored], accuracy_level: int) -> Model:
    """`model`, in its working form, with `stored` in place of the initializers of these names."""
    if not stored:
        return model
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    work = _Writing(build(Model(proto, model.tensors)), accuracy_level)
    for item in stored.values():
        work.write(item)
    return work.finish(model)


class _Writing:
    def __init__(self, graph: Graph, accuracy_level: int) -> None:
        self.graph, self.level = graph, accuracy_level
        self.tensors = dict(graph.model.tensors)
        self.names = taken(graph.model.proto, self.tensors)
        self.before: dict[int, list[NodeProto]] = {}
        self.dropped: set[int] = set()

    def write(self, item: Stored) -> None:
        readers = [self.graph.nodes[index] for index, _ in self.graph.consumers[item.place.key]]
        if item.place.form == BLOCKS:
            self._blocks(item, readers)
        elif item.place.form == ROWS:
            self._rows(item, readers)
        else:
            self._whole(item)

    def _add(self, wish: str, array: NDArray[Any], dtype: int | None = None) -> str:
        name = fresh(wish, self.names)
        self.tensors[name] = LazyTensor.from_array(name, array, dtype)
        return name

    def _insert(self, index: int, *nodes: NodeProto) -> None:
        self.before.setdefault(index, []).extend(nodes)

    def _blocks(self, item: Stored, readers: list[Node]) -> None:
        grid, key = item.grid, item.place.key
        assert grid is not None
        inputs = [
            self._add(f"{key}_4bits", item.integers),
            self._add(f"{key}_scales", np.ascontiguousarray(grid.scale.T)),
        ]
        if not item.symmetric:
            inputs.append(self._add(f"{key}_zero_points", packed_zeros(grid.zero_point)))
        sizes: dict[str, Any] = {"K": item.features, "N": item.outputs, "bits": 4, "block_size": grid.block}
        if self.level:
            sizes["accuracy_level"] = self.level
        for node in readers:
            proto = node.proto
            bias = proto.input[2] if len(proto.input) > 2 else ""
            result = proto.output[0] if not bias else fresh(f"{proto.output[0]}_product", self.names)
            small = helper.make_node(
                "MatMulNBits", [proto.input[0], *inputs], [result], name=proto.name, domain=MICROSOFT, **sizes
            )
            self._insert(node.index, small)
            if bias:
                self._insert(node.index, helper.make_node("Add", [result, bias], [proto.output[0]], name=""))
            self.dropped.add(node.index)

    def _rows(self, item: Stored, readers: list[Node]) -> None:
        table = self._add(f"{item.place.key}_{item.suffix}", item.integers)
        scale = None
        if item.grid is not None:
            scale = self._add(f"{item.place.key}_scales", item.grid.scale.reshape(-1, 1))
        for node in readers:
            name, (result,) = node.proto.name, node.proto.output
            rows, real = (fresh(f"{result}_{part}", self.names) for part in ("rows", "real"))
            self._insert(
                node.index,
                helper.make_node("Gather", [table, node.proto.input[1]], [rows], name=name, axis=0),
                _to_float(rows, result if scale is None else real),
            )
            if scale is not None:
                each = fresh(f"{result}_scales", self.names)
                self._insert(
                    node.index,
                    helper.make_node("Gather", [scale, node.proto.input[1]], [each], axis=0),
                    helper.make_node("Mul", [real, each], [result]),
                )
            self.dropped.add(node.index)

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


def _to_float(source: str, result: str) -> NodeProto:
    return helper.make_node("Cast", [source], [result], to=TensorProto.FLOAT)
