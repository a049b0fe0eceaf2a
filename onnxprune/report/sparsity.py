"""What reports say of sparse weights."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from onnxprune.report.blocks import Column, Table
from onnxprune.report.shared import before_after, names, shortened, stage_time, tolerance_text
from onnxprune.results import ModelSummary, ProofSummary, ReconstructionSummary
from onnxprune.results.sparse import SparseLayer, SparsitySummary
from onnxprune.results.units import (
    format_change,
    format_count,
    format_difference,
    format_percent,
    format_ratio,
    plural,
)
from onnxprune.results.wording import of_several
from onnxprune.sparse.patterns import FLOAT_ROWS, parse_pattern

BREAK_EVEN = {1: 0.55, 2: 0.45, 4: 0.3, 8: 0.3}
INTEGER_BREAK_EVEN = 0.6
"""The shares of zeros, by rows of the blocks, at which operators are about as fast as dense ones: estimated from the
times of whole networks with 70 to 90 % of zeros (docs/sparse-benchmarks.md), not measured."""
LAYERS = (
    Column("layer", code=True),
    Column("blocks"),
    Column("weights", right=True),
    Column("kept", right=True),
    Column("error as masked", right=True),
    Column("after repair", right=True),
    Column("in the file"),
)


def sparse_rows(found: SparsitySummary, seconds: dict[str, float]) -> tuple[tuple[str, str, str], ...]:
    """Stage, result, time: choosing weights, refitting them, and the proof."""
    rows = [("masked", _masked(found), stage_time(seconds, "mask", "rewrite"))]
    worst = max((layer for layer in found.sparse_layers if layer.error is not None), key=_error, default=None)
    if worst is not None:
        rows.append(("", f"largest error of a layer {_errors(worst)} at {shortened(worst.node)}", ""))
    if found.reconstruction is not None:
        rows.append(rebuilt_row(found.reconstruction, stage_time(seconds, "rebuild")))
    if found.proof is not None:
        rows.append(("verified", _how_it_runs(found.proof, found.runs), stage_time(seconds, "verify")))
        rows.append(("", _equality(found.proof), ""))
        rows.append(("", tolerance_text(found.proof), ""))
    return tuple(rows)


def rebuilt_row(found: ReconstructionSummary, time: str) -> tuple[str, str, str]:
    """All weights together: what it gained, or why they are as the layer by layer repair left them."""
    if not found.steps:
        return "", f"not rebuilt: {found.reason}", ""
    text = f"{plural(found.steps, 'step')}, held-out loss "
    text += f"{format_percent(found.error_before)} -> {format_percent(found.error_after)}"
    if found.frozen_weights:
        text += f"; {plural(found.frozen_weights, 'weight')} not: no gradient reaches them"
    return "rebuilt", text, time


def proof_of_zeros(proof: ProofSummary, runs: tuple[str, ...]) -> str:
    """What was shown of the file, which ran as `runs` say, in one line."""
    return ", ".join((_how_it_runs(proof, runs), _equality(proof)))


def _how_it_runs(proof: ProofSummary, runs: tuple[str, ...]) -> str:
    checked = "checker ok" if proof.checker_ok else "checker refuses the original too"
    return f"signature same, {checked}, runs {' and '.join(runs)}"


def _equality(proof: ProofSummary) -> str:
    total = len(proof.cases) + len(proof.skipped_cases)
    text = f"equal to the dense model with these zeros on {len(proof.cases)}/{plural(total, 'input')}"
    text += f", max |d| {format_difference(proof.worst_absolute)}"
    if not proof.sensitive:
        text += ", but UNPROVEN, see below"
    return text


def layers_table(found: SparsitySummary) -> Table:
    """One row a layer."""
    return Table(LAYERS, tuple(_row(layer, found) for layer in found.layers))


def dense_text(found: SparsitySummary) -> str | None:
    """Why layers stay dense, most frequent kind of reason first; None if none does."""
    reasons = [layer.reason for layer in found.layers if not layer.sparse and layer.reason]
    kinds = Counter(reason.partition(":")[0] for reason in reasons)
    alone = len(set(reasons)) == 1
    listed = ", ".join(f"{count} x {kind}" for kind, count in kinds.most_common())
    verb = "stays" if len(reasons) == 1 else "stay"
    why = of_several(reasons[0], len(reasons)) if reasons and alone else listed
    return f"{plural(len(reasons), 'layer')} {verb} dense: {why}" if reasons else None


def remarks(found: SparsitySummary, *, asked: bool = True) -> tuple[str, ...]:
    """What a reader should know of layers without an operator, and of a missing library. `asked`: whether the blocks
    are what the user asked for.
    """
    texts = list(found.notes)
    declined = [layer for layer in found.sparse_layers if layer.reason]
    by_reason: dict[str, list[str]] = {}
    for layer in declined:
        by_reason.setdefault(layer.reason or "", []).append(layer.node)
    for reason, nodes in by_reason.items():
        some = f"{plural(len(nodes), 'layer')} ({names(tuple(nodes))})"
        texts.append(f"{some}: there are zeros, but no operator that skips them: {of_several(reason, len(nodes))}")
    if found.integers and (found.method != "magnitude" or found.repair != "none"):
        texts.append(f"{plural(found.integers, 'layer')} of int8: the smallest weights left, others are as they were")
    few = [layer for layer in found.sparse_layers if asked and _few_zeros(layer)]
    if few:
        some = f"{plural(len(few), 'layer')} ({names(tuple(layer.node for layer in few))})"
        texts.append(f"{some}: with so few zeros they are hardly faster than dense; --pattern auto measures it")
    if found.library is not None:
        texts.append(
            f"the library with the sparse operators is missing here ({found.library}): "
            "the file runs by the dense functions in it, at dense speed"
        )
    elif found.emit == "dense-zeros" and found.sparse_layers:
        texts.append("the zeros are multiplied as all weights are: no faster, no smaller, unless a runtime skips them")
    elif found.emit == "sparse-initializers" and found.sparse_layers:
        texts.append("runtimes make sparse initializers dense when they load the file: smaller, no faster")
    return tuple(texts)


def _few_zeros(layer: SparseLayer) -> bool:
    """Whether an operator skips less than it needs to be as fast as a dense one."""
    if layer.operator is None or layer.size == 0:
        return False
    rows = parse_pattern(layer.pattern).stored_rows(FLOAT_ROWS)
    least = INTEGER_BREAK_EVEN if layer.operator.startswith("SparseQ") else BREAK_EVEN[rows]
    return 1.0 - layer.kept / layer.size < least


def changes_table(
    before: ModelSummary,
    after: ModelSummary,
    found: SparsitySummary | None,
    titles: tuple[str, str] = ("before", "after"),
) -> Table:
    """Size and cost, and how many weights of layers are not zero."""
    table = before_after(before, after, titles)
    if found is None:
        return table
    counts = found.nonzero_before, found.nonzero
    row = ("weights not zero", *map(format_count, counts), format_change(*counts))
    return replace(table, rows=(table.rows[0], row, *table.rows[1:]))


def _masked(found: SparsitySummary) -> str:
    text = f"sparsity {format_ratio(found.asked)} asked, {format_ratio(found.reached)} reached"
    text += f" in {plural(len(found.sparse_layers), 'layer')} ({found.pattern}, {found.method}, {found.scope})"
    dense = dense_text(found)
    return text if dense is None else f"{text}; {dense}"


def _row(layer: SparseLayer, found: SparsitySummary) -> tuple[str, ...]:
    written = layer.operator or ("dense" if not layer.sparse else found.emit if found.emit != "operators" else "dense")
    if layer.reason:
        written += f": {layer.reason}"
    return (
        layer.node,
        layer.pattern if layer.sparse else "",
        str(layer.size),
        str(layer.kept) if layer.sparse else "all",
        "" if layer.error_masked is None else format_percent(layer.error_masked),
        "" if layer.error is None else format_percent(layer.error),
        written,
    )


def _error(layer: SparseLayer) -> float:
    return layer.error or 0.0


def _errors(layer: SparseLayer) -> str:
    after = format_percent(layer.error or 0.0)
    return after if layer.error_masked is None else f"{format_percent(layer.error_masked)} -> {after}"
