"""Weights that MatMulNBits packs: B (N, blocks, bytes), a few bits a number along the inputs, lowest bits first, with
one scale and one zero point a block.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.errors import ModelError
from onnxprune.model.folding import folded, is_computed
from onnxprune.model.graph import Graph, Node

Array = NDArray[Any]
Bytes = NDArray[np.uint8]
BLOCKED = "MatMulNBits"
WEIGHT, SCALE, ZERO = 1, 2, 3


def split_bits(packed: Bytes, bits: int, count: int) -> Bytes:
    """(..., bytes) to the first `count` numbers of `bits` each along the last axis."""
    every = np.unpackbits(packed, axis=-1, bitorder="little")
    numbers = every[..., : count * bits].reshape(*packed.shape[:-1], count, bits)
    return np.packbits(numbers, axis=-1, bitorder="little")[..., 0]


def join_bits(numbers: Bytes, bits: int) -> Bytes:
    """The inverse: whole bytes, the last ones filled with zeros."""
    wide = np.unpackbits(numbers[..., np.newaxis], axis=-1, bitorder="little")[..., :bits]
    return np.packbits(wide.reshape(*numbers.shape[:-1], -1), axis=-1, bitorder="little")


def unpacked(graph: Graph, node: Node) -> NDArray[np.float32]:
    """The weight of a MatMulNBits as numbers (N, blocks, inputs of a block); what pads the last block is there, too.

    Raises ModelError where scales or zero points are not known, or do not fit.
    """
    bits, block = int(node.attribute("bits", 4)), int(node.attribute("block_size", 0))
    keys = [*node.inputs, "", ""]
    if not all(is_computed(graph, keys[slot]) for slot in (WEIGHT, SCALE)) or (
        keys[ZERO] and not is_computed(graph, keys[ZERO])
    ):
        raise ModelError(f"weight and scales of node {node.label!r} are no constants")
    packed = folded(graph, keys[WEIGHT]).view(np.uint8)
    rows, blocks = packed.shape[:2]
    try:
        numbers = split_bits(packed, bits, block).astype(np.float32)
        scale = folded(graph, keys[SCALE]).astype(np.float32).reshape(rows, blocks, 1)
        return (numbers - zero_points(graph, node, rows, blocks)[..., np.newaxis]) * scale
    except ValueError as error:
        raise ModelError(f"the scales of node {node.label!r} do not fit its weight: {error}") from error


def zero_points(graph: Graph, node: Node, rows: int, blocks: int) -> NDArray[np.float32]:
    """(rows, blocks); in the middle of the range where the node has none."""
    bits, key = int(node.attribute("bits", 4)), [*node.inputs, "", ""][ZERO]
    if not key:
        return np.full((rows, blocks), 2.0 ** (bits - 1), np.float32)
    zero = folded(graph, key)
    if zero.dtype != np.uint8:
        return zero.astype(np.float32).reshape(rows, blocks)
    return split_bits(zero.reshape(rows, -1), bits, blocks).astype(np.float32)
