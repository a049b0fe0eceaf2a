"""What `bench` gives back. Times are in seconds; every measured figure has an interval or a range."""

from __future__ import annotations

from dataclasses import dataclass

from onnxprune.errors import GateError, ModelError, OnnxPruneError
from onnxprune.results.shown import LONGEST, OneLine, Shown
from onnxprune.results.timing import FASTER as FASTER
from onnxprune.results.timing import SAME as SAME
from onnxprune.results.timing import SLOWER as SLOWER
from onnxprune.results.timing import UNDECIDED as UNDECIDED
from onnxprune.results.timing import Cause as Cause
from onnxprune.results.units import format_latency, plural


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval.

    Attributes:
        value: The median.
        low: Lower end.
        high: Upper end; infinite where it is unknown.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Spread:
    """The median of a few repetitions with the least and the largest of them.

    Attributes:
        value: The median.
        low: The least.
        high: The largest.
        count: How many repetitions.
    """

    value: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Setting:
    """What a comparison holds fixed.

    Attributes:
        threads: Of the runtime.
        batch: Samples in one inference; None if it was not asked for: what the models fix, the data gives, or 1.
        provider: The execution provider.
    """

    threads: int
    batch: int | None
    provider: str


@dataclass(frozen=True)
class Outliers:
    """Times above Tukey's fences (1.5 and 3 interquartile ranges of the log times); none is left out.

    Attributes:
        mild: How many are above the inner fence alone.
        severe: How many are above the outer.
        slowest_s: One inference in the slowest of all, in seconds.
        slowest_round: The round it was in, from 1.
    """

    mild: int
    severe: int
    slowest_s: float
    slowest_round: int


@dataclass(frozen=True, repr=False)
class Measurement(OneLine):
    """One model in one setting.

    Attributes:
        model: Its name.
        latency: Seconds of one inference.
        tail: The 95th percentile, in seconds; None of too few times.
        throughput: Samples a second.
        samples: Of data in one inference.
        load: Seconds until a session is there.
        first_run: Seconds of the first inference.
        peak_memory: Resident bytes of a process of its own; None where the system does not tell.
        runtime_memory: The same before the model was loaded; None where the system does not tell.
        timed: How many times were taken.
        outliers: Of them.
        inferences: In each of them.
        warmup: How many inferences came before.
        stable: Whether the warm-up ended because the times no longer fell.
        quantiles: All times at 0, 1, ... 100 %, in seconds, (101,).
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

    def _words(self) -> str:
        one = self.latency
        return f"{self.model}: {format_latency(one.value)} ({format_latency(one.low)} to {format_latency(one.high)})"


@dataclass(frozen=True, repr=False)
class Comparison(OneLine):
    """One model against another.

    Attributes:
        model: Its name.
        reference: That of the other.
        ratio: Time of `model` over time of `reference`.
        verdict: "faster", "same", "slower" or "undecided".
        paired: Whether both ran in turn, round by round; else the reference is from another day.
        pairs: How many rounds.
        resolution: The smallest change that this interval would have shown, as a share: half its width, at least the
            margin within which models count as the same.
        reason: What weakens the comparison; None if nothing does.
    """

    model: str
    reference: str
    ratio: Estimate
    verdict: str
    paired: bool
    pairs: int
    resolution: float
    reason: str | None = None

    @property
    def short(self) -> str:
        """In a few words, without the interval: "b.onnx 1.51x faster than a.onnx"."""
        if self.verdict == FASTER:
            return f"{self.model} {1 / self.ratio.value:.3g}x faster than {self.reference}"
        return f"{self.model} {self.ratio.value:.3g}x the time of {self.reference} ({self.verdict})"

    def _words(self) -> str:
        return f"{self.short}, 95 % CI of the time {self.ratio.low:.3g}-{self.ratio.high:.3g}"


@dataclass(frozen=True, repr=False)
class SettingResult(OneLine):
    """All models in one setting.

    Attributes:
        setting: It.
        rounds: How often each model ran.
        blocks: In how many stretches.
        sessions: How many sessions each stretch had.
        measurements: One a model.
        comparisons: One a model besides the reference.
    """

    setting: Setting
    rounds: int
    blocks: int
    sessions: int
    measurements: tuple[Measurement, ...]
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True)
class Rejected:
    """A model that could not be measured.

    Attributes:
        model: Its name.
        reason: The words of whoever refused it.
    """

    model: str
    reason: str


@dataclass(frozen=True, repr=False)
class LayerTime(OneLine):
    """What one layer, or one kernel of the runtime's own, takes in one model.

    Attributes:
        layer: Its name.
        operator: What it computes.
        kernel: What the runtime runs for it.
        time: Seconds per inference.
        shape: Of its first output, in words.
    """

    layer: str
    operator: str
    kernel: str
    time: Estimate
    shape: str


@dataclass(frozen=True, repr=False)
class LayerChange(OneLine):
    """One layer in two models; it is at least in one of them.

    Attributes:
        layer: Its name.
        before: In the reference; None if that does not have it.
        after: In the model; None if that does not have it.
        ratio: Of the times, paired run by run; None if it is in one model only.
        verdict: "faster", "same", "slower", "undecided", or in which model alone it is.
        reason: Why it did not get faster; None if it did, or if that is not known.
    """

    layer: str
    before: LayerTime | None
    after: LayerTime | None
    ratio: Estimate | None
    verdict: str
    reason: str | None


@dataclass(frozen=True, repr=False)
class OperatorTime(OneLine):
    """All kernels of one type.

    Attributes:
        operator: The type.
        kernels: How many.
        time: Seconds per inference.
        share: Of the time in kernels, 0 to 1.
    """

    operator: str
    kernels: int
    time: Estimate
    share: Estimate


@dataclass(frozen=True, repr=False)
class Profile(OneLine):
    """Where the time of one model goes.

    Attributes:
        model: Its name.
        runs: How many inferences were profiled.
        total: Seconds in kernels per inference.
        operators: The largest times first.
        layers: The largest times first.
        layout: Seconds in conversions between layouts.
        layout_count: How many kernels those are.
    """

    model: str
    runs: int
    total: Estimate
    operators: tuple[OperatorTime, ...]
    layers: tuple[LayerTime, ...]
    layout: Estimate
    layout_count: int


@dataclass(frozen=True, repr=False)
class ProfileComparison(OneLine):
    """Layers of two models side by side.

    Attributes:
        model: Its name.
        reference: That of the other.
        changes: The largest times first.
        causes: Where the time of `model` is, if it is not where it got faster.
    """

    model: str
    reference: str
    changes: tuple[LayerChange, ...]
    causes: tuple[Cause, ...] = ()


@dataclass(frozen=True, repr=False)
class Gate(OneLine):
    """What `fail_above` found.

    Attributes:
        limit: The share by which a model may be slower.
        failed: Models whose whole interval is above 1 + `limit`.
        undecided: Those of which only the upper end is.
    """

    limit: float
    failed: tuple[Comparison, ...]
    undecided: tuple[Comparison, ...]


@dataclass(frozen=True)
class InputUsed:
    """What was fed to an input.

    Attributes:
        name: Of the input.
        dtype: Its element type.
        shape: What was fed.
        chosen: Sizes that neither the model nor the user gave, in words.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    chosen: tuple[str, ...] = ()


@dataclass(frozen=True)
class BenchedModel:
    """A file that was measured.

    Attributes:
        name: Its file name, with the folder if two have the same.
        size_bytes: Of the file and its data files.
    """

    name: str
    size_bytes: int


@dataclass(frozen=True, repr=False)
class BenchResult(Shown):
    """Outcome of `bench`.

    Attributes:
        models: Those that were measured.
        reference: What the others are compared with; None for a single model, or if it is an earlier result.
        inputs: What was fed.
        source: Where the values are from.
        settings: Every combination of threads, batch and provider.
        rejected: Models that could not be measured.
        profiles: One a model, with `profile`.
        profile_comparisons: One a model besides the reference, with `profile`.
        gate: What `fail_above` found; None without it.
        margin: The share within which models count as the same.
        seed: Of inputs and order.
        runtime: Name and version.
        cpu: What the processor calls itself.
        cores: That this process may use.
        notes: Remarks.
        seconds: How long all took.
    """

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

    def _words(self) -> str:
        found: list[str] = []
        for one in self.settings:
            at = f" with {plural(one.setting.threads, 'thread')}"
            found += [f"{c.short}{at}" for c in one.comparisons]
            if not one.comparisons:
                found += [f"{m.model} {format_latency(m.latency.value)}{at}" for m in one.measurements]
        more = [f"and {len(found) - LONGEST} more"] if len(found) > LONGEST else []
        return "; ".join([*found[:LONGEST], *more])
