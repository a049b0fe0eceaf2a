"""Editing a ModelProto in place: nodes are addressed by their index in the trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper

from onnxprune.model.graph import Constant, Node, build
from onnxprune.model.load import Model
from onnxprune.model.names import fresh, taken
from onnxprune.model.recorded import Resized, tidy
from onnxprune.model.splice import FRONT, splice
from onnxprune.model.tensors import LazyTensor
from onnxprune.trace.ops.atoms import IntArray, Labels

Array = NDArray[Any]
SHARED_BYTES = 4096
"""New constants up to this size are shared if they are equal."""


class Surgeon:
    """Works on `proto`, a copy of the model's skeleton; `graph` has the same indices as the trace's graph."""

    def __init__(self, model: Model, proto: onnx.ModelProto) -> None:
        self._model = model
        self._proto = proto
        self._tensors = dict(model.tensors)
        self.graph = build(Model(proto, self._tensors, model.path, model.external_files, model.notes))
        self._names = taken(proto, self._tensors)
        self._before: dict[int, list[NodeProto]] = {}
        self._made: dict[tuple[bytes, str, tuple[int, ...]] | None, str] = {}

    # ---- constants ---------------------------------------------------------------------------------------------
    def replace_constant(self, constant: Constant, cuts: Sequence[tuple[list[tuple[int, int]], Array | None]]) -> None:
        """Give every use its cut of the constant. A single cut keeps the constant's name and place."""
        if len(cuts) == 1 and cuts[0][1] is not None:
            self._overwrite(constant, cuts[0][1])
            return
        for uses, array in cuts:
            if array is None:
                continue
            name = self._add(f"{constant.name}.pruned", array, constant.dtype)
            for index, slot in uses:
                self.graph.nodes[index].proto.input[slot] = name

    def _overwrite(self, constant: Constant, array: Array) -> None:
        if constant.node is not None:
            node = self.graph.nodes[constant.node].proto
            tensor = LazyTensor.from_array(constant.name, array, constant.dtype).to_proto()
            old = next((a for a in node.attribute if a.name == "value"), None)
            if old is None:
                del node.attribute[:]
                node.attribute.append(helper.make_attribute("value", tensor))
            else:
                tensor.name, tensor.doc_string = old.t.name, old.t.doc_string
                old.t.CopyFrom(tensor)
        elif constant.scope == 0:
            self._tensors[constant.name] = LazyTensor.from_array(constant.name, array, constant.dtype)
        else:
            tensor = LazyTensor.from_array(constant.name, array, constant.dtype).to_proto()
            for known in self.graph.scopes[constant.scope].initializer:
                if known.name == constant.name:
                    tensor.doc_string = known.doc_string
                    known.CopyFrom(tensor)

    def _add(self, wanted: str, array: Array, dtype: int | None = None) -> str:
        """A new constant at the top level: an initializer, or a Constant node where initializers must be inputs."""
        array = np.asarray(array, order="C")  # keeps rank 0
        identity = (array.tobytes(), str(array.dtype), array.shape) if array.nbytes <= SHARED_BYTES else None
        if identity in self._made:
            return self._made[identity]
        name = self.fresh(wanted)
        tensor = LazyTensor.from_array(name, array, dtype)
        if self._proto.ir_version < 4:
            node = helper.make_node("Constant", [], [name], name=name, value=tensor.to_proto())
            self._before.setdefault(FRONT, []).append(node)
        else:
            self._tensors[name] = tensor
        if identity is not None:
            self._made[identity] = name
        return name

    def fresh(self, wanted: str) -> str:
        """A name like `wanted` that nothing has."""
        return fresh(wanted, self._names)

    # ---- sizes -------------------------------------------------------------------------------------------------
    def patch_sizes(self, node: Node, slot: int, known: Array | None, sizes: Mapping[int, int], length: int) -> None:
        """Make some elements of a size input literal. Unknown others are taken from the old input at run time."""
        target = self.graph.nodes[node.index].proto
        if known is None:
            target.input[slot] = self.patched(node.index, target.input[slot], sizes, length)
            return
        new = np.array(known, np.int64)
        for position, size in sizes.items():
            new[position] = size
        target.input[slot] = self._add(f"{target.input[slot]}.pruned", new)

    def patched(self, index: int, name: str, sizes: Mapping[int, int], length: int) -> str:
        """The list `name` of `length` integers with other `sizes` (position -> size), written before node `index`."""
        keep = np.array([0 if p in sizes else 1 for p in range(length)], np.int64)
        put = np.array([sizes.get(p, 0) for p in range(length)], np.int64)
        if not keep.any():
            return self._add(f"{name}.pruned", put)
        product, total = self.fresh(f"{name}.kept"), self.fresh(f"{name}.pruned")
        self.insert(
            index,
            [
                helper.make_node("Mul", [name, self._add(f"{name}.mask", keep)], [product], name=product),
                helper.make_node("Add", [product, self._add(f"{name}.sizes", put)], [total], name=total),
            ],
        )
        return total

    def insert(self, index: int, nodes: Sequence[NodeProto]) -> None:
        """Put new nodes right before node `index`, behind those that were put there before."""
        self._before.setdefault(index, []).extend(nodes)

    def read(self, node: Node, slot: int, name: str) -> None:
        """Let a node read another value."""
        self.graph.nodes[node.index].proto.input[slot] = name

    def freeze(self, node: Node, slot: int, value: Array) -> None:
        """Let an input of a node be a constant."""
        target = self.graph.nodes[node.index].proto
        target.input[slot] = self._add(f"{target.input[slot]}.frozen", value)

    def rename(self, key: str, instead: str) -> None:
        """Give the name of an output of a graph to the value `instead`. Who reads it within reads on what it is."""
        index = self.graph.producer[key]
        proto = self.graph.nodes[index].proto
        position = self.graph.nodes[index].outputs.index(key)
        name, inner = proto.output[position], self.fresh(f"{proto.output[position]}.cut")
        proto.output[position] = inner
        for reader, slot in self.graph.consumers.get(key, ()):
            if self.graph.nodes[reader].proto.input[slot] == name:
                self.graph.nodes[reader].proto.input[slot] = inner
        self.insert(index, [helper.make_node("Identity", [instead], [name], name=name)])

    def edit(
        self,
        index: int,
        mask: Callable[[IntArray], NDArray[np.bool_]] | None = None,
        count: Callable[[Labels, int], int] | None = None,
    ) -> NodeEdit:
        return NodeEdit(self, self.graph.nodes[index].proto, mask, count)

    # ---- the result --------------------------------------------------------------------------------------------
    def finish(self, resized: Resized) -> Model:
        """Insert the new nodes, drop constants that lost their readers, correct what is recorded; see `tidy`."""
        splice(self.graph, self._before)
        return self._model.replace(self._proto, tidy(self._proto, self._tensors, self._model.proto, resized))


class NodeEdit:
    """One node under the knife; see ops.context.Edit. `replaced` are the input slots that were set."""

    def __init__(
        self,
        surgeon: Surgeon,
        proto: NodeProto,
        mask: Callable[[IntArray], NDArray[np.bool_]] | None,
        count: Callable[[Labels, int], int] | None,
    ) -> None:
        self._surgeon = surgeon
        self._mask, self._count = mask, count
        self.proto = proto
        self.replaced: set[int] = set()

    def mask(self, labels: IntArray) -> NDArray[np.bool_]:
        assert self._mask is not None
        return self._mask(labels)

    def count(self, labels: Labels, size: int) -> int:
        assert self._count is not None
        return self._count(labels, size)

    def set_attribute(self, name: str, value: Any) -> None:
        """Set, or with None remove, an attribute."""
        for position, attribute in enumerate(self.proto.attribute):
            if attribute.name == name:
                if value is not None and helper.get_attribute_value(attribute) == value:
                    return
                del self.proto.attribute[position]
                break
        if value is not None:
            self.proto.attribute.append(helper.make_attribute(name, value))

    def set_input(self, slot: int, value: Array) -> None:
        """Let input `slot` be a new constant; missing inputs before it are absent ones."""
        while len(self.proto.input) <= slot:
            self.proto.input.append("")
        wanted = self.proto.input[slot] or f"{self.proto.output[0]}.input{slot}"
        self.proto.input[slot] = self._surgeon._add(f"{wanted}.pruned", value)
        self.replaced.add(slot)
