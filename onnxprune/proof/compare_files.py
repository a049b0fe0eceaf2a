"""Is a pruned file what its plan gives? Same nodes; the values of weights and biases may differ, as repair sets them.

Repair may do two things, and nothing else: give new values to the weights and biases of layers, to the scales and the
biases of normalisations and to constants that are added, be they initializers or in Constant nodes, also behind nodes
that can be undone (`made`) or packed (MatMulNBits); and give a Conv, ConvTranspose or Gemm a bias of its own (it had
none, or shared one), of the length of its outputs. Weights that are stored in integers may get larger scales, of their
own if others read them; the steps of a bias of 32 bits are those of the input times those of the weight, and remain so.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxprune.capture.features import RECURRENT
from onnxprune.errors import VerificationError
from onnxprune.model.graph import Graph, Node, build
from onnxprune.model.load import Model
from onnxprune.model.loosened import packed_parts
from onnxprune.model.plain import constant_value, dtype_of, origins, outputs_of, shape_of
from onnxprune.model.tensors import LazyTensor
from onnxprune.model.undo import made
from onnxprune.native.marks import DOMAIN
from onnxprune.proof.integers import check_scales, check_stored, new_scale, stored_biases

_SLOTS = {
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "Gemm": (1, 2),
    "MatMul": (1,),
    "BatchNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "GroupNormalization": (1, 2),
    "Add": (0, 1),
    **dict.fromkeys(RECURRENT, (1,)),
}
_SPARSE_BIAS = {"SparseConv": 3, "SparseMatMul": 3, "DepthwiseConv": 2}
"""By what the operator's name begins with."""
_BIASED = frozenset({"Conv", "ConvTranspose", "Gemm"})
BIAS = 2


def compare_with_expected(
    expected: Model, found: Model, free: Collection[str] = (), refittable: Collection[str] = ()
) -> tuple[str, ...]:
    """Names of the constants in which `found` differs from the bare cut. Raises VerificationError for more.

    `free`: initializers, of one axis, that may have another length as well: stored sparse weights. `refittable`: others
    that may have other values.
    """
    graph = build(expected)
    read = _read_by_layers(graph)
    weights = {start for key in read for start in origins(graph, key)} | set(refittable) | packed_parts(graph)
    between = {node.outputs[0] for key in read if (way := made(graph, key)) for node in way.nodes}
    stored = stored_biases(expected, found)
    a, b = expected.proto.graph.node, [n for n in found.proto.graph.node if not set(n.output) & stored.keys()]
    if len(a) != len(b):
        raise VerificationError(f"the file has {len(b)} nodes; its plan gives {len(a)}")
    added: dict[str, str] = {}
    refitted: list[str] = []
    for before, after in zip(a, b, strict=True):
        name = after.name or after.op_type
        if before != after and before.op_type == "Constant" and _new_values(before, after, weights):
            refitted.append(before.output[0])
            continue
        scale = new_scale(before, after, graph, found) if before != after and between & set(before.output) else None
        if scale is not None:
            added[scale] = name
            continue
        new = _new_bias(before, after)
        if new is None:
            raise VerificationError(f"node {name!r} of the file is not the one that its plan gives")
        if new:
            if new in added or new in expected.tensors:
                raise VerificationError(f"node {name!r} of the file reads a bias {new!r} that is not its own")
            if new in stored:
                check_stored(name, before, stored[new], graph, found)
                added.update(dict.fromkeys(stored[new].input, name))
            else:
                _check_bias(name, before, found.tensors.get(new), graph)
                added[new] = name
    surplus = set(found.tensors) - set(expected.tensors) - set(added)
    if surplus:
        raise VerificationError(f"initializer {min(surplus)!r} of the file is not in its plan")
    refitted += _refitted(expected, found, weights, free)
    check_scales(graph, build(found))
    return tuple(sorted({*added, *refitted}))


def _read_by_layers(graph: Graph) -> set[str]:
    """What layers at the top level read where repair may give new values."""
    return {
        node.inputs[slot]
        for node in graph.nodes
        for slot in _slots(node)
        if node.scope == 0 and slot < len(node.inputs)
    }


def _slots(node: Node) -> tuple[int, ...]:
    """Inputs that repair may change. Of sparse operators that is the bias; their weights are looked at elsewhere."""
    if node.domain == DOMAIN:
        found = next((slot for name, slot in _SPARSE_BIAS.items() if node.op_type.startswith(name)), None)
        depthwise = node.op_type.startswith("DepthwiseConv")
        return () if found is None else (1, found) if depthwise else (found,)
    return () if node.domain else _SLOTS.get(node.op_type, ())


def _new_values(before: onnx.NodeProto, after: onnx.NodeProto, weights: set[str]) -> bool:
    """Whether two Constant nodes differ in the numbers of a weight only."""
    old, new = constant_value(before), constant_value(after)
    if old is None or new is None or before.output[0] not in weights or before.domain:
        return False
    if old.name == "value":
        same = list(old.t.dims) == list(new.t.dims) and old.t.data_type == new.t.data_type
    else:
        same = len(old.floats) == len(new.floats)
    restored = onnx.NodeProto()
    restored.CopyFrom(after)
    found = next((a for a in restored.attribute if a.name == old.name), None)
    if not same or found is None:
        return False
    found.CopyFrom(old)
    return restored == before


def _refitted(expected: Model, found: Model, weights: set[str], free: Collection[str]) -> list[str]:
    """Initializers of new values. Raises VerificationError where values may not change."""
    unread = _read(expected.proto.graph) - _read(found.proto.graph)  # its readers were given another
    result = []
    for name, tensor in expected.tensors.items():
        other = found.tensors.get(name)
        if other is None:
            if name not in unread:
                raise VerificationError(f"initializer {name!r} is missing from the file")
        elif name in free:
            if len(other.shape) != 1 or other.dtype != tensor.dtype:
                raise VerificationError(f"initializer {name!r} is no list of the type that its plan gives")
        elif other.shape != tensor.shape or other.dtype != tensor.dtype:
            raise VerificationError(f"initializer {name!r} is {list(other.shape)}; its plan gives {list(tensor.shape)}")
        elif not np.array_equal(_bytes(other.array()), _bytes(tensor.array())):
            if name not in weights:
                raise VerificationError(f"initializer {name!r} has other values, and no repair changes those")
            result.append(name)
    return result


def _new_bias(before: onnx.NodeProto, after: onnx.NodeProto) -> str | None:
    """The bias that a repair gave a node; "" for none, or None if the nodes differ otherwise."""
    if before == after:
        return ""
    if before.domain or before.op_type not in _BIASED or len(after.input) <= BIAS:
        return None
    restored = onnx.NodeProto()
    restored.CopyFrom(after)
    new = after.input[BIAS]
    if len(before.input) > BIAS:
        restored.input[BIAS] = before.input[BIAS]
    else:
        del restored.input[BIAS:]
    return new if restored == before and new else None


def _check_bias(name: str, node: onnx.NodeProto, bias: LazyTensor | None, graph: Graph) -> None:
    """A new bias is an initializer of the weight's type, as long as the layer has outputs."""
    if bias is None or made(graph, node.input[1]) is None:
        raise VerificationError(f"the bias that the file adds to node {name!r} is not an initializer")
    outputs = outputs_of(node, shape_of(graph, node.input[1]))
    old = graph.constants.get(node.input[BIAS]) if len(node.input) > BIAS else None
    shapes = {(outputs,)} if old is None else {(outputs,), np.broadcast_shapes(old.shape, (outputs,))}
    if bias.dtype != dtype_of(graph, node.input[1]) or tuple(bias.shape) not in shapes:
        raise VerificationError(
            f"the bias that the file adds to node {name!r} is {list(bias.shape)}; it has {outputs} outputs"
        )


def _read(graph: onnx.GraphProto) -> set[str]:
    return {name for node in graph.node for name in node.input}


def _bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    return np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
