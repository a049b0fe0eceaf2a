"""LSTM, GRU and RNN: one hidden index is a row of every gate, a column of the recurrence, and of the output."""

from __future__ import annotations

import numpy as np

from onnxprune.trace.ops.context import Edit, NotUnderstood, Op
from onnxprune.trace.ops.registry import MICROSOFT, rule

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
ODD = frozenset({"Relu", "Softsign", "Tanh"})
"""Activations that are 0 at 0."""


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


@rule("DynamicQuantizeLSTM", domain=MICROSOFT)
def quantized_lstm(op: Op) -> None:
    """As LSTM, with W (D, I, 4*H) and R (D, H, 4*H) of integers; their scales and zero points are (D,) or (D, 4*H).

    Inputs and states are rounded by their range, which is that of all units. A unit without weights, bias and first
    states gives zeros, which every range contains: so the reference holds those that leave.
    """
    hidden, labels = op.size(2, 1), op.label(2, 1)
    if any(op.has(slot) and op.constant(slot) is None for slot in (1, 2, 3, 7, 8, 9, 10, 11)) or labels is None:
        raise NotUnderstood("its weights are no constants")
    given = [name.decode() if isinstance(name, bytes) else name for name in op.attribute("activations") or []]
    if not {*given[1::3], *given[2::3]} <= ODD:
        raise NotUnderstood("its activations do not keep zeros")
    op.contract(0, 2, 1, 1)
    op.pin(op.label(0, 0), f"{op.type} runs along it")
    op.pin(op.label(0, 1), f"{op.type} rounds it by one range")
    for slot, repeat in ((1, 4), (2, 4), (3, 8), (7, 3), (8, 4), (9, 4), (10, 4), (11, 4)):
        if not op.has(slot):
            continue
        op.pin_axes(slot, f"it is a direction of {op.type}", but=range(1, len(op.shape(slot))))
        if len(op.shape(slot)) > 1:
            op.tie(np.tile(labels, repeat), op.label(slot, -1))
    for slot in (5, 6):
        if op.has(slot):
            op.pin_axes(slot, f"{op.type} starts from it", but=(2,))
            op.tie(labels, op.label(slot, 2))
            op.close(slot, 2, "range")
    if op.has(4):
        op.pin_axes(4, f"{op.type} reads lengths from it")
    for slot, zero in ((1, 9), (2, 11)):
        op.member(slot, 2)
        op.close(slot, 2, "integers", zero)
    op.close(2, 1, "integers", 11)
    if op.has(3):
        op.close(3, 1, "range")
    op.set(0, [None, None, None, labels])
    op.set(1, [None, None, labels])
    op.set(2, [None, None, labels])
    op.rewrite(lambda edit: edit.set_attribute("hidden_size", edit.count(labels, hidden)))
