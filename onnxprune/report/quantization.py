"""What reports say of quantised layers."""

from __future__ import annotations

from collections import Counter

from onnxprune.report.blocks import Column, Table
from onnxprune.report.shared import names, stage_time, tolerance_text
from onnxprune.report.sparsity import rebuilt_row
from onnxprune.results import ProofSummary, Sensitivities, SmallWeights
from onnxprune.results.quantization import Executed, GridSummary, QuantizationSummary, QuantizedLayer
from onnxprune.results.units import format_count, format_difference, format_percent, plural
from onnxprune.results.wording import of_several

LAYERS = (
    Column("layer", code=True),
    Column("operator"),
    Column("computes in"),
    Column("error", right=True),
    Column("why"),
)
SENSITIVITIES = (
    Column("layer", code=True),
    Column("operator"),
    Column("error of int8 alone", right=True),
    Column("stays float, because"),
)


def quantized_rows(found: QuantizationSummary, seconds: dict[str, float]) -> tuple[tuple[str, str, str], ...]:
    """Stage, result, time: which layers, their weights on the grids, and the proof."""
    rows = [
        ("quantised", _quantised(found), stage_time(seconds, "prepare", "ranges", "profile", "sensitivity", "rewrite"))
    ]
    left = left_text(found)
    if left is not None:
        rows.append(("", left, ""))
    if found.reconstruction is not None:
        rows.append(rebuilt_row(found.reconstruction, stage_time(seconds, "rebuild")))
    if found.proof is not None:
        rows.append(("verified", proof_text(found.proof), stage_time(seconds, "verify")))
        rows.extend(("", text, "") for text in form_texts(found.proof))
    if found.equality is not None:
        rows.append(("verified", equality_text(found.equality), stage_time(seconds, "verify")))
        rows.append(("", tolerance_text(found.equality), ""))
    if found.executed is not None and found.equality is None:
        rows.append(("", executed_text(found.executed, found), ""))
    return tuple(rows)


def _quantised(found: QuantizationSummary) -> str:
    text = (
        f"{len(found.quantized_layers)} of {plural(len(found.all_layers), 'layer')} in {found.weights} ({found.scheme}"
    )
    text += "" if found.ranges is None else f", ranges of {found.ranges.replace('-', ' ')}"
    text += ", operators on integers)" if found.form == "qoperator" else ")"
    between = Counter(one.operator for one in found.layers if one.kind != "layer" and one.quantized)
    if between:
        text += f"; between them {', '.join(f'{count} x {name}' for name, count in between.most_common())}"
    return text


def left_text(found: QuantizationSummary) -> str | None:
    """Which layers stay as they were, and why; None if none does."""
    reasons = Counter(layer.reason for layer in found.all_layers if layer.reason)
    if not reasons:
        return None
    listed = ", ".join(f"{count} x {of_several(reason or '', count)}" for reason, count in reasons.most_common())
    count = sum(reasons.values())
    return f"{plural(count, 'layer')} {'stays' if count == 1 else 'stay'} float: {listed}"


def proof_text(proof: GridSummary) -> str:
    """What was shown, in one line."""
    text = f"{plural(proof.values, 'grid')} as planned, same nodes, {format_count(proof.integers)} integers on "
    text += f"{plural(len(proof.cases), 'input')}: "
    if not proof.differing:
        return f"{text}all as the original gives them on these grids"
    share = proof.differing / max(proof.integers, 1)
    return (
        f"{text}{format_percent(share)} differ from the original on these grids, by {plural(proof.most_steps, 'step')}"
    )


def form_texts(proof: GridSummary) -> tuple[str, ...]:
    """Of a file with operators on integers: one line on its outputs beside those of the other form."""
    found = proof.outputs
    if found is None:
        return ()
    same = "outputs are those of the same file with quantisers"
    if not found.differing:
        return (f"{same}, {format_count(found.numbers)} numbers bit by bit",)
    share = format_percent(found.differing / max(found.numbers, 1))
    return (f"{same}, but for {share} of the numbers: ties, at most {format_percent(found.farthest)} of an output",)


def equality_text(proof: ProofSummary) -> str:
    """The same of weights alone."""
    total = len(proof.cases) + len(proof.skipped_cases)
    text = f"equal to a float model with these weights on {len(proof.cases)}/{plural(total, 'input')}"
    text += f", max |d| {format_difference(proof.worst_absolute)}"
    return text if proof.sensitive else f"{text}, but UNPROVEN, see below"


def small_text(found: SmallWeights) -> str:
    """What a file was found to have of weights in fewer bits."""
    moved = f"at most {format_percent(found.moved)} of a weight's norm from the original's ({found.farthest})"
    return f"{plural(found.weights, 'weight')} in fewer bits, {format_count(found.size)} numbers, {moved}"


def executed_text(found: Executed, summary: QuantizationSummary) -> str:
    """How many layers really run on integers here."""
    text = f"ONNX Runtime runs {plural(found.integers, 'layer')} on integers here"
    if not found.floats:
        return text
    return f"{text}; {plural(len(found.floats), 'layer')} with floats, although quantised: {names(found.floats)}"


def remarks(found: QuantizationSummary) -> tuple[str, ...]:
    """What a reader should know."""
    texts = list(found.notes)
    if found.proof is not None and found.proof.untold:
        some = names(found.proof.untold)
        texts.append(
            f"values that are the same on all inputs that were tried, so that their scale shows nowhere: {some}"
        )
    return tuple(texts)


def sensitivity_table(found: Sensitivities) -> Table:
    """One row a layer: the most sensitive first, then those that stay float."""
    ordered = sorted(found.layers, key=lambda layer: (layer.reason is not None, -(layer.error or 0.0)))
    rows = tuple((one.node, one.operator, *_row(one)[3:]) for one in ordered)
    return Table(SENSITIVITIES, rows)


def layers_table(found: QuantizationSummary) -> Table:
    """One row a layer."""
    return Table(LAYERS, tuple(_row(layer) for layer in found.layers))


def _row(layer: QuantizedLayer) -> tuple[str, ...]:
    error = "" if layer.error is None else format_percent(layer.error)
    return layer.node, layer.operator, layer.precision, error, layer.reason or ""
