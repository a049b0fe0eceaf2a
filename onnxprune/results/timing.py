"""The short timing at the end of a run: how much faster the result is, and if it is not, why."""

from __future__ import annotations

from dataclasses import dataclass

from onnxprune.results.shown import OneLine

FASTER, SAME, SLOWER, UNDECIDED = "faster", "same", "slower", "undecided"


@dataclass(frozen=True, repr=False)
class Cause(OneLine):
    """What keeps a part of a model from being faster than the reference.

    Attributes:
        kind: One of those in benching/causes.py.
        share: Of the time in kernels that it stands for, 0 to 1.
        layers: The longest of them.
        count: How many there are.
        step: What their widths are rounded up to multiples of; None for kinds that round nothing.
    """

    kind: str
    share: float
    layers: tuple[str, ...]
    count: int
    step: int | None = None


@dataclass(frozen=True, repr=False)
class TimingSummary(OneLine):
    """The result timed in turn with the original.

    Attributes:
        verdict: "faster", "same", "slower" or "undecided".
        speedup: How many times as fast the result is, the median of paired runs.
        low: Lower end of its 95 % interval.
        high: Upper end of its 95 % interval.
        before_s: Median time of one inference of the original, in seconds.
        after_s: That of the result.
        threads: Of the runtime.
        batch: Samples in one inference.
        pairs: How often both ran.
        causes: Why it is not faster, if it is not.
    """

    verdict: str
    speedup: float
    low: float
    high: float
    before_s: float
    after_s: float
    threads: int
    batch: int
    pairs: int
    causes: tuple[Cause, ...] = ()

    @property
    def words(self) -> str:
        """In a few words, without the interval: "1.27x faster"."""
        if self.verdict == UNDECIDED:
            return "faster or slower: undecided"
        return f"{self.speedup:.3g}x faster" if self.verdict == FASTER else f"no faster ({self.speedup:.3g}x the speed)"

    def _words(self) -> str:
        threads = f"{self.threads} thread{'' if self.threads == 1 else 's'}"
        return f"{self.words}, 95 % CI {self.low:.3g}-{self.high:.3g}, {threads}"
