"""Output shapes of com.microsoft operators in optimised files; their schemas are not part of onnx."""

from __future__ import annotations

import onnx
from onnx import TensorProto

from onnxprune.model.facts import Facts, Shape
from onnxprune.model.graph import Node

SAME_AS_FIRST = frozenset(
    [
        "Gelu",
        "FastGelu",
        "BiasGelu",
        "QuickGelu",
        "BiasAdd",
        "SkipLayerNormalization",
        "SkipSimplifiedLayerNormalization",
        "SimplifiedLayerNormalization",
        "RotaryEmbedding",
        "GroupNorm",
        "SkipGroupNorm",
        "QLinearLeakyRelu",
        "QLinearSigmoid",
        "QLinearSoftmax",
    ]
)
SHAPED = SAME_AS_FIRST | {
    "Attention",
    "DynamicQuantizeLSTM",
    "DynamicQuantizeMatMul",
    "FusedConv",
    "FusedGemm",
    "FusedMatMul",
    "GroupQueryAttention",
    "MatMulIntegerToFloat",
    "MatMulNBits",
    "MultiHeadAttention",
    "QGemm",
    "QLinearAdd",
    "QLinearAveragePool",
    "QLinearConcat",
    "QLinearGlobalAveragePool",
    "QLinearMul",
}

STANDARD = {
    "FusedMatMul": "MatMul",
    "FusedGemm": "Gemm",
    "FusedConv": "Conv",
    "DynamicQuantizeMatMul": "MatMul",
    "MatMulIntegerToFloat": "MatMul",
}
"""Operators that give what one of ONNX gives in shape."""


POOLS = {"QLinearAveragePool": "AveragePool", "QLinearGlobalAveragePool": "GlobalAveragePool"}


def contrib_shape(facts: Facts, node: Node) -> None:
    """Set the shape and the type of the first output, as far as they are known."""
    if node.domain != "com.microsoft" or not node.inputs:
        return
    first = facts.shapes.get(node.inputs[0])
    dtype = facts.dtypes.get(node.inputs[0])
    shape: Shape | None = None
    if node.op_type in SAME_AS_FIRST:
        shape = first
    elif node.op_type in STANDARD:
        shape = _fused_shape(facts, node)
    elif node.op_type == "DynamicQuantizeLSTM" and first is not None and len(first) == 3:
        directions = 2 if node.attribute("direction", "forward") == "bidirectional" else 1
        shape = (first[0], directions, first[1], node.attribute("hidden_size"))
        for key in filter(None, node.outputs[1:]):
            facts.shapes.setdefault(key, (directions, *shape[2:]))
            facts.dtypes.setdefault(key, TensorProto.FLOAT)
    elif node.op_type in ("QGemm", "QLinearAdd", "QLinearMul", "QLinearConcat"):
        shape = _of_integers(facts, node)
    elif node.op_type in POOLS and first is not None and not node.attribute("channels_last", 0):
        shape = _pooled(node, first)
    elif node.op_type == "MatMulNBits" and first is not None:
        shape = (*first[:-1], node.attribute("N"))
    elif node.op_type == "Attention" and first is not None and len(node.inputs) > 1:
        weight = facts.shapes.get(node.inputs[1])
        sizes = node.attribute("qkv_hidden_sizes")
        if weight is not None and weight[1] is not None:
            shape = (*first[:-1], sizes[2] if sizes else weight[1] // 3)
    elif node.op_type in ("MultiHeadAttention", "GroupQueryAttention") and first is not None:
        value = facts.shapes.get(node.inputs[2]) if len(node.inputs) > 2 else None
        width = first[-1] if node.op_type == "GroupQueryAttention" or value is None else value[-1]
        if node.op_type == "GroupQueryAttention" and not any(node.inputs[1:3]):  # all heads side by side
            heads, pairs = node.attribute("num_heads", 1), node.attribute("kv_num_heads", 1)
            width = None if width is None else width * heads // (heads + 2 * pairs)
        shape = (*first[:-1], width) if len(first) == 3 else None
    if shape is not None:
        facts.shapes.setdefault(node.outputs[0], shape)
    if node.op_type == "MatMulIntegerToFloat" or (node.op_type == "QGemm" and not any(node.inputs[7:8])):
        dtype = TensorProto.FLOAT
    elif node.op_type == "QLinearConcat":
        dtype = facts.dtypes.get(node.inputs[2])
    if dtype is not None:
        facts.dtypes.setdefault(node.outputs[0], dtype)


def _of_integers(facts: Facts, node: Node) -> Shape | None:
    """Of operators whose inputs come with scales and zero points."""
    slots = range(2, len(node.inputs), 3) if node.op_type == "QLinearConcat" else (0, 3)
    shapes = [facts.shapes.get(node.inputs[slot]) for slot in slots]
    known = [shape for shape in shapes if shape is not None]
    if not known or len(known) < len(shapes):
        return None
    if node.op_type == "QGemm":
        if any(len(shape) != 2 for shape in known):
            return None
        a, b = known
        return a[1 if node.attribute("transA", 0) else 0], b[0 if node.attribute("transB", 0) else 1]
    if node.op_type == "QLinearConcat":
        axis = int(node.attribute("axis", 0)) % max(len(known[0]), 1)
        if any(len(shape) != len(known[0]) for shape in known):
            return None
        along = [shape[axis] for shape in known]
        total = None if None in along else sum(size or 0 for size in along)
        return (*known[0][:axis], total, *known[0][axis + 1 :])
    return _broadcast(*known)


def _broadcast(a: Shape, b: Shape) -> Shape:
    """A size that is not known is one that is not known, unless the other one is more than 1."""
    rank = max(len(a), len(b))
    pairs = zip((1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b, strict=True)
    return tuple(y if x == 1 else x if y in (1, None, x) else y for x, y in pairs)


def _fused_shape(facts: Facts, node: Node) -> Shape | None:
    standard = STANDARD.get(node.op_type)
    shapes = [facts.shapes.get(key) for key in node.inputs]
    if standard is None or any(s is None for s in shapes[:2]):
        return None
    if standard == "MatMul":
        a, b = (list(s) for s in shapes[:2] if s is not None)
        if node.attribute("transA", 0):
            a[-1], a[-2] = a[-2], a[-1]
        if node.attribute("transB", 0):
            b[-1], b[-2] = b[-2], b[-1]
        batch = a[:-2] if len(a) >= len(b) else b[:-2]
        return (*batch, a[-2], b[-1])
    proto = onnx.NodeProto()
    proto.CopyFrom(node.proto)
    proto.op_type, proto.domain = standard, ""
    keep = {"alpha", "beta", "transA", "transB", "kernel_shape", "pads", "strides", "dilations", "group", "auto_pad"}
    for attribute in list(proto.attribute):
        if attribute.name not in keep:
            proto.attribute.remove(attribute)
    del proto.input[3:]
    types = {
        name: onnx.helper.make_tensor_type_proto(facts.dtypes.get(key, TensorProto.FLOAT), facts.shapes.get(key))
        for name, key in zip(proto.input, node.inputs, strict=False)
        if name
    }
    return _inferred(proto, types)


def _pooled(node: Node, shape: Shape) -> Shape | None:
    """As that of the operator on floats."""
    proto = onnx.NodeProto()
    proto.CopyFrom(node.proto)
    proto.op_type, proto.domain = POOLS[node.op_type], ""
    del proto.input[1:]
    left = [one for one in proto.attribute if one.name != "channels_last"]
    del proto.attribute[:]
    proto.attribute.extend(left)
    return _inferred(proto, {proto.input[0]: onnx.helper.make_tensor_type_proto(TensorProto.FLOAT, shape)})


def _inferred(proto: onnx.NodeProto, types: dict[str, onnx.TypeProto]) -> Shape | None:
    """What onnx infers of an operator of its own; None where it refuses: the shape stays unknown."""
    try:
        found = onnx.shape_inference.infer_node_outputs(onnx.defs.get_schema(proto.op_type, 17, ""), proto, types)
    except Exception:  # of many types
        return None
    tensor = found[proto.output[0]].tensor_type
    return tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)
