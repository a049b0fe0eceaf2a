"""What became of weights that were made sparse: plain values. Units are in the names."""

from __future__ import annotations

from dataclasses import dataclass

from onnxprune.results.evidence import ProofSummary, ReconstructionSummary


@dataclass(frozen=True)
class SparseLayer:
    """A layer: `size` weights, of which `kept` stay, in blocks of `pattern`. Errors are those of its output on held-out
    samples, squared and relative to the variance in the original: right after masking, and of the result; None without
    data. `operator` stands for it in the file; `reason`: why it stays dense, or why no operator does.
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
        return self.kept < self.size


@dataclass(frozen=True)
class SparsitySummary:
    """What became of the weights. `asked` is the share that was to become zero, `reached` the share that did, of the
    weights of sparse layers; `weights`, `nonzero` and `nonzero_before` count those of all layers.

    Of them `integers` are layers of int8: their smallest weights leave, and none are refitted, whatever the method.
    `repair` is what was done for it; `runs`: how the file ran for the proof; `library`: why the operators' library is
    missing here, None if it is not, or if the file needs none; `notes`: weights that are in no layer.
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
        return tuple(layer for layer in self.layers if layer.sparse)


@dataclass(frozen=True)
class SparseWeights:
    """What a file was found to have: `layers` sparse weights of `size` numbers in all, `nonzero` of them not zero;
    `runs`: how it ran for the proof.
    """

    emit: str
    layers: int
    size: int
    nonzero: int
    runs: tuple[str, ...]
