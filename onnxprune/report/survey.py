"""The report of `inspect` for several models: one table of what each could lose, and why not more."""

from __future__ import annotations

import os

from onnxprune.report.blocks import Block, Column, Line, Report, Table
from onnxprune.report.document_parts import Document
from onnxprune.results.summary_document import model_document
from onnxprune.results.surveys import Survey, Surveyed
from onnxprune.results.units import format_count, format_percent, plural

LEAST = 0.005
"""Shares of the multiply-accumulates below it are not worth a word."""
_COLUMNS = (
    Column("model", code=True),
    Column("parameters", right=True),
    Column("MACs", right=True),
    Column("at half", right=True),
    Column("groups", right=True),
    Column("why not more"),
)


def report(result: Survey) -> Report:
    """One table; then what its columns say, and how many files could not be read."""
    failed = sum(one.error is not None for one in result.models)
    what = "residual blocks" if result.units == "blocks" else "groups of channels"
    blocks: list[Block] = [Table(_COLUMNS, tuple(_row(one) for one in result.models), indent=0)]
    if result.units != "blocks":
        blocks.append(
            Line("at half: MACs that are left if every group that can shrink keeps half, in steps of the device")
        )
    blocks.append(Line(f"groups: {what} that can shrink, of all. One model in detail: onnxprune inspect MODEL"))
    if failed:
        blocks.append(Line(f"{plural(failed, 'file')} of {len(result.models)} could not be read"))
    return tuple(blocks)


def _row(one: Surveyed) -> tuple[str, ...]:
    path = os.fspath(one.path)
    if one.model is None:
        assert one.error is not None
        return path, "", "", "", "", f"error: {one.error.message.removeprefix(f'{path}: ')}"
    macs, half = one.model.macs, one.halved_macs
    left = "" if half is None or not macs else format_percent(half / macs)
    shown = f"{format_count(macs)}+" if one.model.uncounted else format_count(macs)
    groups = f"{one.prunable}/{one.groups}"
    return path, format_count(one.model.parameters), shown, left, groups, _why(one)


def _why(one: Surveyed) -> str:
    """The reason of the largest part that stays, and how many others there are."""
    large = [held for held in one.held if held.share >= LEAST]
    if not large:
        return ""
    first, more = large[0], len(large) - 1
    text = f"{format_percent(first.share)}: {first.reason} ({first.example})"
    return f"{text}; {plural(more, 'other reason')}" if more else text


def survey(result: Survey) -> Document:
    """The same as a JSON document."""
    return {
        "schema": "onnxprune.survey/1",
        "units": result.units,
        "models": [_document(one) for one in result.models],
    }


def _document(one: Surveyed) -> Document:
    error = one.error
    return {
        "path": os.fspath(one.path),
        "model": None if one.model is None else model_document(one.model),
        "groups_count": one.groups,
        "prunable_count": one.prunable,
        "removable_count": one.removable,
        "halved_macs_count": one.halved_macs,
        "held": [
            {"share_ratio": held.share, "reason": held.reason, "nodes_count": held.nodes, "example": held.example}
            for held in one.held
        ],
        "error": None
        if error is None
        else {"type": error.kind, "message": error.message, "hint": error.hint, "exit_code": error.exit_code},
    }
