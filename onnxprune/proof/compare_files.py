"""Is a pruned file what its plan gives? Same nodes; initializers of the same shapes, whose values repair may change."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxprune.errors import VerificationError
from onnxprune.model.load import Model


def compare_with_expected(expected: Model, found: Model) -> tuple[str, ...]:
    """Names of the initializers in which `found` differs from the bare cut. Raises VerificationError for more."""
    a, b = expected.proto.graph, found.proto.graph
    if len(a.node) != len(b.node):
        raise VerificationError(f"the file has {len(b.node)} nodes; its plan gives {len(a.node)}")
    refitted: set[str] = set()
    for before, after in zip(a.node, b.node, strict=True):
        added = _added_inputs(before, after)
        if added is None:
            name = after.name or after.op_type
            raise VerificationError(f"node {name!r} of the file is not the one that its plan gives")
        refitted.update(added)
    for name, tensor in expected.tensors.items():
        other = found.tensors.get(name)
        if other is None:
            if name not in _replaced(a, b):
                raise VerificationError(f"initializer {name!r} is missing from the file")
        elif other.shape != tensor.shape or other.dtype != tensor.dtype:
            raise VerificationError(f"initializer {name!r} is {list(other.shape)}; its plan gives {list(tensor.shape)}")
        elif not np.array_equal(_bytes(other.array()), _bytes(tensor.array())):
            refitted.add(name)
    return tuple(sorted(refitted))


def _added_inputs(before: onnx.NodeProto, after: onnx.NodeProto) -> list[str] | None:
    """Inputs of `after` that a repair gave it (a bias of its own), or None if the nodes differ otherwise."""
    if before == after:
        return []
    bias = 2
    if before.op_type not in ("Conv", "Gemm") or len(after.input) <= bias:
        return None
    restored = onnx.NodeProto()
    restored.CopyFrom(after)
    new = after.input[bias]
    if len(before.input) > bias:
        restored.input[bias] = before.input[bias]
    else:
        del restored.input[bias:]
    return [new] if restored == before else None


def _replaced(a: onnx.GraphProto, b: onnx.GraphProto) -> set[str]:
    """Initializers that no node of `b` reads any more, because a repair gave their readers another."""
    return {n for node in a.node for n in node.input} - {n for node in b.node for n in node.input}


def _bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    return np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
