"""Small models for the tests of calibration data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from onnxprune.model.load import Model, load

Dims = Sequence[int | str | None]


def model(
    inputs: dict[str, tuple[int, Dims]],
    nodes: Sequence[NodeProto] = (),
    constants: dict[str, np.ndarray[Any, Any]] | None = None,
) -> Model:
    """A model with these inputs; every input also goes through an Identity, so that the graph has nodes."""
    values = [helper.make_tensor_value_info(name, dtype, list(shape)) for name, (dtype, shape) in inputs.items()]
    chain = [*nodes]
    used = {key for node in nodes for key in node.input}
    chain += [helper.make_node("Identity", [name], [f"{name}_out"]) for name in inputs if name not in used]
    made = [output for node in chain for output in node.output]
    consumed = {key for node in chain for key in node.input}
    outputs = [helper.make_empty_tensor_value_info(name) for name in made if name not in consumed]
    for value in outputs:
        value.type.tensor_type.elem_type = TensorProto.FLOAT
        source = value.name.removesuffix("_out")
        if source in inputs:
            value.type.tensor_type.elem_type = inputs[source][0]
    tensors = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    graph = helper.make_graph(chain, "g", values, outputs, tensors)
    return load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def one(*shape: int | str | None, dtype: int = TensorProto.FLOAT, name: str = "x") -> Model:
    """A model of one input."""
    return model({name: (dtype, shape)})


def gather(rows: int = 5, dtype: int = TensorProto.INT64) -> Model:
    """ids (N, S) look up a table."""
    table = np.zeros((rows, 2), np.float32)
    return model({"ids": (dtype, ("N", "S"))}, [helper.make_node("Gather", ["table", "ids"], ["y"])], {"table": table})
