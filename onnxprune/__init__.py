"""onnxprune: make trained networks smaller and faster, from the ONNX file alone.

Functions are loaded when they are first used: `compress`, `shrink`, `quantize`, `sparsify`, `inspect`, `why`, `verify`,
`pack`, `unpack`, `diff`, `bench`, `check`, `sweep`, `environment`; `load`, `write`, `Model`, `Plan` for work with
single stages; `register` for sparse operators. What they give back and raise has its types here, too.
"""

from __future__ import annotations

import os
from importlib import import_module

from onnxprune.errors import speak_with

__version__ = "0.1.0"

# ONNX Runtime reports home from its import on, and keeps a file in ~/.cache, unless this is set before.
# Promise: no network, no telemetry, whatever the environment says.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

__all__ = [
    "BESIDE",
    "Agreement",
    "BenchResult",
    "BenchedModel",
    "BlockChange",
    "BlockSummary",
    "BoundTrial",
    "BoundsSummary",
    "CalibrationSummary",
    "Cause",
    "Check",
    "CheckResult",
    "CheckedModel",
    "ClusterError",
    "Comparison",
    "CompressPoint",
    "CompressResult",
    "CutShort",
    "DataError",
    "Difference",
    "Environment",
    "ErrorCurve",
    "Estimate",
    "Executed",
    "Failure",
    "Fidelity",
    "Gate",
    "GateError",
    "GridSummary",
    "GroupChange",
    "GroupPlan",
    "GroupSummary",
    "InputUsed",
    "Inspection",
    "Latency",
    "LayerChange",
    "LayerCost",
    "LayerRepair",
    "LayerTime",
    "Measurement",
    "MetricSummary",
    "MetricTrial",
    "Model",
    "ModelError",
    "ModelSummary",
    "NodeDifference",
    "NotFinite",
    "OnnxPruneError",
    "OperatorTime",
    "Outcome",
    "Outliers",
    "OutputError",
    "OutputFidelity",
    "OutputSummary",
    "PackResult",
    "PackedTensor",
    "Plan",
    "PlanError",
    "Point",
    "Profile",
    "ProfileComparison",
    "Progress",
    "ProgressCallback",
    "ProofSummary",
    "QuantizationPlan",
    "QuantizationSummary",
    "QuantizeResult",
    "QuantizedLayer",
    "ReconstructionSummary",
    "Rejected",
    "RepairSummary",
    "Sensitivities",
    "Setting",
    "SettingResult",
    "ShrinkResult",
    "SkippedLayer",
    "SmallWeights",
    "SparseLayer",
    "SparsePlan",
    "SparseWeight",
    "SparseWeights",
    "SparsifyResult",
    "SparsitySummary",
    "Spread",
    "SweepResult",
    "SweptPoint",
    "TargetSummary",
    "TensorDifference",
    "Timing",
    "TimingSummary",
    "UnpackResult",
    "UsageError",
    "ValueGrid",
    "VerificationError",
    "VerifyResult",
    "WeightGrid",
    "__version__",
    "bench",
    "check",
    "compress",
    "diff",
    "environment",
    "inspect",
    "load",
    "pack",
    "quantize",
    "register",
    "shrink",
    "sparsify",
    "sweep",
    "unpack",
    "verify",
    "why",
    "write",
]

_PUBLIC = {
    "onnxprune.api.compress": "compress",
    "onnxprune.api.shrink": "shrink",
    "onnxprune.api.quantize": "quantize",
    "onnxprune.api.sparsify": "sparsify",
    "onnxprune.api.sweep": "sweep",
    "onnxprune.api.inspect": "inspect why",
    "onnxprune.api.diff": "diff",
    "onnxprune.api.verify": "verify",
    "onnxprune.api.bench": "bench",
    "onnxprune.api.check": "check",
    "onnxprune.api.pack": "pack",
    "onnxprune.api.unpack": "unpack",
    "onnxprune.api.environment": "environment",
    "onnxprune.model.load": "Model load",
    "onnxprune.model.save": "write",
    "onnxprune.model.sources": "BESIDE",
    "onnxprune.native": "register",
    "onnxprune.errors": (
        "ClusterError DataError GateError ModelError NotFinite OnnxPruneError OutputError PlanError "
        "UsageError VerificationError"
    ),
    "onnxprune.results": (
        "Agreement BlockChange BlockSummary BoundTrial BoundsSummary CalibrationSummary Cause CompressPoint "
        "CompressResult CutShort Difference ErrorCurve "
        "Executed Fidelity "
        "GridSummary GroupChange GroupPlan GroupSummary Inspection LayerCost LayerRepair MetricSummary MetricTrial "
        "ModelSummary NodeDifference OutputFidelity OutputSummary Plan Progress ProgressCallback ProofSummary "
        "QuantizationPlan QuantizationSummary QuantizeResult QuantizedLayer "
        "ReconstructionSummary RepairSummary Sensitivities ShrinkResult SkippedLayer SmallWeights SparseLayer "
        "SparsePlan SparseWeight SparseWeights SparsifyResult SparsitySummary TargetSummary TensorDifference "
        "TimingSummary ValueGrid VerifyResult WeightGrid"
    ),
    "onnxprune.results.system": "Environment",
    "onnxprune.benching.results": (
        "BenchedModel BenchResult Comparison Estimate Gate InputUsed LayerChange LayerTime Measurement "
        "OperatorTime Outliers Profile ProfileComparison Rejected Setting SettingResult Spread"
    ),
    "onnxprune.checking.results": "CheckedModel CheckResult",
    "onnxprune.checking.verdicts": "Check",
    "onnxprune.packing.results": "PackedTensor PackResult UnpackResult",
    "onnxprune.sweeping.results": "Failure Latency Outcome Point SweepResult SweptPoint Timing",
}
"""Which module has them. Type checkers read __init__.pyi, which `make docs` makes of this; a test compares."""
_WHERE = {name: module for module, names in _PUBLIC.items() for name in names.split()}


def _in_python(text: str) -> str:
    """The text of an error, with options as Python names them. What knows them is loaded by the first error."""
    words: str = import_module("onnxprune.options.spoken").in_python(text)
    return words


speak_with(_in_python)


def __getattr__(name: str) -> object:
    """A public name, from the module that has it."""
    if name not in _WHERE:
        raise AttributeError(f"module 'onnxprune' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    """The public names, and no room that was loaded."""
    return list(__all__)
