"""Parts that several reports have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnxprune.model.container import shown_path as shown_path
from onnxprune.report.blocks import Column, Line, Table
from onnxprune.results import CalibrationSummary, ModelSummary, ProofSummary
from onnxprune.results.units import (
    format_bytes,
    format_change,
    format_count,
    format_difference,
    format_macs,
    format_seconds,
    plural,
)
from onnxprune.results.wording import shortened as shortened

LISTED = 120  # characters of a few names in a row
STAGES = (Column("stage"), Column("result"), Column("time", right=True))


def stage_time(seconds: Mapping[str, float], *stages: str) -> str:
    """How long these stages took together."""
    return format_seconds(sum(seconds.get(stage, 0.0) for stage in stages))


def measured_rows(lines: Sequence[str], seconds: Mapping[str, float]) -> list[tuple[str, str, str]]:
    """The rows of STAGES for what was measured, `lines`; none if nothing was."""
    if not lines:
        return []
    return [("measured", lines[0], stage_time(seconds, "measure")), *(("", line, "") for line in lines[1:])]


def model_line(model: ModelSummary) -> str:
    """One line about a model: name, parameters, size, cost, opset."""
    return _GAP.join(
        (
            model.name,
            f"{format_count(model.parameters)} params",
            format_bytes(model.size_bytes),
            format_macs(model.macs) + (f" (at least: {model.uncounted} nodes unknown)" if model.uncounted else ""),
            f"opset {model.opset}",
        )
    )


_GAP = "  "


def counted_for(before: ModelSummary, calibration: CalibrationSummary | None) -> list[str]:
    """What multiply-accumulates were counted for, where there are no samples to take sizes from; and what was not."""
    found = []
    if calibration is None and any(size != 1 for size in before.symbols.values()):
        sizes = ", ".join(f"{name} = {size}" for name, size in before.symbols.items())
        found.append(f"MACs are for {sizes}, as assumed without samples (--data)")
    if before.uncounted:
        tell = "samples (--data) tell" if calibration is None else "also the samples do not tell"
        found.append(f"the MACs of {plural(before.uncounted, 'node')} are unknown and not counted: {tell} their sizes")
    return found


def before_after(before: ModelSummary, after: ModelSummary, titles: tuple[str, str] = ("before", "after")) -> Table:
    """The table of what changed in size and cost."""
    rows = (
        (
            "parameters",
            format_count(before.parameters),
            format_count(after.parameters),
            format_change(before.parameters, after.parameters),
        ),
        (
            "file",
            format_bytes(before.size_bytes),
            format_bytes(after.size_bytes),
            format_change(before.size_bytes, after.size_bytes),
        ),
        (
            "MACs",
            format_count(before.macs),
            format_count(after.macs),
            format_change(before.macs, after.macs),
        ),
    )
    columns = (Column(""), *(Column(title, right=True) for title in (*titles, "change")))
    return Table(columns, rows)


def proof_text(proof: ProofSummary) -> str:
    """What was shown, in one line."""
    total = len(proof.cases) + len(proof.skipped_cases)
    parts = [
        f"signature same, {'checker ok' if proof.checker_ok else 'checker refuses the original too'}, runs",
        f"masked equivalence {len(proof.cases)}/{plural(total, 'input')}",
        f"max |d| {format_difference(proof.worst_absolute)}",
    ]
    if not proof.sensitive:
        parts.append("but UNPROVEN, see below")
    return ", ".join(parts)


def tolerance_text(proof: ProofSummary) -> str:
    """How far outputs were apart, how far they may be, and why so far."""
    found, allowed = format_difference(proof.worst_relative), format_difference(proof.tolerance_relative)
    return f"relative {found}, allowed {allowed} = {proof.tolerance_policy}"


def unproven(*proofs: ProofSummary | None) -> tuple[Line, ...]:
    """The last line, if proofs do not show everything."""
    return tuple(Line(proof.unproven) for proof in proofs if proof is not None and proof.unproven)


def captured(found: CalibrationSummary) -> str:
    """The samples that were used."""
    text = f"{plural(found.samples, 'sample')} of {found.source}, {found.held_out} held out"
    return text if found.peak_bytes is None else f"{text}, peak {format_bytes(found.peak_bytes)}"


def notes(*texts: str) -> tuple[Line, ...]:
    """Remarks, one line each."""
    return tuple(Line(f"note: {text}", indent=2) for text in texts)


def names(layers: tuple[str, ...], shown: int = 3) -> str:
    """A few names, and how many more there are; fewer where they are long."""
    short = [shortened(name) for name in layers[:shown]]
    while len(short) > 1 and sum(map(len, short)) > LISTED:
        short.pop()
    listed = ", ".join(short)
    return listed if len(layers) == len(short) else f"{listed} and {len(layers) - len(short)} more"
