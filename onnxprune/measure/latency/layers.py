"""Layers as what their time depends on: a signature that no choice changes, and widths that choices do change."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from onnx import AttributeProto, NodeProto, TensorProto, helper

from onnxprune.model.graph import Graph, Node
from onnxprune.model.infer import Facts

Dims = tuple[int, ...]
Widths = tuple[int, int, int]
"""Input width and output width of a block, and the number of blocks: groups of a convolution, matrices of a batch."""
TIMED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
ACTIVATIONS = frozenset({"Relu", "Clip", "LeakyRelu"})
TYPES = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE})
OPSET = 17


@dataclass(frozen=True)
class Signature:
    """An operator (its attributes as bytes, `group` left out) at a place: everything but the widths.

    `rest`: of a convolution (batch, *positions) of the input; of a product (rows,). `kernel`: sizes of the kernel.
    `weight`: whether the second factor is a constant. `activation`: what runs in the same kernel. `integers`: it
    multiplies bytes; the activation and the bias are then part of the kernel, and cost nothing.
    """

    op: str
    attributes: tuple[bytes, ...]
    rest: Dims
    kernel: Dims
    bias: bool
    weight: bool
    activation: str
    dtype: int
    integers: bool = False


def signature(graph: Graph, facts: Facts, node: Node) -> Signature | None:
    """None for what is not timed on its own: other operators, other types, unknown sizes."""
    if node.op_type not in TIMED or node.domain or len(node.inputs) < 2:
        return None
    dtype = facts.dtypes.get(node.inputs[0], 0)
    shapes = [facts.shapes.get(key) for key in (*node.inputs[:2], node.outputs[0])]
    if dtype not in TYPES or any(s is None or None in s or 0 in s or len(s) < 2 for s in shapes):
        return None
    x, w, y = (tuple(int(size or 0) for size in shape or ()) for shape in shapes)
    constant = node.inputs[1] in graph.constants
    if node.attribute("output_shape") is not None:
        return None
    kept = [a for a in node.proto.attribute if a.name not in ("group", "transA", "transB") and a.s != b"NOTSET"]
    following, folded = _activation(graph, node)
    bias = folded or (len(node.inputs) > 2 and bool(node.inputs[2]))
    if node.op_type in ("Conv", "ConvTranspose"):
        rest, kernel = (x[0], *x[2:]), w[2:]
    else:
        rest, kernel, kept = ((math.prod(y[:-1]) if constant else y[-2]),), (), []
    attributes = tuple(sorted(a.SerializeToString(deterministic=True) for a in kept))
    return Signature(node.op_type, attributes, rest, kernel, bias, constant, following, dtype)


def _activation(graph: Graph, node: Node) -> tuple[str, bool]:
    """The activation right behind, and whether a normalisation lies in between, which the runtime folds."""
    folded = False
    for _ in range(2):
        readers = graph.consumers.get(node.outputs[0], ())
        if len(readers) != 1 or node.outputs[0] in graph.fixed:
            break
        node = graph.nodes[readers[0][0]]
        if node.op_type in ACTIVATIONS and readers[0][1] == 0:
            return node.op_type, folded
        if node.op_type != "BatchNormalization" or folded:
            break
        folded = True
    return "", folded


def widths(node: Node, x: Dims, w: Dims, y: Dims, weight: bool) -> Widths:
    """From the shapes of the inputs and the output after a choice."""
    if node.op_type == "Conv":
        groups = x[1] // max(w[1], 1)
        return w[1], y[1] // max(groups, 1), groups
    if node.op_type == "ConvTranspose":
        groups = y[1] // max(w[1], 1)
        return x[1] // max(groups, 1), w[1], groups
    depth = x[-2] if node.op_type == "Gemm" and node.attribute("transA", 0) else x[-1]
    return depth, y[-1], 1 if weight else math.prod(y[:-2])


Maker = Callable[[str, tuple[int, ...], int], str]
INTEGERS = {"Conv": "QLinearConv", "Gemm": "QLinearMatMul", "MatMul": "QLinearMatMul"}
"""What multiplies bytes in place of these; for others there is no such kernel."""


def in_integers(signature: Signature) -> Signature:
    """The same layer as it is between quantisers."""
    return replace(signature, integers=True) if signature.op in INTEGERS else signature


def one_node(signature: Signature, at: Widths, name: str, given: Maker, constant: Maker) -> tuple[list[NodeProto], str]:
    """Nodes that do the layer at these widths, and the name of the output.

    `given` and `constant` declare an input and a weight (name, shape, element type) and give its name back.
    """
    kind = signature.dtype
    xtype, wtype = (TensorProto.UINT8, TensorProto.INT8) if signature.integers else (kind, kind)
    k, n, blocks = at
    attributes = [AttributeProto.FromString(text) for text in signature.attributes]
    if signature.op in ("Conv", "ConvTranspose"):
        attributes.append(helper.make_attribute("group", blocks))
        batch, *positions = signature.rest
        shape = (n * blocks, k) if signature.op == "Conv" else (k * blocks, n)
        inputs = [
            given(f"{name}x", (batch, k * blocks, *positions), xtype),
            constant(f"{name}w", (*shape, *signature.kernel), wtype),
        ]
    else:
        stack = () if signature.weight else (blocks,)
        make = constant if signature.weight else given
        inputs = [given(f"{name}x", (*stack, *signature.rest, k), xtype), make(f"{name}w", (*stack, k, n), wtype)]
    if signature.integers:
        return [_of_bytes(signature, inputs, name, attributes, constant)], f"{name}y"
    if signature.bias:
        inputs.append(constant(f"{name}b", (n * blocks,), kind))
    node = helper.make_node(signature.op, inputs, [f"{name}y"], name=f"{name}node")
    node.attribute.extend(attributes)
    if not signature.activation:
        return [node], f"{name}y"
    clipped = signature.activation == "Clip"
    bounds = [constant(f"{name}low", (), kind), constant(f"{name}high", (), kind)] if clipped else []
    return [node, helper.make_node(signature.activation, [f"{name}y", *bounds], [f"{name}z"])], f"{name}z"


def _of_bytes(
    signature: Signature, inputs: list[str], name: str, attributes: list[AttributeProto], constant: Maker
) -> NodeProto:
    """The node that multiplies bytes: every factor, and the result, with its scale and its zero point."""
    grids = [(constant(f"{name}s{k}", (), TensorProto.FLOAT), constant(f"{name}z{k}", (), t)) for k, t in _GRIDS]
    read = [inputs[0], *grids[0], inputs[1], *grids[1], *grids[2]]
    node = helper.make_node(INTEGERS[signature.op], read, [f"{name}y"], name=f"{name}node")
    node.attribute.extend(attributes)
    return node


_GRIDS = ((0, TensorProto.UINT8), (1, TensorProto.INT8), (2, TensorProto.UINT8))
