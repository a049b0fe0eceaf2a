"""Cutting constants. An initializer that several layers share gets one copy per distinct cut, and only then."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.model.graph import Constant
from onnxprune.trace.groups import Trace

Bools = NDArray[np.bool_]
Use = tuple[int, int]
Signature = tuple["bytes | None", ...]


def variants(trace: Trace, keep: Bools) -> Iterator[tuple[Constant, list[tuple[list[Use], NDArray[Any] | None]]]]:
    """For every constant that is cut somewhere: its uses by cut, with the cut array (None: a use that is not cut)."""
    for key, constant in trace.graph.constants.items():
        uses = trace.graph.consumers.get(key, [])
        by_cut: dict[Signature, list[Use]] = {}
        for use in uses:
            by_cut.setdefault(_signature(trace, keep, use), []).append(use)
        if any(part is not None for signature in by_cut for part in signature):
            yield constant, [(found, _cut(trace, keep, constant, found[0])) for found in by_cut.values()]


def _masks(trace: Trace, keep: Bools, use: Use) -> list[Bools | None]:
    """Which indices stay per axis; None where all do."""
    result: list[Bools | None] = []
    for labels in trace.state.uses.get(use, ()):
        mask = None if labels is None else keep[trace.table[labels]]
        result.append(None if mask is None or mask.all() else mask)
    return result


def _block_mask(trace: Trace, keep: Bools, use: Use) -> tuple[int, Bools] | None:
    block = trace.state.block_axes.get(use)
    if block is None:
        return None
    mask = keep[trace.table[block.labels]]
    return None if mask.all() else (block.axis, mask)


def _signature(trace: Trace, keep: Bools, use: Use) -> Signature:
    parts = [None if m is None else m.tobytes() for m in _masks(trace, keep, use)]
    block = _block_mask(trace, keep, use)
    return (*parts, None if block is None else block[1].tobytes())


def _cut(trace: Trace, keep: Bools, constant: Constant, use: Use) -> NDArray[Any] | None:
    masks, block = _masks(trace, keep, use), _block_mask(trace, keep, use)
    if block is None and all(m is None for m in masks):
        return None
    array = constant.array()
    if block is not None:
        return _cut_blocks(array, block[0], block[1], masks)
    for axis, mask in enumerate(masks):
        if mask is not None:
            array = np.compress(mask, array, axis=axis)
    return array


def _cut_blocks(array: NDArray[Any], axis: int, block_masks: Bools, masks: list[Bools | None]) -> NDArray[Any]:
    """Rows of block b (equal parts of axis 0) keep the indices of block_masks[b] along `axis`."""
    rows = masks[0] if masks and masks[0] is not None else np.ones(array.shape[0], bool)
    blocks = block_masks.shape[0]
    parts = []
    for part, row_mask, mask in zip(np.split(array, blocks), np.split(rows, blocks), block_masks, strict=True):
        parts.append(np.compress(mask, np.compress(row_mask, part, axis=0), axis=axis))
    return np.concatenate(parts)
