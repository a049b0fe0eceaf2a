"""Public names and signatures. Made by `make docs` from __init__.py, api/ and options/; do not edit."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from onnxprune.api.diff import diff as diff
from onnxprune.api.environment import environment as environment
from onnxprune.benching.results import BenchedModel as BenchedModel
from onnxprune.benching.results import BenchResult as BenchResult
from onnxprune.benching.results import Comparison as Comparison
from onnxprune.benching.results import Estimate as Estimate
from onnxprune.benching.results import Gate as Gate
from onnxprune.benching.results import InputUsed as InputUsed
from onnxprune.benching.results import LayerChange as LayerChange
from onnxprune.benching.results import LayerTime as LayerTime
from onnxprune.benching.results import Measurement as Measurement
from onnxprune.benching.results import OperatorTime as OperatorTime
from onnxprune.benching.results import Outliers as Outliers
from onnxprune.benching.results import Profile as Profile
from onnxprune.benching.results import ProfileComparison as ProfileComparison
from onnxprune.benching.results import Rejected as Rejected
from onnxprune.benching.results import Setting as Setting
from onnxprune.benching.results import SettingResult as SettingResult
from onnxprune.benching.results import Spread as Spread
from onnxprune.checking.results import CheckedModel as CheckedModel
from onnxprune.checking.results import CheckResult as CheckResult
from onnxprune.checking.verdicts import Check as Check
from onnxprune.errors import ClusterError as ClusterError
from onnxprune.errors import DataError as DataError
from onnxprune.errors import GateError as GateError
from onnxprune.errors import ModelError as ModelError
from onnxprune.errors import NotFinite as NotFinite
from onnxprune.errors import OnnxPruneError as OnnxPruneError
from onnxprune.errors import OutputError as OutputError
from onnxprune.errors import PlanError as PlanError
from onnxprune.errors import UsageError as UsageError
from onnxprune.errors import VerificationError as VerificationError
from onnxprune.model.load import Model as Model
from onnxprune.model.load import load as load
from onnxprune.model.save import write as write
from onnxprune.model.sources import BESIDE as BESIDE
from onnxprune.model.sources import Beside
from onnxprune.native import register as register
from onnxprune.packing.results import PackedTensor as PackedTensor
from onnxprune.packing.results import PackResult as PackResult
from onnxprune.packing.results import UnpackResult as UnpackResult
from onnxprune.results import Agreement as Agreement
from onnxprune.results import BlockChange as BlockChange
from onnxprune.results import BlockSummary as BlockSummary
from onnxprune.results import BoundsSummary as BoundsSummary
from onnxprune.results import BoundTrial as BoundTrial
from onnxprune.results import CalibrationSummary as CalibrationSummary
from onnxprune.results import Cause as Cause
from onnxprune.results import CompressPoint as CompressPoint
from onnxprune.results import CompressResult as CompressResult
from onnxprune.results import CutShort as CutShort
from onnxprune.results import Difference as Difference
from onnxprune.results import ErrorCurve as ErrorCurve
from onnxprune.results import Executed as Executed
from onnxprune.results import Fidelity as Fidelity
from onnxprune.results import GridSummary as GridSummary
from onnxprune.results import GroupChange as GroupChange
from onnxprune.results import GroupPlan as GroupPlan
from onnxprune.results import GroupSummary as GroupSummary
from onnxprune.results import Inspection as Inspection
from onnxprune.results import LayerCost as LayerCost
from onnxprune.results import LayerRepair as LayerRepair
from onnxprune.results import MetricSummary as MetricSummary
from onnxprune.results import MetricTrial as MetricTrial
from onnxprune.results import ModelSummary as ModelSummary
from onnxprune.results import NodeDifference as NodeDifference
from onnxprune.results import OutputFidelity as OutputFidelity
from onnxprune.results import OutputSummary as OutputSummary
from onnxprune.results import Plan as Plan
from onnxprune.results import Progress as Progress
from onnxprune.results import ProgressCallback as ProgressCallback
from onnxprune.results import ProofSummary as ProofSummary
from onnxprune.results import QuantizationPlan as QuantizationPlan
from onnxprune.results import QuantizationSummary as QuantizationSummary
from onnxprune.results import QuantizedLayer as QuantizedLayer
from onnxprune.results import QuantizeResult as QuantizeResult
from onnxprune.results import ReconstructionSummary as ReconstructionSummary
from onnxprune.results import RepairSummary as RepairSummary
from onnxprune.results import Sensitivities as Sensitivities
from onnxprune.results import ShrinkResult as ShrinkResult
from onnxprune.results import SkippedLayer as SkippedLayer
from onnxprune.results import SmallWeights as SmallWeights
from onnxprune.results import SparseLayer as SparseLayer
from onnxprune.results import SparsePlan as SparsePlan
from onnxprune.results import SparseWeight as SparseWeight
from onnxprune.results import SparseWeights as SparseWeights
from onnxprune.results import SparsifyResult as SparsifyResult
from onnxprune.results import SparsitySummary as SparsitySummary
from onnxprune.results import TargetSummary as TargetSummary
from onnxprune.results import TensorDifference as TensorDifference
from onnxprune.results import TimingSummary as TimingSummary
from onnxprune.results import ValueGrid as ValueGrid
from onnxprune.results import VerifyResult as VerifyResult
from onnxprune.results import WeightGrid as WeightGrid
from onnxprune.results.system import Environment as Environment
from onnxprune.sweeping.results import Failure as Failure
from onnxprune.sweeping.results import Latency as Latency
from onnxprune.sweeping.results import Outcome as Outcome
from onnxprune.sweeping.results import Point as Point
from onnxprune.sweeping.results import SweepResult as SweepResult
from onnxprune.sweeping.results import SweptPoint as SweptPoint
from onnxprune.sweeping.results import Timing as Timing

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

__version__: str

def bench(
    *models: str | Path | Model,
    threads: str | int | Sequence[int] | None = None,
    batch: str | int | Sequence[int] | None = None,
    provider: str | Sequence[str] = (),
    shape: Sequence[str] | Mapping[str, int | Sequence[int]] = (),
    seconds: float | None = None,
    runs: int | None = None,
    profile: bool = False,
    baseline: str | Path | Model | None = None,
    fail_above: str | float | None = None,
    data: Any = None,
    preprocess: str | None = None,
    report: str | Path | None = None,
    force: bool = False,
    seed: int = 0,
    progress: Callable[[Progress], None] | bool | None = None,
) -> BenchResult:
    """Latency of models in ONNX Runtime, run in turn; each compared with the first one, or with `baseline`.

    Every combination of `threads`, `batch` and `provider` is a setting, and measured in turn. `shape` maps inputs or
    symbolic sizes to sizes: `{"height": 224}`, or "height=224".

    Args:
        *models: Paths, or models in memory.
        threads: Threads of the runtime; several: 1,2. Default: all cores.
        batch: Samples per inference; several: 1,8,32. Default: 1.
        provider: Execution provider, as env lists them: cpu, cuda, ...; all for every one installed. One, or several.
            Default: cpu.
        shape: Shape of an input (x=1x3x224x224), or a symbolic size (sequence=64). One, or several.
        seconds: How long to time the models in every setting (combination of threads, batch, provider). Default: 5.
        runs: Time N rounds instead of `seconds`.
        profile: Also show where the time goes, and which layers got slower, and why.
        baseline: What to compare with: a model (measured in turn with the others), or the JSON of an earlier bench.
            Default: the first the model.
        fail_above: Exit code 1 if a model is slower than the reference by more than 5% with its whole interval.
        data: What to feed: a .npz, x=a.npy (one per input), a folder, file.py:function, or random. Default: seeded
            noise.
        preprocess: How images become inputs, as for shrink.
        report: Write a page with plots (HTML).
        force: Replace files that exist.
        seed: Of inputs and order.
        progress: Called with every step of a long run (a Progress); True draws a bar on stderr.

    Returns:
        Every measurement with its 95 % interval, every comparison with its verdict. `failure()` is the error of a
        rejected model, or of a ratio that is `fail_above`. A model that cannot be run is in `rejected`, if there is
        still something to compare.

    Raises:
        UsageError: An option is wrong, or a path does not exist.
        ModelError: No model can be run.
        DataError: `data` does not fit the models.
        OutputError: The report cannot be written.
    """

def check(
    *models: str | Path,
    max_size: str | int | None = None,
    max_params: str | int | None = None,
    max_macs: str | int | None = None,
    min_int8: str | float | None = None,
    max_latency_ratio: str | float | None = None,
    min_agreement: str | float | None = None,
    max_error: str | float | None = None,
    min_metric: float | None = None,
    max_drop: float | None = None,
    only: Sequence[Literal["size", "params", "macs", "latency", "agreement", "error", "metric", "drop"]] = (),
    strict: bool = False,
    threads: int | None = None,
    batch: int | None = None,
    seconds: float | None = None,
    runs: int | None = None,
    baseline: str | Path | None = None,
    data: Any = None,
    preprocess: str | None = None,
    metric: str | Callable[[str], float] | None = None,
    seed: int = 0,
    progress: Callable[[Progress], None] | bool | None = None,
) -> CheckResult:
    """Hold models against budgets: those of the configuration in force (`[[tool.onnxprune.check.models]]`), or `models`
    against their entries there and what is given here, which wins.

    `max_size`, `max_params`, `max_macs` are amounts ("10MB"), or shares of the `baseline` ("50%"). `max_latency_ratio`
    is missed if the whole 95 % interval of the time by that of the baseline is above it; with `strict`, if a part is.

    Args:
        *models: Paths. Default: those of the configuration.
        max_size: Largest file (10MB), or share of the baseline (50%).
        max_params: Most parameters (2M), or a share of the baseline's.
        max_macs: Most multiply-accumulates (300M), or a share of the baseline's.
        min_int8: Least share of the multiply-accumulates that compute with integers of 8 bits (90%).
        max_latency_ratio: Largest time by that of the baseline; judged by its 95 % interval.
        min_agreement: Least agreement with the baseline on `data` (0.98).
        max_error: Largest relative error of the outputs against the baseline on `data` (5%).
        min_metric: Least value of `metric`.
        max_drop: Most that `metric` may fall below the baseline's.
        only: Check only budgets of this kind: size, params, macs, latency, agreement, error, metric, drop. One, or
            several.
        strict: What cannot be decided fails, too (noise, unknown sizes).
        threads: Of the runtime. Default: all cores.
        batch: Samples per inference, for latency.
        seconds: How long to time a model and its baseline. Default: 5.
        runs: Time N rounds instead of `seconds`.
        baseline: The model to compare with: the original.
        data: What to feed: a .npz, x=a.npy (one per input), a folder, file.py:function, or random.
        preprocess: How images become inputs, as for shrink.
        metric: Your measure of a model's quality: gets its path, returns a number, higher is better.
        seed: Of inputs and order.
        progress: Called with every step of a long run (a Progress); True draws a bar on stderr.

    Returns:
        Every budget of every model with what was found and the verdict. `failure()` is the error of what was missed. A
        model that cannot be checked is in the result.

    Raises:
        UsageError: Budgets are wrong, contradict each other, or need a baseline or data that is not there.
    """

def compress(
    model: str | Path | Model,
    out: str | Path | Beside | None = BESIDE,
    *,
    target: str | None = None,
    sparse: bool = False,
    without: Sequence[Literal["channels", "blocks", "int8", "zeros"]] = (),
    exclude: Sequence[str] = (),
    device: Literal["vnni", "x86", "arm"] | None = None,
    data: Any = None,
    preprocess: str | None = None,
    samples: int | None = None,
    max_memory: str | int = "4GB",
    max_drop: float | None = None,
    min_agreement: float | None = None,
    max_error: float | None = None,
    effort: str | float = "normal",
    time: str | None = None,
    metric: str | Callable[[str], float] | None = None,
    dry_run: bool = False,
    report: str | Path | None = None,
    bench: bool = False,
    force: bool = False,
    external_data: Literal["auto", "always", "never"] = "auto",
    allow_unproven: bool = False,
    provider: str = "cpu",
    seed: int = 0,
    threads: int = 0,
    on_interrupt: Literal["write", "discard"] = "discard",
    fresh: bool = False,
    scheduler: str | None = None,
    progress: Callable[[Progress], None] | bool | None = None,
) -> CompressResult:
    """Make a model cost what `target` says, by the levers that lose least: integers, narrower layers, fewer blocks, and
    with `sparse` zeros (operators of onnxprune skip them; a runtime without them runs the dense functions in the file).

    Every lever is priced by the time that it saves here, or by bytes, and by the error that it leaves; what comes down
    to the target is built, repaired on `data` with everything in place, measured, and the best that was *measured*
    within the target is written; if every try misses a latency, the nearest, at most a tenth above it. Without `target`
    it goes as far as `min_agreement`, `max_error` or `max_drop` allow.

    Args:
        model: A path, or a Model of `load`, which may have been changed.
        out: The file to write; left out, NAME.compressed.onnx beside the model; None: nothing is written, and the
            result has it as `model`.
        target: What may be left: latency=33% or latency=4ms, measured here, with `threads`; or size=25% or size=2MB, of
            the file. Without it: as fast as the bounds allow.
        sparse: Zeros are a lever, too: weights leave in blocks that onnxprune's operators skip (any runtime runs the
            file; with the library, fast).
        without: A lever that is not to be used: narrower layers, whole residual blocks, integers, or the zeros of
            `sparse`. One, or several.
        exclude: Leave these layers as they are: a name, a glob, or type:Conv. One, or several.
        device: For which processors: x86 with VNNI (or AMX); x86 without, where sums of bytes saturate and weights get
            7 bits; ARM, which wants signed activations. Default: this one.
        data: Calibration samples: a .npz, x=a.npy (one per input), a folder, file.py:function, or random.
        preprocess: How images become inputs: imagenet, or "scale=1/255,mean=0.5,std=0.5,layout=nchw".
        samples: Use at most N samples, drawn by `seed`.
        max_memory: What the samples may take while they are run; fewer are used if they would take more.
        max_drop: How far the metric may fall, in its unit. Without `target`: as fast as that allows.
        min_agreement: The share of held-out samples that must keep their top class, 0.99 or 99%.
        max_error: How far outputs may be off on held-out samples, relative to their size.
        effort: How long weights are adjusted: quick (0.35), normal, thorough (8), or N times as many steps as normal.
            What held-out samples say is best is written.
        time: Instead of `effort`: how long the run may take, about (1h, 20m, 90s). How much effort that is follows from
            the speed of the first steps, and is said: with it the same file comes again.
        metric: Your own score: a function from the path of a model to a number, higher is better.
        dry_run: Choose and report; write no model.
        report: Write a page with plots (HTML).
        bench: At the end, time the result in turn with the model (about 2 s); where it is not faster, say why.
        force: Replace output files that exist.
        external_data: Weights in a file OUT.data of their own (auto: above 2 GB).
        allow_unproven: Write the result although no input tells whether it is right; otherwise VerificationError.
        provider: Execution provider that runs the samples for choice and repair, as env lists them: cpu, cuda, ...
            Proof, agreement and times stay those of the CPU.
        seed: Seed of everything random: inputs of the proof, draws of samples, criterion 'random'.
        threads: Of measured runs. What is not measured uses all cores. Default: all cores.
        on_interrupt: What the first Ctrl-C does during repair: the best so far is proven and written (write), or
            nothing is (discard). The second one always ends it.
        fresh: Begin anew, also where an earlier run of this output was killed and its folder OUT.onnxprune-run is
            there.
        scheduler: Let the workers of the Dask cluster whose scheduler is there (tcp://host:8786) capture shards of the
            samples and try groups and blocks, with the same result.
        progress: Called with every step of a long run (a Progress); True draws a bar on stderr.

    Returns:
        What was done, what each lever would have given, and what was shown. With `bench` its latency is compared with
        that of the original: about 2 s. If the page of `report` cannot be written, the result stays, and `problem` says
        what it was.

    Raises:
        UsageError: For options that are wrong, contradict each other, or a target that no lever comes down to.
        GateError: If nothing is within the bounds, or the result breaks them.
        VerificationError: If the result cannot be shown to be right; see `allow_unproven`.
        OnnxPruneError: For any other reason why there is no result. Then nothing was written.
    """

def inspect(
    model: str | Path | Model,
    *,
    units: Literal["channels", "heads", "blocks"] = "channels",
    quantization: bool = False,
    data: Any = None,
    preprocess: str | None = None,
    samples: int | None = None,
    report: str | Path | None = None,
    force: bool = False,
    seed: int = 0,
    threads: int = 0,
    progress: Callable[[Progress], None] | bool | None = None,
) -> Inspection:
    """What can be removed, what stays and why, and what each layer costs.

    Args:
        model: A path, or a model in memory.
        units: What is removed: channels (within attention, of every head alike); channels, but where an axis is split
            into heads, whole heads; or whole residual blocks.
        quantization: What 8-bit integers would cost each layer, or why it cannot have them; needs `data`.
        data: Samples, for `quantization`: a .npz, x=a.npy (one per input), a folder, file.py:function, or random.
        preprocess: How images become inputs: imagenet, or "scale=1/255,mean=0.5,std=0.5,layout=nchw".
        samples: Use at most N samples, drawn by `seed`.
        report: Write a page with all of it (HTML).
        force: Replace a report that exists.
        seed: Of draws of samples.
        threads: Threads that ONNX Runtime may use. Results do not depend on it, except where something is timed.
            Default: all cores.
        progress: Called with every step of a long run (a Progress); True draws a bar on stderr.

    Returns:
        All groups (or blocks) with the reasons of those that stay, and all layers with their cost.

    Raises:
        UsageError: There is no such file, or no such units; `data` is missing, or has no effect.
        ModelError: It is no valid model.
        DataError: `data` does not fit the model.
        OutputError: The report cannot be written.
    """

def pack(
    model: str | Path | Model,
    out: str | Path | None = None,
    *,
    weights: Literal["shared", "int8", "exact"] = "shared",
    bits: str | int | None = None,
    max_error: str | float | None = None,
    clusters: Literal["exact", "linear"] | None = None,
    exclude: Sequence[str] = (),
    data: Any = None,
    preprocess: str | None = None,
    samples: int | None = None,
    metric: str | Callable[[str], float] | None = None,
    max_drop: float | None = None,
    force: bool = False,
    seed: int = 0,
    threads: int = 0,
    progress: Callable[[Progress], None] | bool | None = None,
) -> PackResult:
    """Store a model in as few bytes as its weights allow. What is written has been decoded again. After Deep
    Compression (Han et al., ICLR 2016): shared weights, gaps between them, entropy coding.

    Args:
        model: A path, or a model in memory.
        out: The file to write. Default: NAME.onnxpack beside the model.
        weights: Each weight by its nearest shared value (k-means), as int8 with a scale per channel, or lossless.
        bits: Of a codebook, 1 to 8: for all weights, or for convolutions / all others. Default: 8/5.
        max_error: Instead of `bits`: the fewest with which no weight tensor is off by more than this (1%), relative to
            its norm; what cannot be that near is stored as it is.
        clusters: Codebooks of the least squared error, or Lloyd's from equal distances, as in Deep Compression.
            Default: exact.
        exclude: Layers that keep their weights: a name, a glob, or type:Conv. One, or several.
        data: Samples on which the unpacked model is compared with the model: as for shrink.
        preprocess: How images become inputs, as for shrink.
        samples: Use at most N samples, drawn by `seed`.
        metric: Your own score: a function from the path of a model to a number, higher is better.
        max_drop: How far the metric may fall, in its unit.
        force: Replace an output that exists.
        seed: Of the draw.
        threads: Threads that ONNX Runtime may use for the comparison. Default: all cores.
        progress: Called with every step of a long run (a Progress); True draws a bar on stderr.

    Returns:
        What was stored how, in how many bytes, and what that does to the outputs, if it was measured.

    Raises:
        GateError: The metric falls by more than `max_drop`. As with all errors, nothing was written.
        UsageError: An option is wrong, or a path does not exist.
        ModelError: It is no valid model.
        DataError: `data` does not fit the model.
        OutputError: The file cannot be written, or is there.
    """

def quantize(
    model: str | Path | Model,
    out: str | Path | Beside | None = BESIDE,
    *,
    device: Literal["vnni", "x86", "arm"] | None = None,
    scheme: Literal["auto", "static", "dynamic", "weights"] | None = None,
    weights: Literal["int8", "int4", "fp16"] | None = None,
    block: int = 32,
    ranges: Literal["least-error", "min-max", "percentile"] = "least-error",
    form: Literal["qdq", "qoperator"] = "qdq",
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    data: Any = None,
    preprocess: str | None = None,
    samples: int | None = None,
    max_memory: str | int = "4GB",
    effort: str | float = "normal",
    time: str | None = None,
    repair: Literal["auto", "none", "reconstruct"] = "auto",
    max_drop: float | None = None,
    min_agreement: float | None = None,
    max_error: float | None = None,
    metric: str | Callable[[str], float] | None = None,
    dry_run: bool = False,
    report: str | Path | None = None,
    bench: bool = False,
    force: bool = False,
    external_data: Literal["auto", "always", "never"] = "auto",
    allow_unproven: bool = False,
    provider: str = "cpu",
    seed: int = 0,
    threads: int = 0,
    on_interrupt: Literal["write", "discard"] = "discard",
    fresh: bool = False,
    progress: Callable[[Progress], None] | bool | None = None,
) -> QuantizeResult:
    """Let layers compute with 8-bit integers, or store weights in fewer bits; prove the result, and write it to `out`.

    With the scheme "static" (the default with `data`) convolutions, matrix products and what lies between them run on
    integers, whose ranges the samples show; weights are then adjusted on their grids until layers give what they gave.

    Args:
        model: A path, or a Model of `load`, which may have been changed.
        out: The file to write; left out, NAME.int8.onnx beside the model; None: nothing is written, and the result
            has it as `model`.
        device: For which processors: x86 with VNNI (or AMX); x86 without, where sums of bytes saturate and weights get
            7 bits; ARM, which wants signed activations. Default: this one.
        scheme: Layers compute with integers, on ranges that the samples show: all that can (static), or those for which
            it pays, measured here (auto); or matrix products and LSTMs do, on the ranges of every run (dynamic); or
            weights alone are stored in fewer bits (weights). Default: auto with `data`, otherwise weights.
        weights: What weights become; int4 and fp16 with `scheme` weights. Default: int8.
        block: Inputs of an output that share a scale, with int4: 16, 32, 64, 128 or 256.
        ranges: Ranges of activations: of the least squared error; all that was seen; or without the outermost 0.001 %.
        form: How the file says it, with fixed ranges: operators of floats between quantisers, which runtimes fuse as
            they load it (qdq); or operators on integers, for runtimes that do not (qoperator).
        include: Quantise only these layers: a name, a glob, or type:Conv. One, or several.
        exclude: Leave these layers as they are; wins over `include`. One, or several.
        data: Calibration samples: a .npz, x=a.npy (one per input), a folder, file.py:function, or random.
        preprocess: How images become inputs: imagenet, or "scale=1/255,mean=0.5,std=0.5,layout=nchw".
        samples: Use at most N samples, drawn by `seed`.
        max_memory: What the samples may take while they are run; fewer are used if they would take more.
        effort: How long weights are adjusted together (reconstruct): quick (0.35), normal, thorough (8), or N times as
            many steps as normal. What held-out samples say is best is written.
        time: Instead of `effort`: how long the run may take, about (1h, 20m, 90s). How much effort that is follows from
            the speed of the first steps, and is said: with it the same file comes again.
        repair: Adjust all weights on their grids, by gradients, until layers give what they gave (reconstruct): with
            `data`. Default: reconstruct with `data`, otherwise none.
        max_drop: How far the metric may fall, in its unit; the fastest such choice is taken.
        min_agreement: The share of held-out samples that must keep their top class, 0.99 or 99%; the fastest such
            choice is taken.
        max_error: How far outputs may be off on held-out samples, relative to their size; the fastest such choice is
            taken.
        metric: Your own score: a function from the path of a model to a number, higher is better.
        dry_run: Choose, refit and report; write no model.
        report: Write a page with plots (HTML).
        bench: At the end, time the result in turn with the model (about 2 s); where it is not faster, say why.
        force: Replace output files that exist.
        external_data: Weights in a file OUT.data of their own (auto: above 2 GB).
        allow_unproven: Write the result although no input tells whether it is right; otherwise VerificationError.
        provider: Execution provider that runs the samples for choice and repair, as env lists them: cpu, cuda, ...
            Proof, agreement and times stay those of the CPU.
        seed: Seed of everything random: inputs of the proof, draws of samples, criterion 'random'.
        threads: Threads that ONNX Runtime may use. Results do not depend on it, except where something is timed.
            Default: all cores.
        on_interrupt: What the first Ctrl-C does during repair: the best so far is proven and written (write), or
            nothing is (discard). The second one always ends it.
        fresh: Begin anew, also where an earlier run of this output was killed and its folder OUT.onnxprune-run is
            there.
        progress: Called with every step of a long run (a Progress); True draws a bar on stderr.

    Returns:
        What became integers, and what was shown of it. `model` is a Model if `out` is None (the original where nothing
        was quantised). With `bench` its latency is compared with that of the original: about 2 s. If the page of
        `report` cannot be written, the result stays, and `problem` says what it was.

    Raises:
        UsageError: For options that are wrong, contradict each other, or have no effect.
        GateError: If the result breaks `max_drop`, `min_agreement` or `max_error`.
        VerificationError: If the file does not compute what the original does on the same grids.
        OnnxPruneError: For any other reason why there is no result. Then nothing was written.
    """

def shrink(
    model: str | Path | Model,
    out: str | Path | Beside | None = BESIDE,
    *,
    ratio: float | None = None,
    target: str | None = None,
    criterion: str | None = None,
    scope: Literal["local", "global"] | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    units: Literal["channels", "heads", "blocks"] = "channels",
    sparsity: float | None = None,
    pattern: str | None = None,
    method: str | None = None,
    emit: Literal["operators", "dense-zeros", "sparse-initializers"] = "operators",
    lock: bool = False,
    data: Any = None,
    preprocess: str | None = None,
    samples: int | None = None,
    max_memory: str | int = "4GB",
    max_error: float | None = None,
    effort: str | float = "normal",
    time: str | None = None,
    repair: Literal["auto", "none", "bias", "merge", "scale-shift", "least-squares", "reconstruct"] = "auto",
    metric: str | Callable[[str], float] | None = None,
    max_drop: float | None = None,
    min_agreement: float | None = None,
    dry_run: bool = False,
    report: str | Path | None = None,
    bench: bool = False,
    force: bool = False,
    external_data: Literal["auto", "always", "never"] = "auto",
    allow_unproven: bool = False,
    plan: Plan | None = None,
    normalise: Literal["mean", "max", "sum", "none", "lamp"] = "mean",
    aggregate: Literal["mean", "sum", "max"] = "mean",
    multiple_of: int | Literal["auto"] | None = None,
    device: Literal["auto", "avx512", "avx2", "neon", "any"] = "auto",
    min_keep: str | int | float = 1,
    provider: str = "cpu",
    seed: int = 0,
    threads: int = 0,
    schedule: Literal["one-shot", "linear", "exp", "cos", "cube"] | None = None,
    steps: int | None = None,
    on_interrupt: Literal["write", "discard"] = "discard",
    fresh: bool = False,
    scheduler: str | None = None,
    progress: Callable[[Progress], None] | bool | None = None,
    verify: bool = True,
) -> ShrinkResult:
    """Remove channels, attention heads or residual blocks; prove the result, and write it to `out`.

    With `data` (calibration samples: a path, a mapping of arrays or of their names to .npy files, a function, a
    Calibration of `onnxprune.data.open_data`) the criterion is obs and repair is reconstruction by default; without, l1
    and merging. What stays are multiples of what the kernels of `device` work on at once (avx512: 16 channels, avx2: 8,
    neon: 16), and narrower layers stay; or of `multiple_of`. Without `ratio`, `target` and `plan`, the largest ratio
    that `metric` and `max_drop`, `min_agreement` or `max_error` allow is searched for. With `plan`, exactly that is
    removed. With a `schedule` it leaves in `steps`, each followed by repair. With `sparsity` or `pattern`, the weights
    of what stays become sparse after that, as `sparsify` does it; repair still aims at the original.

    Args:
        model: A path, or a Model of `load`, which may have been changed.
        out: The file to write; left out, NAME.pruned.onnx beside the model; None: nothing is written, and the result
            has it as `model`.
        ratio: Share of the removable channels that leaves, 0.5 or 50%. Default: 0.5, without `target`.
        target: What may be left instead: macs=50%, macs=1.2G, params=2M, size=10MB (of the file that is written), or
            latency=50% or latency=4ms: measured here, with `threads`. It holds for this machine only.
        criterion: How channels are ranked. Default: obs with `data`, otherwise l1.
        scope: The same share from every group, or the lowest scores (with `data`: errors) of the model. Default: local;
            global with `target` and `data`.
        include: Shrink only these layers: a name, a glob, or type:Conv. One, or several.
        exclude: Leave these layers whole; wins over `include`. One, or several.
        units: What is removed: channels (within attention, of every head alike); channels, but where an axis is split
            into heads, whole heads; or whole residual blocks.
        sparsity: Share of the weights of a layer that becomes zero, 0.8 or 80%. N:M patterns say it themselves.
        pattern: What leaves together: unstructured (single weights), 4x1, 2x1, 8x1 (so many output channels of one
            input), RxC, 2:4 or N:M (N of M inputs stay), or auto: for each layer what is fastest here, measured.
            Default: 4x1.
        method: How the weights that leave are chosen. Default: obs with `data`, otherwise magnitude.
        emit: How the zeros are in the file: skipped by onnxprune's operators (any runtime runs it; with the library,
            fast); as zeros for other runtimes; or as sparse initializers, which only save space.
        lock: Weights that are zero already stay zero, and count.
        data: Calibration samples: a .npz, x=a.npy (one per input), a folder, file.py:function, or random.
        preprocess: How images become inputs: imagenet, or "scale=1/255,mean=0.5,std=0.5,layout=nchw".
        samples: Use at most N samples, drawn by `seed`.
        max_memory: What the samples may take while they are run; fewer are used if they would take more.
        max_error: How far outputs may be off on held-out samples, relative to their size. Without `ratio`, `target`,
            `plan`: all that allows goes. With `sparsity` or `pattern` instead: layers whose output would be further off
            stay dense (mean squared error, as a share of its variance).
        effort: How long weights are adjusted together (reconstruct): quick (0.35), normal, thorough (8), or N times as
            many steps as normal. What held-out samples say is best is written.
        time: Instead of `effort`: how long the run may take, about (1h, 20m, 90s). How much effort that is follows from
            the speed of the first steps, and is said: with it the same file comes again.
        repair: Make up for what left: its mean goes into biases (bias), after similar filters took its place (merge).
            With `data`: every channel is scaled and shifted (scale-shift); each layer that read what left is refitted
            (least-squares); and then all weights together, by gradients (reconstruct). Default: reconstruct with
            `data`, otherwise merge.
        metric: Your own score: a function from the path of a model to a number, higher is better.
        max_drop: How far the metric may fall, in its unit. Without `ratio`, `target`, `plan`: all that allows goes.
        min_agreement: The share of held-out samples that must keep their top class, 0.99 or 99%: needs no labels.
            Without `ratio`, `target`, `plan`: all that allows goes.
        dry_run: Plan and report, write no model.
        report: Write a page with plots (HTML).
        bench: At the end, time the result in turn with the model (about 2 s); where it is not faster, say why.
        force: Replace output files that exist.
        external_data: Weights in a file OUT.data of their own (auto: above 2 GB).
        allow_unproven: Write the result although no input tells whether it is right; otherwise VerificationError.
        plan: Remove what this plan says.
        normalise: How scores become comparable between groups (with `scope` global).
        aggregate: How the scores of the layers of one group become one.
        multiple_of: Keep a multiple of N channels; groups that cannot stay whole. 1 leaves the choice free: best for
            accuracy at equal MACs, often slow. auto: what this machine's kernels do best, measured. Default: the step
            of `device`, 8 or 16; narrower layers stay.
        device: The processor whose kernels the widths are for: a step of 16 channels, of 8 for avx2. Default: this
            machine.
        min_keep: The least to keep of every group: a number (8), or a share (0.25 or 25%).
        provider: Execution provider that runs the samples for choice and repair, as env lists them: cpu, cuda, ...
            Proof, agreement and times stay those of the CPU.
        seed: Seed of everything random: inputs of the proof, draws of samples, criterion 'random'.
        threads: Threads that ONNX Runtime may use. Results do not depend on it, except where something is timed.
            Default: all cores.
        schedule: Let channels leave in steps, each followed by repair: equal ones (linear), equal shares of what is
            left (exp), small ones first and last (cos), or large ones first (cube). Takes as many times as long.
            Default: one-shot; linear with `steps`.
        steps: The number of steps. Default: 3 with `schedule`.
        on_interrupt: What the first Ctrl-C does during repair: the best so far is proven and written (write), or
            nothing is (discard). The second one always ends it.
        fresh: Begin anew, also where an earlier run of this output was killed and its folder OUT.onnxprune-run is
            there.
        scheduler: Let the workers of the Dask cluster whose scheduler is there (tcp://host:8786) capture shards of the
            samples and try groups and blocks, with the same result.
        progress: Called with every step of a long run (a Progress); True draws a bar on stderr.
        verify: False skips the proof: for experiments. The commands never do.

    Returns:
        What was removed and shown. `model` is a Model if `out` is None (the original where nothing left); its weights
        are read from the files of the original when they are needed. With `bench` its latency is compared with that of
        the original: about 2 s, on one sample. If the page of `report` cannot be written, the result stays, and
        `problem` says what it was.

    Raises:
        UsageError: For options that are wrong, contradict each other, or have no effect.
        GateError: If nothing may leave within `max_drop`, `min_agreement` or `max_error`, or the result breaks them.
        VerificationError: If the result cannot be shown to be right; see `allow_unproven`.
        OnnxPruneError: For any other reason why there is no result. Then nothing was written.
    """

def sparsify(
    model: str | Path | Model,
    out: str | Path | Beside | None = BESIDE,
    *,
    sparsity: float | None = None,
    pattern: str | None = None,
    method: str | None = None,
    scope: Literal["local", "global"] | None = None,
    emit: Literal["operators", "dense-zeros", "sparse-initializers"] = "operators",
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    lock: bool = False,
    max_error: float | None = None,
    data: Any = None,
    preprocess: str | None = None,
    samples: int | None = None,
    max_memory: str | int = "4GB",
    effort: str | float = "normal",
    time: str | None = None,
    repair: Literal["auto", "none", "least-squares", "reconstruct"] = "auto",
    dry_run: bool = False,
    report: str | Path | None = None,
    bench: bool = False,
    force: bool = False,
    external_data: Literal["auto", "always", "never"] = "auto",
    allow_unproven: bool = False,
    provider: str = "cpu",
    seed: int = 0,
    threads: int = 0,
    schedule: Literal["one-shot", "linear", "exp", "cos", "cube"] | None = None,
    steps: int | None = None,
    on_interrupt: Literal["write", "discard"] = "discard",
    fresh: bool = False,
    progress: Callable[[Progress], None] | bool | None = None,
) -> SparsifyResult:
    """Set weights to zero, in blocks that operators skip, refit what stays, prove the result, and write it to `out`.

    In the pattern "4x1" four output channels share their zeros. With operators of onnxprune the zeros are skipped (a
    runtime without them runs the dense functions in the file). With `data` (as for `shrink`) the method is obs and
    repair is reconstruction by default, without magnitude and none.

    Args:
        model: A path, or a Model of `load`, which may have been changed.
        out: The file to write; left out, NAME.sparse.onnx beside the model; None: nothing is written, and the result
            has it as `model`.
        sparsity: Share of the weights of a layer that becomes zero, 0.8 or 80%. N:M patterns say it themselves.
        pattern: What leaves together: unstructured (single weights), 4x1, 2x1, 8x1 (so many output channels of one
            input), RxC, 2:4 or N:M (N of M inputs stay), or auto: for each layer what is fastest here, measured.
            Default: 4x1.
        method: How the weights that leave are chosen. Default: obs with `data`, otherwise magnitude.
        scope: The same share of every layer, or more where it costs less. Default: local.
        emit: How the zeros are in the file: skipped by onnxprune's operators (any runtime runs it; with the library,
            fast); as zeros for other runtimes; or as sparse initializers, which only save space.
        include: Only these layers: a name, a glob, or type:Conv. One, or several.
        exclude: Leave these layers dense; wins over `include`. One, or several.
        lock: Weights that are zero already stay zero, and count.
        max_error: Layers whose output would be further off stay dense: mean squared error on held-out samples, as a
            share of its variance. Needs `data`.
        data: Calibration samples: a .npz, x=a.npy (one per input), a folder, file.py:function, or random.
        preprocess: How images become inputs: imagenet, or "scale=1/255,mean=0.5,std=0.5,layout=nchw".
        samples: Use at most N samples, drawn by `seed`.
        max_memory: What the samples may take while they are run; fewer are used if they would take more.
        effort: How long weights are adjusted together (reconstruct): quick (0.35), normal, thorough (8), or N times as
            many steps as normal. What held-out samples say is best is written.
        time: Instead of `effort`: how long the run may take, about (1h, 20m, 90s). How much effort that is follows from
            the speed of the first steps, and is said: with it the same file comes again.
        repair: Make up for what left, with `data`: each layer's other weights are refitted (least-squares), and then
            all weights of the network together, by gradients (reconstruct). Default: reconstruct with `data`, otherwise
            none.
        dry_run: Choose, refit and report; write no model.
        report: Write a page with plots (HTML).
        bench: At the end, time the result in turn with the model (about 2 s); where it is not faster, say why.
        force: Replace output files that exist.
        external_data: Weights in a file OUT.data of their own (auto: above 2 GB).
        allow_unproven: Write the result although no input tells whether it is right; otherwise VerificationError.
        provider: Execution provider that runs the samples for choice and repair, as env lists them: cpu, cuda, ...
            Proof, agreement and times stay those of the CPU.
        seed: Seed of everything random: inputs of the proof, draws of samples, criterion 'random'.
        threads: Threads that ONNX Runtime may use. Results do not depend on it, except where something is timed.
            Default: all cores.
        schedule: Let weights leave in steps, each followed by repair: equal ones (linear), equal shares of what is left
            (exp), small ones first and last (cos), or large ones first (cube). Takes as many times as long. Default:
            one-shot; linear with `steps`.
        steps: The number of steps. Default: 3 with `schedule`.
        on_interrupt: What the first Ctrl-C does during repair: the best so far is proven and written (write), or
            nothing is (discard). The second one always ends it.
        fresh: Begin anew, also where an earlier run of this output was killed and its folder OUT.onnxprune-run is
            there.
        progress: Called with every step of a long run (a Progress); True draws a bar on stderr.

    Returns:
        What became zero, and what was shown of it. `model` is a Model if `out` is None (the original where no weight
        became zero); its weights are read from the files of the original when they are needed. With `bench` its latency
        is compared with that of the original: about 2 s. If the page of `report` cannot be written, the result stays,
        and `problem` says what it was.

    Raises:
        UsageError: For options that are wrong, contradict each other, or have no effect.
        VerificationError: If the result cannot be shown to be right; see `allow_unproven`.
        OnnxPruneError: For any other reason why there is no result. Then nothing was written.
    """

def sweep(
    model: str | Path | Model,
    out: str | Path | None = None,
    *,
    ratios: str | Sequence[str | float] = (),
    targets: str | Sequence[str] = (),
    criteria: str | Sequence[str] = (),
    scope: Literal["local", "global"] | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    units: Literal["channels", "heads", "blocks"] = "channels",
    sparsity: float | None = None,
    pattern: str | None = None,
    method: str | None = None,
    emit: Literal["operators", "dense-zeros", "sparse-initializers"] = "operators",
    lock: bool = False,
    max_error: float | None = None,
    quantize: bool = False,
    threads: int | None = None,
    batch: int | None = None,
    seconds: float | None = None,
    runs: int | None = None,
    bench: bool = True,
    data: Any = None,
    preprocess: str | None = None,
    samples: int | None = None,
    max_memory: str | int = "4GB",
    effort: str | float = "normal",
    time: str | None = None,
    repair: Literal["auto", "none", "bias", "merge", "scale-shift", "least-squares", "reconstruct"] = "auto",
    metric: str | Callable[[str], float] | None = None,
    external_data: Literal["auto", "always", "never"] = "auto",
    allow_unproven: bool = False,
    report: str | Path | None = None,
    force: bool = False,
    normalise: Literal["mean", "max", "sum", "none", "lamp"] = "mean",
    aggregate: Literal["mean", "sum", "max"] = "mean",
    multiple_of: int | Literal["auto"] | None = None,
    device: Literal["auto", "avx512", "avx2", "neon", "any"] = "auto",
    min_keep: str | int | float = 1,
    provider: str = "cpu",
    schedule: Literal["one-shot", "linear", "exp", "cos", "cube"] | None = None,
    steps: int | None = None,
    seed: int = 0,
    progress: Callable[[Progress], None] | bool | None = None,
    jobs: int = 0,
    scheduler: str | None = None,
) -> SweepResult:
    """Shrink a model by every one of `ratios` and `targets` (default: 75, 50, 25 % of MACs) with every one of
    `criteria`, and say which results are worth having: the Pareto frontier of quality against latency, size and MACs.

    With `quantize` every result, and the original, is there in int8 as well (static, on `data`).

    Quality is `metric`, else agreement, else output error on held-out `data`. What is finished is not computed again.
    Latency is measured here in any case, if `bench`, as the function `bench` does it.

    Args:
        model: A path, or a Model of `load`.
        out: The folder where points are kept, NAME.sweep beside the model if it is not given.
        ratios: Shares of the channels that leave: 0.2,0.4,0.6.
        targets: What may be left: macs=75%,params=1M,size=2MB,latency=50%. Default: macs=75%,macs=50%,macs=25%, without
            `ratios`.
        criteria: How channels are ranked: obs,l1. onnxprune shrink `help` lists them. Default: obs with `data`,
            otherwise l1.
        scope: The same share from every group, or the lowest scores (with `data`: errors) of the model. Default: local;
            global with `target` and `data`.
        include: Shrink only these layers: a name, a glob, or type:Conv. One, or several.
        exclude: Leave these layers whole; wins over `include`. One, or several.
        units: What is removed: channels (within attention, of every head alike); channels, but where an axis is split
            into heads, whole heads; or whole residual blocks.
        sparsity: Share of the weights of a layer that becomes zero, 0.8 or 80%. N:M patterns say it themselves.
        pattern: What leaves together: unstructured (single weights), 4x1, 2x1, 8x1 (so many output channels of one
            input), RxC, 2:4 or N:M (N of M inputs stay), or auto: for each layer what is fastest here, measured.
            Default: 4x1.
        method: How the weights that leave are chosen: magnitude, net-trim, obs, wanda. Default: obs with `data`,
            otherwise magnitude.
        emit: How the zeros are in the file: skipped by onnxprune's operators (any runtime runs it; with the library,
            fast); as zeros for other runtimes; or as sparse initializers, which only save space.
        lock: Weights that are zero already stay zero, and count.
        max_error: Layers whose output would be further off stay dense: mean squared error on held-out samples, as a
            share of its variance. Needs `data`.
        quantize: Every point in int8 as well, and the original: quantised on `data`, all layers that can be.
        threads: Of measured runs. Default: all cores.
        batch: Samples per inference, for latency.
        seconds: How long to time all models, a dozen together. Default: 2 for each model, 5 at least.
        runs: Time N rounds instead of `seconds`.
        bench: Measure latency, here, at the end.
        data: Calibration samples: a .npz, x=a.npy (one per input), a folder, file.py:function, or random.
        preprocess: How images become inputs: imagenet, or "scale=1/255,mean=0.5,std=0.5,layout=nchw".
        samples: Use at most N samples, drawn by `seed`.
        max_memory: What the samples may take while they are run; fewer are used if they would take more.
        effort: How long weights are adjusted together (reconstruct): quick (0.35), normal, thorough (8), or N times as
            many steps as normal. What held-out samples say is best is written.
        time: Instead of `effort`: how long each point may take, about (1h, 20m, 90s). How much effort that is follows
            from the speed of its first steps.
        repair: Make up for what left: its mean goes into biases (bias), after similar filters took its place (merge).
            With `data`: every channel is scaled and shifted (scale-shift); each layer that read what left is refitted
            (least-squares); and then all weights together, by gradients (reconstruct). Default: reconstruct with
            `data`, otherwise merge.
        metric: Your own score: a function from the path of a model to a number, higher is better. It runs here.
        external_data: Weights in a file of their own (auto: above 2 GB).
        allow_unproven: Write the result although no input tells whether it is right; otherwise VerificationError.
        report: Write a page with plots (HTML).
        force: Replace the page if it exists.
        normalise: How scores become comparable between groups (with `scope` global).
        aggregate: How the scores of the layers of one group become one.
        multiple_of: Keep a multiple of N channels; groups that cannot stay whole. 1 leaves the choice free: best for
            accuracy at equal MACs, often slow. auto: what this machine's kernels do best, measured. Default: the step
            of `device`, 8 or 16; narrower layers stay.
        device: The processor whose kernels the widths are for: a step of 16 channels, of 8 for avx2. Default: this
            machine.
        min_keep: The least to keep of every group: a number (8), or a share (0.25 or 25%).
        provider: Execution provider that runs the samples for choice and repair, as env lists them: cpu, cuda, ...
            Proof, agreement and times stay those of the CPU.
        schedule: Let channels leave in steps, each followed by repair: equal ones (linear), equal shares of what is
            left (exp), small ones first and last (cos), or large ones first (cube). Takes as many times as long.
            Default: one-shot; linear with `steps`.
        steps: The number of steps. Default: 3 with `schedule`.
        seed: Of everything random.
        progress: Called with every step of a long run (a Progress); True draws a bar on stderr.
        jobs: Points at a time, each in a process of its own; the cores are shared out among them. Default: as cores and
            memory allow.
        scheduler: Compute on the Dask cluster whose scheduler is there (tcp://host:8786), with the same results.

    Returns:
        Every point with its model, quality and latency. A point that fails is in it; `failure()` is an error if all do.

    Raises:
        UsageError: For options that are wrong, contradict each other, or have no effect.
        OnnxPruneError: For what concerns all points.
    """

def unpack(
    file: str | Path,
    out: str | Path | None = None,
    *,
    force: bool = False,
    max_size: str | int | None = None,
    progress: Callable[[Progress], None] | bool | None = None,
) -> UnpackResult:
    """Write the model that a packed file holds, and its data files under their own names into the same folder.

    Args:
        file: That `pack` wrote.
        out: The model to write. Default: NAME.unpacked.onnx beside the file.
        force: Replace outputs that exist.
        max_size: Refuse a file that unpacks to more than this. Default: 1000 times FILE, at least 67 MB.
        progress: Called with every step of a long run (a Progress); True draws a bar on stderr.

    Returns:
        What was written, and whether it is the very model that was packed.

    Raises:
        ModelError: The file is damaged or hostile. As with all errors, nothing was written.
        UsageError: There is no such file, or `max_size` is no size.
        OutputError: A file cannot be written, or is there.
    """

def verify(
    original: str | Path | Model,
    pruned: str | Path | Model,
    *,
    data: Any = None,
    preprocess: str | None = None,
    seed: int = 0,
    threads: int = 0,
    progress: Callable[[Progress], None] | bool | None = None,
) -> VerifyResult:
    """Repeat the proof for a file that `compress`, `shrink`, `sparsify` or `quantize` wrote, from the plan in it: on
    random inputs, and on the first samples of `data`.

    Args:
        original: The model before: a path, or a model in memory.
        pruned: The file that was written.
        data: Samples to compare on, besides random inputs: a .npz, x=a.npy (one per input), a folder, file.py:function,
            or random.
        preprocess: How images become inputs: imagenet, or "scale=1/255,mean=0.5,std=0.5,layout=nchw".
        seed: Seed of everything random: inputs of the proof, draws of samples, criterion 'random'.
        threads: Threads that ONNX Runtime may use. Results do not depend on it, except where something is timed.
            Default: all cores.
        progress: Called with every step of a long run (a Progress); True draws a bar on stderr.

    Returns:
        What was shown. Where nothing contradicts the result, but nothing would contradict a wrong one either,
        `failure()` is the error that says so.

    Raises:
        VerificationError: The file is not the original minus what its plan removes.
        PlanError: The file has no plan, or that of another model.
        UsageError: There is no such file.
        ModelError: One of them is no valid model.
        DataError: `data` does not fit the model.
    """

def why(
    model: str | Path | Model,
    node: str,
    *,
    units: Literal["channels", "heads", "blocks"] = "channels",
) -> tuple[GroupSummary, ...]:
    """Why the channels at a node stay, or that they can leave.

    Args:
        model: A path, or a model in memory.
        node: Its name, or that of one of its outputs.
        units: What is removed: channels (within attention, of every head alike); channels, but where an axis is split
            into heads, whole heads; or whole residual blocks.

    Returns:
        The groups that the inputs and outputs of the node carry, with the reasons of those that stay.

    Raises:
        UsageError: There is no such file or node; or `units` is "blocks".
        ModelError: It is no valid model.
    """
