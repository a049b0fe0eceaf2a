"""Ratios of times on a machine that other programs use, too. Pure functions over arrays.

A run that loses its core for a while takes longer, and a longer run loses it more often: the median of times by times
is then not the ratio of what the models take. So it is known of every sample how long threads waited for a core
(waiting.py) and how long they ran. A sample is *quiet* if next to nobody waited. In a round, the fastest quiet sample
of each model counts, of equally many (the least of more is less); rounds in which a model has none are left out. If
too few remain, all count, with the median of their samples

    corrected = max(time - waited, cpu / threads)

With one thread that is the time that the model takes alone, but for what left the caches meanwhile, for which the
interval is widened. With several it is an estimate, since one thread's waiting need not be another's: then the interval
also holds that of the times as they were.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxprune.benching.results import Estimate
from onnxprune.benching.statistics import Floats, Ints, paired_ratio

QUIET = 0.02  # share of a sample that its threads may have waited
HAND_OVER_S = 20e-6  # a thread that was woken up waits so long on an idle machine
COLD = 0.02  # share by which an interrupted run may be slower beyond its waiting
LEAST_ROUNDS, LEAST_BLOCKS = 12, 4


@dataclass(frozen=True)
class Samples:
    """All of shape (rounds, models, samples), in seconds per inference; `blocks` (rounds,). `waited` and `cpu` are of
    all threads together.
    """

    times: Floats
    waited: Floats
    cpu: Floats
    blocks: Ints
    threads: int

    @property
    def quiet(self) -> NDArray[np.bool_]:
        """Samples in which nobody else mattered."""
        found: NDArray[np.bool_] = self.waited <= QUIET * self.times + HAND_OVER_S * (self.threads - 1)
        return found

    @property
    def corrected(self) -> Floats:
        """Without the waiting."""
        return np.maximum(self.times - self.waited, self.cpu / self.threads)


@dataclass(frozen=True)
class Paired:
    """A ratio, from how many rounds it is, and the share of the runs of both models that had no quiet sample."""

    ratio: Estimate
    rounds: int
    disturbed: float


def paired(samples: Samples, of: int, to: int, seed: int = 0) -> Paired:
    """The time of one model by that of another."""
    times, quiet = samples.times[:, (of, to)], samples.quiet[:, (of, to)]
    disturbed = float(1 - quiet.any(axis=2).mean())
    counted = quiet & (quiet.cumsum(axis=2) <= quiet.sum(axis=2).min(axis=1)[:, None, None])
    kept = counted.any(axis=(1, 2))
    blocks = samples.blocks[kept]
    if kept.all() or (len(blocks) >= LEAST_ROUNDS and len(np.unique(blocks)) >= LEAST_BLOCKS):
        least = np.where(counted, times, np.inf).min(axis=2)[kept]
        return Paired(paired_ratio(least[:, 0], least[:, 1], blocks, seed), len(least), disturbed)
    corrected = np.median(samples.corrected[:, (of, to)], axis=2)
    ratio = paired_ratio(corrected[:, 0], corrected[:, 1], samples.blocks, seed)
    ratio = Estimate(ratio.value, ratio.low / (1 + COLD), ratio.high * (1 + COLD))
    if samples.threads > 1:
        fastest = times.min(axis=2)
        raw = paired_ratio(fastest[:, 0], fastest[:, 1], samples.blocks, seed)
        ratio = Estimate(ratio.value, min(ratio.low, raw.low), max(ratio.high, raw.high))
    return Paired(ratio, len(corrected), disturbed)
