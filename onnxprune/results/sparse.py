"""What became of weights that were made sparse: plain values. Units are in the names."""

from __future__ import annotations

from dataclasses import dataclass

from onnxprune.results.proof import ProofSummary
from onnxprune.results.repair import ReconstructionSummary
from onnxprune.results.shown import OneLine
from onnxprune.results.units import format_percent, plural


@dataclass(frozen=True, repr=False)
class SparseLayer(OneLine):
    """A layer and its weights. Errors are those of its output on held-out samples, squared and relative to the variance
    in the original.

    Attributes:
        node: Its name.
        weight: Name of its initializer.
        pattern: The blocks in which weights become zero: "4x1", "2:4", ...
        size: How many weights it has.
        kept: How many of them stay.
        error_masked: Right after masking; None without data.
        error: Of the result; None without data.
        operator: What stands for it in the file; None if it stays the operator that it was.
        reason: Why it stays dense, or why no operator stands for it; None if neither is so.
    """

    node: str
    weight: str
    pattern: str
    size: int
    kept: int
    error_masked: float | None = None
    error: float | None = None
    operator: str | None = None
    reason: str | None = None

    @property
    def sparse(self) -> bool:
        """Whether weights of it became zero."""
        return self.kept < self.size


@dataclass(frozen=True, repr=False)
class SparsitySummary(OneLine):
    """What became of the weights.

    Attributes:
        asked: The share that was to become zero, 0 to 1.
        reached: The share of the weights of sparse layers that did.
        pattern: The blocks in which they did; "auto" if they were chosen by measurement, layer by layer.
        method: What chose them.
        scope: Within what they were compared.
        emit: How they are in the file: "operators", "dense-zeros" or "sparse-initializers".
        repair: What was done for the weights that stay.
        weights: How many weights all layers have.
        nonzero: How many of them are not zero now.
        nonzero_before: How many were not zero before.
        layers: All of them.
        reconstruction: Of all weights together; None without data, or with another repair.
        proof: Of the file; None where none was written.
        runs: How the file ran for the proof.
        library: Why the operators' library is missing here; None if it is not, or if the file needs none.
        integers: How many layers are of int8 of which the smallest weights left, and none were refitted.
        notes: Weights that are in no layer.
    """

    asked: float
    reached: float
    pattern: str
    method: str
    scope: str
    emit: str
    repair: str
    weights: int
    nonzero: int
    nonzero_before: int
    layers: tuple[SparseLayer, ...]
    reconstruction: ReconstructionSummary | None = None
    proof: ProofSummary | None = None
    runs: tuple[str, ...] = ()
    library: str | None = None
    integers: int = 0
    notes: tuple[str, ...] = ()

    @property
    def sparse_layers(self) -> tuple[SparseLayer, ...]:
        """Layers of which weights became zero."""
        return tuple(layer for layer in self.layers if layer.sparse)

    def _words(self) -> str:
        count = plural(len(self.sparse_layers), "sparse layer")
        return f"{count} of {len(self.layers)}, {format_percent(self.reached)} zeros in them, {self.pattern}"


@dataclass(frozen=True, repr=False)
class SparseWeights(OneLine):
    """What a file was found to have of sparse weights.

    Attributes:
        emit: How they are in the file.
        layers: How many there are.
        size: How many numbers they have in all.
        nonzero: How many of those are not zero.
        runs: How the file ran for the proof.
        proof: That it computes what a dense model with the same zeros does.
    """

    emit: str
    layers: int
    size: int
    nonzero: int
    runs: tuple[str, ...]
    proof: ProofSummary
