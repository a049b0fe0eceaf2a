"""Fused attention operators.

The widths of queries and keys are summed over per head; what leaves, leaves at the same position of every head, and
the scale stays what it was. Values and output widths likewise.
"""

from __future__ import annotations

import math

import numpy as np

from onnxprune.trace.ops.atoms import Labels
from onnxprune.trace.ops.context import Edit, NotUnderstood, Op
from onnxprune.trace.ops.registry import MICROSOFT, rule


def per_head(op: Op, labels: Labels, heads: int) -> Labels:
    """Tie position k of every head; the same labels, still one per index."""
    if labels is None:
        return None
    if labels.size % heads:
        raise NotUnderstood("its heads do not divide its width")
    if heads > 1:
        op.state.split.add(op.node.index)
    blocks = labels.reshape(heads, -1)
    if op.state.prefer_outer:
        blocks = np.ascontiguousarray(blocks.T)
    for block in blocks[1:]:
        op.tie(np.ascontiguousarray(blocks[0]), np.ascontiguousarray(block))
    return labels


def _same_batch(op: Op) -> Labels:
    """Queries, keys and values come from the same rows of the batch."""
    return op.tie(op.tie(op.label(0, 0), op.label(1, 0)), op.label(2, 0))


@rule("Attention", "MultiHeadAttention", domain=MICROSOFT)
def contrib_attention(op: Op) -> None:
    if op.type == "Attention":
        _packed(op)
    else:
        _multi_head(op)


def _packed(op: Op) -> None:
    """com.microsoft.Attention: X (B, S, I), W (I, 3*H*d), bias (3*H*d): heads or positions leave q, k and v alike."""
    heads = op.attribute("num_heads")
    for slot in range(3, len(op.node.inputs)):
        op.pin_axes(slot, "Attention reads it as mask or cache")
    cached = op.has(4) or any(op.node.outputs[1:])
    if cached or op.attribute("do_rotary", 0) or op.attribute("qkv_hidden_sizes"):
        op.pin_axes(0, "this form of Attention is not understood")
        op.pin_axes(1, "this form of Attention is not understood")
        op.set(0, [op.label(0, 0), op.label(0, 1), None])
        return
    op.contract(0, 2, 1, 0)
    labels = op.label(1, 1)
    if labels is None:
        op.set(0, [op.label(0, 0), op.label(0, 1), None])
        return
    width = labels.size // 3
    op.close(1, 1)
    if op.has(2):
        op.tie(labels, op.label(2, 0))
        op.close(2, 0)
    op.member(1, 1)
    qkv = labels.reshape(3, width)
    for part in qkv[1:]:
        op.tie(qkv[0], part)
    value = per_head(op, qkv[2], heads)
    _bias_per_head(op, 5, value)
    scale = op.attribute("scale", 0.0) or 1 / math.sqrt(width // heads)
    op.set(0, [op.label(0, 0), op.label(0, 1), value])
    op.rewrite(lambda edit: _rewrite_heads(edit, value, heads, scale))


def _bias_per_head(op: Op, slot: int, labels: Labels) -> None:
    """A bias of the scores (B, heads, S, T) stays as it is, and so do the heads where it has one for each."""
    if op.has(slot) and op.state.prefer_outer and op.shape(slot)[1] != 1:
        op.pin(labels, f"{op.type} adds a bias to the scores of every head")


def _rewrite_heads(edit: Edit, labels: Labels, heads: int, scale: float) -> None:
    """Whole heads left change num_heads; positions left change the head size, so the old scale is written down."""
    if labels is None or edit.mask(labels).all():
        return
    alive = edit.mask(labels).reshape(heads, -1)
    whole = alive.any(axis=1)
    if (alive[whole].all()) and not whole.all():
        edit.set_attribute("num_heads", int(whole.sum()))
    edit.set_attribute("scale", float(scale))


def _multi_head(op: Op) -> None:
    """com.microsoft.MultiHeadAttention with separate q (B, S, H*d), k, v (B, T, H*d) and an optional packed bias."""
    heads = op.attribute("num_heads")
    if not (op.has(1) and op.has(2)) or any(len(op.shape(s)) != 3 for s in range(3)):
        raise NotUnderstood("it has packed inputs")
    for slot in range(4, len(op.node.inputs)):
        op.pin_axes(slot, "MultiHeadAttention reads it as mask or cache")
    for output in range(1, len(op.node.outputs)):
        if op.node.outputs[output]:
            raise NotUnderstood("it gives its keys and values")
    query, key, value = (op.label(slot, 2) for slot in range(3))
    op.tie(query, key, "MultiHeadAttention multiplies it with keys that cannot shrink")
    query, value = per_head(op, query, heads), per_head(op, value, heads)
    if op.state.prefer_outer:
        op.tie(query, value)
    if op.has(3):
        bias = op.label(3, 0)
        parts = None if bias is None else np.split(bias, [op.size(0, 2), op.size(0, 2) + op.size(1, 2)])
        for label, part in zip((query, key, value), parts or (None, None, None), strict=True):
            op.tie(label, part)
        op.close(3, 0)
    _bias_per_head(op, 5, query)
    op.close(0, 2)
    op.set(0, [_same_batch(op), op.label(0, 1), value])
    scale = op.attribute("scale", 0.0) or 1 / math.sqrt(op.size(0, 2) // heads)
    op.rewrite(lambda edit: _rewrite_heads(edit, query, heads, scale))


@rule("Attention")
def attention(op: Op) -> None:
    """ai.onnx Attention (opset 23) on 4-D q (B, Hq, S, d), k (B, Hk, T, d), v (B, Hk, T, e) -> (B, Hq, S, e)."""
    if any(len(op.shape(s)) != 4 for s in range(3)):
        raise NotUnderstood("its inputs are three-dimensional")
    if any(op.has(s) for s in (4, 5)) or any(op.node.outputs[1:]):
        raise NotUnderstood("it has a cache")
    op.tie(op.label(0, 3), op.label(1, 3), "Attention multiplies it with keys that cannot shrink")
    op.close(0, 3)
    heads = op.label(0, 1)
    if op.shape(0)[1] == op.shape(1)[1]:
        op.tie(op.tie(heads, op.label(1, 1)), op.label(2, 1))
        if op.has(3) and len(op.shape(3)) >= 3 and op.shape(3)[-3] != 1:
            op.tie(heads, op.label(3, -3))
    else:
        for slot in range(3):
            op.pin(op.label(slot, 1), "Attention shares keys among its heads")
    for slot in range(3):
        op.pin(op.label(slot, 2), "it is a sequence")
    if op.has(3):
        rank = len(op.shape(3))
        op.pin_axes(3, "Attention adds it to its scores", but=(-3,) if rank >= 3 else ())
    scale = op.attribute("scale") or 1 / math.sqrt(op.size(0, 3))
    op.set(0, [_same_batch(op), heads, None, op.label(2, 3)])
    query = op.label(0, 3)

    def rewrite(edit: Edit) -> None:
        if edit.count(query, 0) != (0 if query is None else query.size):
            edit.set_attribute("scale", float(scale))

    op.rewrite(rewrite)
