"""What a result saves, as shares and in words."""

from __future__ import annotations

from onnxprune.results.model import ModelSummary
from onnxprune.results.sparse import SparsitySummary

NOTICED = 0.005  # less is nothing


def saved(before: float, after: float) -> float:
    """The share that left; 0 of nothing."""
    return 1 - after / before if before > 0 else 0.0


def zeros_added(sparsity: SparsitySummary | None) -> float:
    """The share of the weights of layers that became zero."""
    return 0.0 if sparsity is None else saved(sparsity.nonzero_before, sparsity.nonzero)


def gone(before: ModelSummary, after: ModelSummary, sparsity: SparsitySummary | None) -> float:
    """The share of the work, of the parameters or of the weights that left: the largest."""
    return max(saved(before.macs, after.macs), saved(before.parameters, after.parameters), zeros_added(sparsity))


def work(before: ModelSummary, after: ModelSummary, sparsity: SparsitySummary | None) -> str:
    """How much less there is to compute, or to store: "25 % less work"."""
    less, unknown = saved(before.macs, after.macs), max(before.uncounted, after.uncounted)
    if less >= NOTICED:
        return f"{_percent(less)} less work" + (", as far as it can be counted" if unknown else "")
    same = "work that cannot be counted" if unknown else "as much work"
    zeros = zeros_added(sparsity)
    fewer = saved(before.parameters, after.parameters)
    if zeros > max(fewer, NOTICED):
        return f"{_percent(zeros)} fewer weights that are not zero, {same}"
    if fewer >= NOTICED:
        return f"{_percent(fewer)} fewer parameters, {same}"
    return same if unknown else f"{same} as before"


def smaller(before: ModelSummary, after: ModelSummary) -> str:
    """How many bytes less: "74 % smaller"."""
    less = saved(before.size_bytes, after.size_bytes)
    if less >= NOTICED:
        return f"{_percent(less)} smaller"
    return "as large as before" if less > -NOTICED else f"{_percent(-less)} larger"


def _percent(share: float) -> str:
    """Not 100 % where something is left."""
    if 0.995 <= share < 1:
        return f"{min(share * 100, 99.99):.2f} %"
    return f"{share * 100:.0f} %" if share >= 0.095 else f"{share * 100:.2g} %"
