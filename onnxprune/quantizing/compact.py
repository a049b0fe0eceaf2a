"""Quantisers in few bytes: short names for what was added, and no zero points of biases.

Of a small network the library's names take more bytes than its weights: every one repeats that of the value.
"""

from __future__ import annotations

from collections.abc import Collection

from onnx import ModelProto, TensorProto, numpy_helper

from onnxprune.model.names import bodies, fresh


def compact(proto: ModelProto, before: Collection[str]) -> None:
    """Edit in place; values named in `before` keep their names."""
    _without_zero_points(proto)
    names, new = set(before), dict[str, str]()
    for graph in bodies(proto.graph):
        values = [key for node in graph.node for key in node.output if key]
        for name in (*values, *(tensor.name for tensor in graph.initializer)):
            if name not in before and name not in new:
                new[name] = fresh(f"q{len(new)}", names)
    for graph in bodies(proto.graph):
        for tensor in graph.initializer:
            tensor.name = new.get(tensor.name, tensor.name)
        for node in graph.node:
            if node.op_type in ("QuantizeLinear", "DequantizeLinear") and node.output[0] in new:
                node.name = ""
            node.input[:] = [new.get(key, key) for key in node.input]
            node.output[:] = [new.get(key, key) for key in node.output]


def _without_zero_points(proto: ModelProto) -> None:
    """Of biases: what is left out is zero. (Without that of its weight a Gemm would run with floats.)"""
    stored = {tensor.name: tensor for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type != "DequantizeLinear" or len(node.input) != 3 or node.input[0] not in stored:
            continue
        zero = stored.get(node.input[2])
        if zero is not None and zero.data_type == TensorProto.INT32 and not numpy_helper.to_array(zero).any():
            del node.input[2]
    read = {key for node in proto.graph.node for key in node.input} | {value.name for value in proto.graph.output}
    kept = [tensor for tensor in proto.graph.initializer if tensor.name in read]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
