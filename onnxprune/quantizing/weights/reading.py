"""The small weights of a file: integers or halves as its nodes read them, in place of what the original has.

The inverse of `nodes`: a weight of the original is looked for where its readers were. What is found is written again
and compared (`rebuild`), so nothing here needs to be sure: a wrong reading gives another file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from onnxprune.errors import VerificationError
from onnxprune.model.graph import Graph, Node
from onnxprune.model.grids import Grid
from onnxprune.quantizing.weights.nodes import MICROSOFT
from onnxprune.quantizing.weights.packing import MIDDLE, pack, zeros_unpacked
from onnxprune.quantizing.weights.places import BLOCKS, PRODUCT, RECURRENCE, ROWS, WHOLE, Place
from onnxprune.quantizing.weights.request import BLOCKS as SIZES
from onnxprune.quantizing.weights.request import DYNAMIC, FP16, INT4, INT8, INT8_BLOCKS
from onnxprune.quantizing.weights.stored import Stored

Array = NDArray[Any]
UNSIGNED = {4: TensorProto.UINT4, 8: TensorProto.UINT8}
NEIGHBOURS = 2
"""Numbers above and below a quotient of float32 among which the one is that was multiplied."""


def stored_in(found: Graph, place: Place) -> Stored | None:
    """What the file has for a weight of the original; None if it has the weight as it was. `found`: of the file.

    Raises VerificationError for a type or a shape that is none of a small weight, and for numbers that are not finite.
    """
    if place.key in found.model.tensors:
        return None
    index = found.producer.get(place.key)
    if index is not None:
        return _whole(found, place, found.nodes[index])
    last = _made(found, place.node.outputs[0])
    if last is None:
        return None
    if last.op_type == "DynamicQuantizeLSTM":
        return _recurrent(found, place, last)
    if place.node.op_type == "Gather":
        return _rows(found, place, last)
    last = _without_bias(found, place, last)
    if (last.op_type, last.domain) == ("MatMulNBits", MICROSOFT):
        return _blocks(found, place, last)
    return _product(found, place, last) if last.op_type == "Mul" else None


# ---- forms -------------------------------------------------------------------------------------------------------
def _whole(found: Graph, place: Place, node: Node) -> Stored | None:
    scale = _array(found, place, node, 1) if node.op_type == "Mul" else None
    cast = _made(found, node.inputs[0]) if node.op_type == "Mul" else node
    if cast is None or cast.op_type != "Cast":
        return None
    return _per_output(place, WHOLE, _array(found, place, cast, 0), scale, place.axis)


def _rows(found: Graph, place: Place, node: Node) -> Stored | None:
    """Gather of the table, its Cast, and times the gathered scales."""
    scales = _made(found, node.inputs[1]) if node.op_type == "Mul" else None
    cast = _made(found, node.inputs[0]) if node.op_type == "Mul" else node
    rows = None if cast is None or cast.op_type != "Cast" else _made(found, cast.inputs[0])
    if rows is None:
        return None
    scale = None if scales is None else _array(found, place, scales, 0)
    return _per_output(place, ROWS, _array(found, place, rows, 0), scale, place.axis)


def _product(found: Graph, place: Place, node: Node) -> Stored | None:
    """(integers - zero) W, to float, times the scale of the inputs and that of the weight."""
    cast, both = _made(found, node.inputs[0]), _made(found, node.inputs[1])
    sums = None if cast is None else _made(found, cast.inputs[0])
    if sums is None or both is None or sums.op_type != "MatMulInteger":
        return None
    bare = Stored(place, np.zeros(0, np.int8))
    matrix, scale = _array(found, place, sums, 1), _array(found, place, both, 1)
    integers = matrix.T if bare.turned and matrix.ndim == 2 else matrix
    return _per_output(place, PRODUCT, integers, _divided(scale, np.float32(bare.alpha)), place.axis)


def _recurrent(found: Graph, place: Place, node: Node) -> Stored:
    slot = list(place.node.inputs[1:3]).index(place.key)
    integers, scale = _array(found, place, node, 1 + slot), _array(found, place, node, 8 + 2 * slot)
    zero = _array(found, place, node, 9 + 2 * slot)
    if zero.any():
        raise VerificationError(f"weight {place.key!r} has zero points, and its integers are symmetric")
    if scale.ndim != 2 or len(place.shape) != 3 or scale.shape != place.shape[:2] or np.ptp(scale, axis=0).any():
        raise VerificationError(f"the scales of weight {place.key!r} are not one for every index of its axis 1")
    return _per_output(place, RECURRENCE, integers.swapaxes(1, 2), scale[0], place.axis)


def _blocks(found: Graph, place: Place, node: Node) -> Stored:
    bits, block = int(node.attribute("bits", 4)), int(node.attribute("block_size", 0))
    if bits not in UNSIGNED or block not in SIZES:
        raise VerificationError(f"weight {place.key!r} has {bits} bits in blocks of {block}, which nobody writes")
    place = replace(place, form=BLOCKS, kind=INT4 if bits == 4 else INT8_BLOCKS)
    bare = Stored(place, np.zeros(0, np.uint8))
    packed, scale = _array(found, place, node, 1), _array(found, place, node, 2)
    empty = pack(np.zeros((bare.features, 1), np.uint8), block, bits)
    _require(place, packed, (bare.outputs, *empty.shape[1:]), np.uint8)
    _require_scales(place, scale, (bare.outputs, empty.shape[1]))
    kind = helper.tensor_dtype_to_np_dtype(UNSIGNED[bits])
    symmetric = len(node.inputs) < 4 or not node.inputs[3]
    if symmetric:
        zero = np.full(scale.T.shape, MIDDLE[bits], np.uint8).astype(kind)
    else:
        stored = _array(found, place, node, 3)
        size = empty.shape[1] if bits == 8 else -(-empty.shape[1] // 2)
        _require(place, stored, (bare.outputs, size), np.uint8)
        zero = zeros_unpacked(stored, empty.shape[1], bits).astype(kind)
    grid = Grid(UNSIGNED[bits], np.ascontiguousarray(scale.T), zero, 0, block)
    return Stored(place, packed, grid, symmetric=symmetric)


def _per_output(place: Place, form: str, integers: Array, scale: Array | None, axis: int) -> Stored:
    if scale is None:
        _require(place, integers, place.shape, np.float16)
        if not np.isfinite(integers).all():
            raise VerificationError(f"weight {place.key!r} holds numbers that are not finite")
        return Stored(replace(place, form=form, kind=FP16), integers)
    _require(place, integers, place.shape, np.int8)
    _require_scales(place, scale.ravel(), (place.shape[axis],))
    kind = DYNAMIC if form in (PRODUCT, RECURRENCE) else INT8
    grid = Grid(TensorProto.INT8, scale.ravel(), np.zeros(scale.size, np.int8), axis)
    return Stored(replace(place, form=form, kind=kind), integers, grid)


# ---- inner -------------------------------------------------------------------------------------------------------
def _made(found: Graph, key: str) -> Node | None:
    index = found.producer.get(key)
    return None if index is None else found.nodes[index]


def _without_bias(found: Graph, place: Place, node: Node) -> Node:
    """The product before the sum with the bias of a Gemm."""
    bias = place.node.inputs[2] if len(place.node.inputs) > 2 else ""
    before = _made(found, node.inputs[0]) if bias and node.op_type == "Add" else None
    return node if before is None else before


def _array(found: Graph, place: Place, node: Node, slot: int) -> Array:
    key = node.inputs[slot] if slot < len(node.inputs) else ""
    if key not in found.model.tensors:
        raise VerificationError(f"what node {node.label!r} reads in place of weight {place.key!r} is no initializer")
    return found.model.tensors[key].array()


def _divided(product: Array, factor: np.float32) -> Array:
    """x with x * factor = product, in float32: the quotient, or one of its neighbours."""
    nearest = product / factor
    if factor == 1 or product.dtype != np.float32:
        return np.asarray(nearest)
    found, up, down = nearest, nearest, nearest
    for _ in range(NEIGHBOURS):
        up, down = np.nextafter(up, np.float32(np.inf)), np.nextafter(down, np.float32(-np.inf))
        for other in (up, down):
            found = np.where((found * factor != product) & (other * factor == product), other, found)
    return np.asarray(found)


def _require(place: Place, array: Array, shape: Sequence[int], dtype: type) -> None:
    if array.dtype != dtype or array.shape != tuple(shape):
        raise VerificationError(
            f"weight {place.key!r} is stored as {array.dtype} of shape {list(array.shape)}, "
            f"{np.dtype(dtype)} of {list(shape)} was expected"
        )


def _require_scales(place: Place, scale: Array, shape: Sequence[int]) -> None:
    _require(place, scale, shape, np.float32)
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise VerificationError(f"a scale of weight {place.key!r} is no positive number")
