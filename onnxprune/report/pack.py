"""The reports of `pack` and `unpack`."""

from __future__ import annotations

from collections import Counter

from onnxprune.packing.results import PackedTensor, PackResult, UnpackResult
from onnxprune.report.blocks import Block, Column, Heading, Line, Report, Table
from onnxprune.report.fidelity import advice, quality_lines
from onnxprune.report.shared import STAGES, measured_rows, notes, shown_path, stage_time
from onnxprune.results.units import format_bytes, format_percent, plural

PARTS = {
    "indices": "indices of shared values",
    "gaps": "gaps between weights",
    "codebooks": "codebooks",
    "graph": "graph and small tensors",
    "exact": "tensors stored as they are",
    "container": "directory and checksums",
}
_SIZES = (Column("part"), Column("size", right=True), Column("of the original", right=True))
_TENSORS = (
    Column("weight", code=True),
    Column("kind"),
    Column("shape"),
    Column("zeros", right=True),
    Column("stored as"),
    Column("before", right=True),
    Column("after", right=True),
    Column("error", right=True),
)


def pack_report(result: PackResult, *, tensors: bool = False) -> Report:
    """What was stored how, and what it takes. `tensors` lists them."""
    share = format_percent(result.packed_bytes / max(result.size_bytes, 1))
    blocks: list[Block] = [
        Heading(f"{result.name}  {format_bytes(result.size_bytes)} -> {format_bytes(result.packed_bytes)}  {share}"),
        Table(STAGES, _stages(result), bare=True),
        Table(_SIZES, _sizes(result)),
    ]
    if tensors:
        blocks.append(Table(_TENSORS, tuple(_tensor(tensor) for tensor in result.tensors)))
    blocks.extend(notes(*result.notes))
    if result.fidelity is not None:
        blocks.extend(notes(*advice(result.fidelity)))
    elif not result.lossless and result.metric is None:
        blocks.extend(notes("what this does to the outputs is not known: --data or --metric measures it"))
    return (*blocks, *outcome(result))


def unpack_report(result: UnpackResult) -> Report:
    """What came out."""
    what = "identical to the model that was packed" if result.lossless else "the model with its shared weights"
    return (
        Heading(f"{result.name}  {format_bytes(result.packed_bytes)} -> {format_bytes(result.size_bytes)}"),
        Line(f"checked: {what}, sha256 {result.sha256}", indent=2),
        *outcome(result),
    )


def outcome(result: PackResult | UnpackResult) -> Report:
    """The last line alone."""
    return (Line(f"wrote {', '.join(map(shown_path, result.written))}"),)


def _stages(result: PackResult) -> tuple[tuple[str, str, str], ...]:
    gives = "identical to the original" if result.lossless else f"gives sha256 {result.unpacked_sha256[:16]}"
    rows = [
        ("packed", _packed(result), stage_time(result.seconds, "load", "pack")),
        ("checked", f"decoded again: {gives}", stage_time(result.seconds, "check")),
    ]
    rows += measured_rows(quality_lines(result.metric, result.fidelity), result.seconds)
    return tuple(rows)


def _packed(result: PackResult) -> str:
    coded = [tensor for tensor in result.tensors if tensor.how != "exact"]
    parts = [f"{plural(count, 'weight')} {how}" for how, count in sorted(Counter(t.how for t in coded).items())]
    kept = [tensor for tensor in result.tensors if tensor.how == "exact"]
    if kept:
        parts.append(f"{len(kept)} as {'they are' if len(kept) > 1 else 'it is'}")
    text = ", ".join(parts) or "no weights"
    worst = max(coded, key=lambda tensor: tensor.error, default=None)
    if worst is None or worst.error == 0:
        return f"{text}: nothing is lost"
    return f"{text}; the worst is off by {format_percent(worst.error)} ({worst.name})"


def _sizes(result: PackResult) -> tuple[tuple[str, ...], ...]:
    rows = [(PARTS[name], size) for name, size in result.parts.items() if size]
    rows.append(("all", result.packed_bytes))
    return tuple((name, format_bytes(size), format_percent(size / max(result.size_bytes, 1))) for name, size in rows)


def _tensor(tensor: PackedTensor) -> tuple[str, ...]:
    return (
        tensor.name,
        tensor.kind or "",
        "x".join(map(str, tensor.shape)),
        format_percent(tensor.zeros) if tensor.zeros else "",
        _how(tensor),
        format_bytes(tensor.before_bytes),
        "" if tensor.after_bytes is None else format_bytes(tensor.after_bytes),
        format_percent(tensor.error) if tensor.how != "exact" else "",
    )


def _how(tensor: PackedTensor) -> str:
    if tensor.how == "shared":
        return f"{plural(tensor.entries, 'shared value')}"
    if tensor.how == "int8":
        return f"int8, {plural(tensor.entries, 'scale')}"
    return f"it is: {tensor.reason}" if tensor.reason else "it is"
