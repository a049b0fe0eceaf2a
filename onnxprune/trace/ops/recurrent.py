"""LSTM, GRU and RNN: one hidden index is a row of every gate, a column of the recurrence, and of the output."""

from __future__ import annotations

import numpy as np

from onnxprune.trace.ops.context import Edit, NotUnderstood, Op
from onnxprune.trace.ops.registry import rule

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@rule(*GATES)
def recurrent(op: Op) -> None:
    """X (T, B, I), W (D, g*H, I), R (D, g*H, H), B (D, 2*g*H), h0 and c0 (D, B, H), P (D, 3*H).

    Both directions share their indices, because Y (T, D, B, H) has one axis for both.
    """
    if op.attribute("layout", 0):
        raise NotUnderstood("its layout is batch first")
    gates = GATES[op.type]
    hidden = op.attribute("hidden_size") or op.size(2, 2)
    op.contract(0, 2, 1, 2)
    op.pin(op.label(0, 0), f"{op.type} runs along it")
    labels = op.label(2, 2)
    if labels is None:
        for slot in (1, 3, 5, 6, 7):
            op.pin_axes(slot, "its recurrence cannot shrink", but=(2,) if slot == 1 else ())
    else:
        for slot, repeat in ((1, gates), (2, gates), (3, 2 * gates), (7, 3)):
            if op.has(slot):
                rows = op.label(slot, 1)
                if rows is None or rows.size != repeat * hidden:
                    op.pin(labels, f"{op.type} has a parameter of an unknown form")
                else:
                    op.tie(np.tile(labels, repeat), rows)
        op.member(1, 1)
        op.member(2, 1)
        op.close(2, 2)
        for slot in (5, 6):
            if op.has(slot) and op.shape(slot)[2] != 1:
                op.tie(labels, op.label(slot, 2))
            op.pin_axes(slot, f"{op.type} starts from it", but=(1, 2))
    for slot in (1, 2, 3, 7):
        if op.has(slot):
            op.pin(op.label(slot, 0), f"it is a direction of {op.type}")
    for slot, axis in ((4, 0), (5, 1), (6, 1)):  # the rows of the batch have lengths and states of their own
        if op.has(slot) and op.size(0, 1) != 1:
            op.tie(op.label(0, 1), op.label(slot, axis))
    if op.has(4):
        op.pin_axes(4, f"{op.type} reads lengths from it", but=(0,))
    op.set(0, [None, None, op.label(0, 1), labels])
    op.set(1, [None, op.label(0, 1), labels])
    op.set(2, [None, op.label(0, 1), labels])

    def rewrite(edit: Edit) -> None:
        edit.set_attribute("hidden_size", edit.count(labels, hidden))

    op.rewrite(rewrite)
