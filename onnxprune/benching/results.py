"""What `bench` gives back. Times are in seconds; every measured figure has an interval or a range."""

from __future__ import annotations

from dataclasses import dataclass

from onnxprune.errors import GateError, ModelError, OnnxPruneError
from onnxprune.results.timing import FASTER as FASTER
from onnxprune.results.timing import SAME as SAME
from onnxprune.results.timing import SLOWER as SLOWER
from onnxprune.results.timing import UNDECIDED as UNDECIDED
from onnxprune.results.timing import Cause as Cause


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Spread:
    """The median of a few repetitions with the least and the largest of them."""

    value: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Setting:
    """What a comparison holds fixed. `batch` None: what the models fix, the data gives, or 1."""

    threads: int
    batch: int | None
    provider: str


@dataclass(frozen=True)
class Outliers:
    """Samples above Tukey's fences (1.5 and 3 interquartile ranges of the log times); none is left out.

    `slowest_round` counts from 1. `slowest_s` is the time of one inference in that sample.
    """

    mild: int
    severe: int
    slowest_s: float
    slowest_round: int


@dataclass(frozen=True)
class Measurement:
    """One model in one setting: `timed` samples of `inferences` each; one inference takes `samples` samples of data.

    `peak_memory` and `runtime_memory` (before the model) are resident bytes of a process of its own, None where the
    system does not tell. `tail`: the 95th percentile, None of too few times. `stable`: the warm-up ended because the
    times no longer fell. `quantiles`: all times at 0, 1, ... 100 %.
    """

    model: str
    latency: Estimate
    tail: Estimate | None
    throughput: Estimate
    samples: int
    load: Spread
    first_run: Spread
    peak_memory: Spread | None
    runtime_memory: Spread | None
    timed: int
    outliers: Outliers
    inferences: int
    warmup: int
    stable: bool
    quantiles: tuple[float, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """`ratio`: time of `model` over time of `reference`, paired round by round, or (`paired` false) from another day.

    `resolution`: the smallest change that this interval would have shown, as a share: half its width, at least the
    margin within which models count as the same.
    """

    model: str
    reference: str
    ratio: Estimate
    verdict: str
    paired: bool
    pairs: int
    resolution: float
    reason: str | None = None


@dataclass(frozen=True)
class SettingResult:
    """All models in one setting. `rounds`: how often each ran, in `blocks` stretches, with `sessions` sessions each."""

    setting: Setting
    rounds: int
    blocks: int
    sessions: int
    measurements: tuple[Measurement, ...]
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True)
class Rejected:
    """A model that could not be measured, and the words of whoever refused it."""

    model: str
    reason: str


@dataclass(frozen=True)
class LayerTime:
    """What one layer (or kernel of the runtime's own) takes per inference in one model; None if it is not there."""

    layer: str
    operator: str
    kernel: str
    time: Estimate
    shape: str


@dataclass(frozen=True)
class LayerChange:
    """One layer before and after. `ratio` is paired run by run; `reason` says why it did not get faster, if known."""

    layer: str
    before: LayerTime | None
    after: LayerTime | None
    ratio: Estimate | None
    verdict: str
    reason: str | None


@dataclass(frozen=True)
class OperatorTime:
    """All kernels of one type: their time per inference, and its share of the time in kernels (0 to 1)."""

    operator: str
    kernels: int
    time: Estimate
    share: Estimate


@dataclass(frozen=True)
class Profile:
    """Where the time of one model goes. `layout` is the time in layout conversions (`layout_count` kernels)."""

    model: str
    runs: int
    total: Estimate
    operators: tuple[OperatorTime, ...]
    layers: tuple[LayerTime, ...]
    layout: Estimate
    layout_count: int


@dataclass(frozen=True)
class ProfileComparison:
    """Layers of two models side by side, the largest times first. `causes`: where the time of `model` is, if it is not
    where it got faster.
    """

    model: str
    reference: str
    changes: tuple[LayerChange, ...]
    causes: tuple[Cause, ...] = ()


@dataclass(frozen=True)
class Gate:
    """`--fail-above`: a model fails if the lower end of its interval is above 1 + `limit`; it is undecided if only the
    upper end is.
    """

    limit: float
    failed: tuple[Comparison, ...]
    undecided: tuple[Comparison, ...]


@dataclass(frozen=True)
class InputUsed:
    """What was fed to an input. `chosen`: sizes that neither the model nor the user gave, in words."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    chosen: tuple[str, ...] = ()


@dataclass(frozen=True)
class BenchedModel:
    """A file that was measured. `name` is its file name, with the folder if two have the same."""

    name: str
    size_bytes: int


@dataclass(frozen=True)
class BenchResult:
    """Outcome of `bench`. `reference` is None for a single model, or if the reference is an earlier result."""

    models: tuple[BenchedModel, ...]
    reference: str | None
    inputs: tuple[InputUsed, ...]
    source: str
    settings: tuple[SettingResult, ...]
    rejected: tuple[Rejected, ...]
    profiles: tuple[Profile, ...]
    profile_comparisons: tuple[ProfileComparison, ...]
    gate: Gate | None
    margin: float
    seed: int
    runtime: str
    cpu: str
    cores: int
    notes: tuple[str, ...]
    seconds: float

    def failure(self) -> OnnxPruneError | None:
        """What makes the command fail although there is a result: a rejected model, or the gate."""
        if self.rejected:
            first = self.rejected[0]
            return ModelError(f"{first.model} could not be measured: {first.reason}")
        if self.gate is not None and self.gate.failed:
            worst = max(self.gate.failed, key=lambda one: one.ratio.low)
            return GateError(
                f"{worst.model} is slower than {worst.reference} by at least {(worst.ratio.low - 1) * 100:.1f} % "
                f"(95 % interval of the time ratio {worst.ratio.low:.3f} to {worst.ratio.high:.3f}); "
                f"--fail-above allows {self.gate.limit * 100:g} %"
            )
        return None
