"""A little builder of valid ONNX graphs: every value knows its shape behind the batch axis."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

OPSET = 21


@dataclass(frozen=True)
class Value:
    """A tensor: (N, *shape)."""

    name: str
    shape: tuple[int, ...]


@dataclass
class Net:
    """A graph in the making. Weights come from `rng`, so a seed says it all."""

    rng: np.random.Generator
    batch: int | str = "N"
    nodes: list[NodeProto] = field(default_factory=list)
    tensors: list[TensorProto] = field(default_factory=list)
    inputs: list[Value] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    used: list[str] = field(default_factory=list)
    """names of the steps taken, for statistics"""

    def input(self, *shape: int) -> Value:
        value = Value(f"input{len(self.inputs)}", shape)
        self.inputs.append(value)
        self.values.append(value)
        return value

    def constant(self, array: NDArray[Any]) -> str:
        """An initializer, or now and then a Constant node."""
        name = f"c{len(self.tensors) + len(self.nodes)}"
        tensor = numpy_helper.from_array(np.asarray(array, order="C"), name)
        if self.rng.random() < 0.15:
            self.nodes.append(helper.make_node("Constant", [], [name], name=f"{name}_node", value=tensor))
        else:
            self.tensors.append(tensor)
        return name

    def weight(self, *shape: int, fan_in: int | None = None) -> str:
        scale = 1.0 / np.sqrt(fan_in if fan_in else max(int(np.prod(shape[1:])), 1))
        return self.constant((self.rng.standard_normal(shape) * scale).astype(np.float32))

    def positive(self, *shape: int) -> str:
        return self.constant(self.rng.uniform(0.5, 1.5, shape).astype(np.float32))

    def sizes(self, *numbers: int) -> str:
        return self.constant(np.array(numbers, np.int64))

    def raw(self, op_type: str, inputs: list[str], outputs: int = 1, **attributes: Any) -> list[str]:
        """A node; names of its outputs."""
        number = len(self.nodes)
        names = [f"v{number}" if k == 0 else f"v{number}_{k}" for k in range(outputs)]
        self.nodes.append(helper.make_node(op_type, inputs, names, name=f"{op_type}_{number}", **attributes))
        return names

    def node(self, op_type: str, inputs: list[str], shape: tuple[int, ...], **attributes: Any) -> Value:
        """A node with one output of (N, *shape)."""
        value = Value(self.raw(op_type, inputs, **attributes)[0], shape)
        self.values.append(value)
        return value

    def model(self, outputs: list[Value], opset: int = OPSET, ir_version: int = 10) -> ModelProto:
        def info(value: Value) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(value.name, TensorProto.FLOAT, [self.batch, *value.shape])

        graph = helper.make_graph(
            self.nodes, "random", [info(v) for v in self.inputs], [info(v) for v in outputs], self.tensors
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)


def feed(proto: ModelProto, seed: int = 0, batch: int = 2) -> dict[str, NDArray[np.float32]]:
    """Normal numbers for the inputs of a generated model; `batch` for the symbolic axis."""
    rng = np.random.default_rng(seed)
    return {
        value.name: rng.standard_normal([d.dim_value or batch for d in value.type.tensor_type.shape.dim]).astype(
            np.float32
        )
        for value in proto.graph.input
    }
