"""What the API gives back: plain values, from which text, pages and JSON are made. Units are in the names."""

from __future__ import annotations

from onnxprune.results.bounds import BoundsSummary, BoundTrial
from onnxprune.results.calibration import CalibrationSummary
from onnxprune.results.compressing import CompressPoint, CompressResult
from onnxprune.results.differences import Difference, NodeDifference, TensorDifference
from onnxprune.results.ending import CutShort
from onnxprune.results.error_curves import ErrorCurve
from onnxprune.results.fidelity import Agreement, Fidelity, OutputFidelity
from onnxprune.results.inspection import BlockSummary, GroupSummary, Inspection, LayerCost
from onnxprune.results.metric import MetricSummary, MetricTrial
from onnxprune.results.model import ModelSummary
from onnxprune.results.plan import (
    GroupPlan,
    Plan,
    QuantizationPlan,
    SparsePlan,
    SparseWeight,
    ValueGrid,
    WeightGrid,
)
from onnxprune.results.progress import Progress, ProgressCallback
from onnxprune.results.proof import ProofSummary
from onnxprune.results.quantization import (
    Executed,
    GridSummary,
    OutputSummary,
    QuantizationSummary,
    QuantizedLayer,
    Sensitivities,
    SmallWeights,
)
from onnxprune.results.quantizing import QuantizeResult
from onnxprune.results.repair import LayerRepair, ReconstructionSummary, RepairSummary, SkippedLayer
from onnxprune.results.shrinking import BlockChange, GroupChange, ShrinkResult
from onnxprune.results.sparse import SparseLayer, SparseWeights, SparsitySummary
from onnxprune.results.sparsifying import SparsifyResult
from onnxprune.results.target import TargetSummary
from onnxprune.results.timing import Cause, TimingSummary
from onnxprune.results.verifying import VerifyResult

__all__ = [
    "Agreement",
    "BlockChange",
    "BlockSummary",
    "BoundTrial",
    "BoundsSummary",
    "CalibrationSummary",
    "Cause",
    "CompressPoint",
    "CompressResult",
    "CutShort",
    "Difference",
    "ErrorCurve",
    "Executed",
    "Fidelity",
    "GridSummary",
    "GroupChange",
    "GroupPlan",
    "GroupSummary",
    "Inspection",
    "LayerCost",
    "LayerRepair",
    "MetricSummary",
    "MetricTrial",
    "ModelSummary",
    "NodeDifference",
    "OutputFidelity",
    "OutputSummary",
    "Plan",
    "Progress",
    "ProgressCallback",
    "ProofSummary",
    "QuantizationPlan",
    "QuantizationSummary",
    "QuantizeResult",
    "QuantizedLayer",
    "ReconstructionSummary",
    "RepairSummary",
    "Sensitivities",
    "ShrinkResult",
    "SkippedLayer",
    "SmallWeights",
    "SparseLayer",
    "SparsePlan",
    "SparseWeight",
    "SparseWeights",
    "SparsifyResult",
    "SparsitySummary",
    "TargetSummary",
    "TensorDifference",
    "TimingSummary",
    "ValueGrid",
    "VerifyResult",
    "WeightGrid",
]
