"""What the API gives back: plain values, from which text and JSON reports are made. Units are in the names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxprune.errors import OnnxPruneError, VerificationError
from onnxprune.results.differences import NodeDifference as NodeDifference
from onnxprune.results.differences import TensorDifference as TensorDifference
from onnxprune.results.error_curves import ErrorCurve
from onnxprune.results.evidence import CalibrationSummary as CalibrationSummary
from onnxprune.results.evidence import Cause as Cause
from onnxprune.results.evidence import ProofSummary as ProofSummary
from onnxprune.results.evidence import ReconstructionSummary as ReconstructionSummary
from onnxprune.results.evidence import TimingSummary as TimingSummary
from onnxprune.results.evidence import failure_after
from onnxprune.results.sparse import SparseWeights, SparsitySummary


@dataclass(frozen=True)
class Progress:
    """A step of a long run: `done` of `total` (None if unknown) of a stage named as in docs/architecture.md."""

    stage: str
    done: int
    total: int | None = None
    message: str = ""


ProgressCallback = Callable[[Progress], None]


@dataclass(frozen=True)
class ModelSummary:
    """One model file. `macs` are multiply-accumulates for the sizes in `symbols` (symbolic dimension -> size);
    `uncounted` lists nodes whose cost is unknown.
    """

    name: str
    sha256: str
    size_bytes: int
    parameters: int
    macs: int
    uncounted: int
    nodes: int
    opset: int
    ir_version: int
    symbols: dict[str, int]


@dataclass(frozen=True)
class LayerCost:
    """One node with weights. `group` names the group of its output indices (None if they are in several or none)."""

    node: str
    op_type: str
    macs: int | None
    parameters: int
    output_shape: tuple[int | None, ...] | None
    group: str | None
    pinned: str | None


@dataclass(frozen=True)
class GroupSummary:
    """One group of interchangeable indices: its size, the layers that produce them, and why it stays, if it does."""

    name: str
    size: int
    layers: tuple[str, ...]
    pinned: str | None
    pinned_by: str | None
    blocks: int | None = None


@dataclass(frozen=True)
class BlockSummary:
    """One residual block, by the name of its sum: the nodes of its branch, what they cost, and why it stays, if so."""

    name: str
    nodes: tuple[str, ...]
    macs: int
    parameters: int
    pinned: str | None
    pinned_by: str | None


@dataclass(frozen=True)
class Inspection:
    """What can be removed from a model, what stays and why, and what each layer costs. `blocks` with units "blocks"
    only, which leave no groups.
    """

    model: ModelSummary
    groups: tuple[GroupSummary, ...]
    layers: tuple[LayerCost, ...]
    operators_without_rule: dict[str, int]
    notes: tuple[str, ...] = ()
    blocks: tuple[BlockSummary, ...] = ()
    units: str = "channels"

    @property
    def removable(self) -> int:
        """Channels, or blocks."""
        return sum(g.size for g in self.groups if g.pinned is None) + sum(b.pinned is None for b in self.blocks)


@dataclass(frozen=True)
class GroupChange:
    """A group after planning. `reason` is set where it lost less than was asked (pinned, excluded, too narrow)."""

    name: str
    size: int
    removed: int
    layers: tuple[str, ...]
    reason: str | None = None
    pinned: bool = False  # the reason is the model's, and `inspect` knows it; else it is of this run


@dataclass(frozen=True)
class BlockChange:
    """A residual block after planning. `reason` is set where it could not leave (pinned, excluded)."""

    block: BlockSummary
    removed: bool
    reason: str | None = None


@dataclass(frozen=True)
class LayerRepair:
    """Held-out error of a refitted layer, relative to the power of its target: as cut, and after the fit. Of scale and
    shift: the distance of means and deviations.

    `ridge` is the pull towards the old weights that was best, relative to the mean power of the inputs; 0 if the layer
    kept its weights, because no fit was better.
    """

    name: str
    error_before: float
    error_after: float
    ridge: float

    @property
    def kept(self) -> bool:
        return self.ridge == 0


@dataclass(frozen=True)
class SkippedLayer:
    """A layer that lost inputs and could not be repaired."""

    name: str
    reason: str


@dataclass(frozen=True)
class RepairSummary:
    """What was repaired. `corrected_layers` got new weights (least squares), two new numbers per channel
    (scale and shift) or a new bias (bias correction).

    `layers` are the problems of least squares (or scale and shift), in order; `bias_corrected` of the skipped ones got
    a new bias at least.
    """

    method: str
    corrected_layers: int
    skipped: tuple[SkippedLayer, ...] = ()
    layers: tuple[LayerRepair, ...] = ()
    bias_corrected: int = 0
    reconstruction: ReconstructionSummary | None = None

    @property
    def layerwise(self) -> str:
        """What was done layer by layer: the method without the reconstruction that followed."""
        return self.method if self.reconstruction is None else "least squares"

    @property
    def skipped_layers(self) -> tuple[str, ...]:
        return tuple(layer.name for layer in self.skipped)

    @property
    def worst(self) -> LayerRepair | None:
        """The layer with the largest error left."""
        return max(self.layers, key=lambda layer: layer.error_after, default=None)

    @property
    def kept(self) -> tuple[str, ...]:
        """Layers that no fit made better."""
        return tuple(layer.name for layer in self.layers if layer.kept)


@dataclass(frozen=True)
class TargetSummary:
    """What was asked of a cost (a count, bytes, seconds), what the plan leaves, and what was `measured` (budgets)."""

    asked: str
    kind: str
    limit: float
    before: float
    planned: float
    measured: float | None = None


@dataclass(frozen=True)
class Agreement:
    """The share of `samples` on which two models say the same, with the Wilson score interval at 95 %."""

    share: float
    low: float
    high: float
    samples: int


@dataclass(frozen=True)
class OutputFidelity:
    """One output of a candidate against the original's, over all samples; see measure/fidelity.py for the definitions.

    Numbers are None where they have no meaning; `reason` says why there is no agreement. `not_finite` counts elements
    that are NaN or infinite in either model, `clashes` those that are so in one only: then the error is infinite.
    """

    name: str
    relative_error: float | None
    max_absolute: float | None
    cosine: float | None
    agreement: Agreement | None
    reason: str | None
    elements: int
    not_finite: int = 0
    clashes: int = 0


@dataclass(frozen=True)
class Fidelity:
    """How far a candidate does what the original does, on `samples` samples without labels."""

    samples: int
    outputs: tuple[OutputFidelity, ...]

    @property
    def worst_agreement(self) -> Agreement | None:
        """The least agreement of all outputs that have one."""
        found = [output.agreement for output in self.outputs if output.agreement is not None]
        return min(found, key=lambda one: one.share, default=None)

    @property
    def agreement(self) -> float | None:
        """Its share, 0 to 1."""
        worst = self.worst_agreement
        return None if worst is None else worst.share

    @property
    def worst_error(self) -> float | None:
        """The largest relative error of all outputs that have one."""
        return max((o.relative_error for o in self.outputs if o.relative_error is not None), default=None)


@dataclass(frozen=True)
class MetricTrial:
    """What the user's metric gave for the result of a ratio that removes `removed` units and leaves `macs`.

    `asked` says what it is a ratio of: "ratio 0.25" of the channels, "macs=75%" of what is left.
    """

    ratio: float
    removed: int
    value: float
    macs: int | None = None
    asked: str = ""


@dataclass(frozen=True)
class MetricSummary:
    """The user's metric, higher is better: of the original, and of the result (None in a dry run that tried nothing).

    `trials` are those of a search for the largest ratio, or with samples the least MACs, within `max_drop`, in their
    order.
    """

    name: str
    before: float
    after: float | None
    max_drop: float | None
    trials: tuple[MetricTrial, ...] = ()


@dataclass(frozen=True)
class ShrinkResult:
    """Outcome of `shrink`. `after`, `proof` and `written` are empty in a dry run or if nothing was removed.

    `blocks` are there with units "blocks", and then there are no groups.
    `asked_ratio` is None with a target or a plan, or if it was searched for; `target` without one, `calibration` and
    `fidelity` without data, `metric` without one. `curves` if the choice was made by error. `planned`: what a dry run
    would leave, its bytes an estimate; `timing` with `bench`, if it could be timed. `problem` is what failed once the
    files in `written` were there: the report.
    """

    before: ModelSummary
    after: ModelSummary | None
    plan: Any
    groups: tuple[GroupChange, ...]
    asked_ratio: float | None
    reached_ratio: float
    proof: ProofSummary | None
    repair: RepairSummary | None
    written: tuple[Path, ...]
    seconds: dict[str, float]
    notes: tuple[str, ...] = ()
    target: TargetSummary | None = None
    calibration: CalibrationSummary | None = None
    fidelity: Fidelity | None = None
    metric: MetricSummary | None = None
    blocks: tuple[BlockChange, ...] = ()
    curves: tuple[ErrorCurve, ...] = ()
    sparsity: SparsitySummary | None = None
    problem: OnnxPruneError | None = None
    planned: ModelSummary | None = None
    timing: TimingSummary | None = None

    def failure(self) -> OnnxPruneError | None:
        """What makes the command fail although the result is there."""
        return failure_after(self.written, self.problem)


@dataclass(frozen=True)
class SparsifyResult:
    """Outcome of `sparsify`. `after`, `written` and the proof are empty in a dry run, or if no layer became sparse.

    `after.macs` are those that are executed: what sparse operators skip is not counted, where their library is there.
    `calibration` and `fidelity` without data are None; `problem` is what failed with the report once the files were
    there; `planned` and `timing` as those of `ShrinkResult`.
    """

    before: ModelSummary
    after: ModelSummary | None
    plan: Any
    sparsity: SparsitySummary
    written: tuple[Path, ...]
    seconds: dict[str, float]
    notes: tuple[str, ...] = ()
    calibration: CalibrationSummary | None = None
    fidelity: Fidelity | None = None
    problem: OnnxPruneError | None = None
    planned: ModelSummary | None = None
    timing: TimingSummary | None = None

    def failure(self) -> OnnxPruneError | None:
        """As that of `ShrinkResult`."""
        return failure_after(self.written, self.problem)


@dataclass(frozen=True)
class VerifyResult:
    """Outcome of `verify`: the proof of the cut, and the initializers in which the file differs from the bare cut.

    `proof` is None if nothing was cut. Of a file with sparse weights, `sparse` is how many of them there are with how
    much in them, and `sparse_proof` shows that it computes what a dense model with the same zeros does.
    """

    original: ModelSummary
    pruned: ModelSummary
    plan_digest: str
    proof: ProofSummary | None
    refitted: tuple[str, ...]
    units: str = "channels"
    sparse: SparseWeights | None = None
    sparse_proof: ProofSummary | None = None

    def failure(self) -> OnnxPruneError | None:
        """What makes the command fail although nothing contradicts the result: the proof could not have failed."""
        unproven = [p.unproven for p in (self.proof, self.sparse_proof) if p is not None and p.unproven is not None]
        return VerificationError(unproven[0], hint="Give samples on which it matters: --data.") if unproven else None


@dataclass(frozen=True)
class Difference:
    """What distinguishes two model files."""

    a: ModelSummary
    b: ModelSummary
    signature: tuple[str, ...]
    metadata: tuple[str, ...]
    nodes: tuple[NodeDifference, ...]
    tensors: tuple[TensorDifference, ...]

    @property
    def same(self) -> bool:
        return not (self.signature or self.metadata or self.nodes or self.tensors)
