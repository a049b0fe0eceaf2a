"""From times to intervals and verdicts. Pure functions; times are positive, in any unit.

Rounds come in blocks: stretches of time, mostly with sessions of their own. What drifts with time, or hangs on where a
session happens to lie in memory, is shared by the rounds of a block; so whole blocks are what the bootstrap draws
(Carlstein, The use of subseries values for estimating the variance of a general statistic from a stationary sequence,
Annals of Statistics 1986). Few blocks would make such an interval too narrow: its halves are widened by sqrt(b / (b-1))
and by the quotient of the quantiles of Student's t with b - 1 degrees of freedom and of the normal distribution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from onnxprune.benching.results import FASTER, SAME, SLOWER, UNDECIDED, Estimate, Outliers, Spread

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
MARGIN = 0.02
"""Models whose times differ by less than this share count as the same: two sessions of one file do differ so much."""
WIDE = 0.25
"""An interval around 1 that would not show a change of this share says nothing: neither same nor different."""
RESAMPLES = 1000
_CHUNK = 1 << 22  # elements that are resampled at once
_LARGEST = 700.0  # whose exponential is finite
_Z = 1.959963984540054


def quantile(values: Floats, blocks: Ints, share: float, seed: int = 0) -> Estimate:
    """A quantile of `values` (n,) and its 95 % interval by drawing whole blocks; `blocks` (n,) numbers them.

    A single block gives an interval over its rounds, as if each were a block. Raises ValueError without values.
    """
    if not len(values) or len(values) != len(blocks):
        raise ValueError(f"{len(values)} values, {len(blocks)} block numbers")
    _, member = np.unique(blocks, return_inverse=True)
    if member.max() == 0:
        member = np.arange(len(values))
    count = int(member.max()) + 1
    order = np.argsort(values, kind="stable")
    ordered, owner = values[order], member[order]
    point = float(ordered[_rank(len(values), share)])
    if count == 1:
        return Estimate(point, -math.inf, math.inf)
    rng = np.random.default_rng(seed)
    found = np.concatenate(
        [_resampled(ordered, owner, count, share, rng, size) for size in _sizes(len(values), RESAMPLES)]
    )
    low, high = map(float, np.quantile(found, (0.025, 0.975)))
    factor = widening(count)
    return Estimate(point, min(point - factor * (point - low), point), max(point + factor * (high - point), point))


def _rank(count: int, share: float) -> int:
    return min(max(math.ceil(share * count) - 1, 0), count - 1)


def _sizes(values: int, resamples: int) -> list[int]:
    step = max(1, min(resamples, _CHUNK // values))
    return [min(step, resamples - start) for start in range(0, resamples, step)]


def _resampled(
    ordered: Floats, owner: Ints, count: int, share: float, rng: np.random.Generator, resamples: int
) -> Floats:
    """The quantile of samples that hold every block as often as it was drawn, (resamples,)."""
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
    cumulated = np.cumsum(drawn[:, owner], axis=1)
    wanted = np.maximum(np.ceil(share * cumulated[:, -1:]), 1)
    found: Floats = ordered[np.argmax(cumulated >= wanted, axis=1)]
    return found


def widening(blocks: int) -> float:
    """How much wider the interval of few blocks has to be. Infinite for one."""
    if blocks < 2:
        return math.inf
    from scipy.special import stdtrit  # not scipy.stats, whose import takes a second

    return float(stdtrit(blocks - 1, 0.975)) / _Z * math.sqrt(blocks / (blocks - 1))


def paired_ratio(times: Floats, reference: Floats, blocks: Ints, seed: int = 0) -> Estimate:
    """Median of times / reference, round by round, (n,) each, and its interval, on logarithms."""
    return time_quantile(times / reference, blocks, 0.5, seed)


def time_quantile(times: Floats, blocks: Ints, share: float, seed: int = 0) -> Estimate:
    """`quantile` of what is positive, on logarithms: however wide, its interval stays above 0."""
    logs = quantile(np.log(times), blocks, share, seed)
    return Estimate(*(math.inf if x > _LARGEST else math.exp(x) for x in (logs.value, logs.low, logs.high)))


def unpaired_ratio(now: Estimate, before: Estimate) -> Estimate:
    """The ratio of two independent estimates; the halves of the intervals add in squares, on logarithms."""
    if min(now.low, before.low) <= 0 or not math.isfinite(max(now.high, before.high)):
        return Estimate(now.value / before.value, 0.0, math.inf)
    middle = math.log(now.value / before.value)
    down = math.hypot(math.log(now.value / now.low), math.log(before.high / before.value))
    up = math.hypot(math.log(now.high / now.value), math.log(before.value / before.low))
    return Estimate(math.exp(middle), math.exp(middle - down), math.exp(middle + up))


def verdict(ratio: Estimate, margin: float = MARGIN) -> str:
    """Same if the interval holds 1, or the ratio itself is within the margin; otherwise the side on which it is.
    Undecided if it holds 1 and nearly everything else.
    """
    if ratio.low <= 1 <= ratio.high:
        return UNDECIDED if resolution(ratio) > WIDE else SAME
    if 1 / (1 + margin) <= ratio.value <= 1 + margin:
        return SAME
    return SLOWER if ratio.low > 1 else FASTER


def resolution(ratio: Estimate, margin: float = MARGIN) -> float:
    """The smallest change, as a share, that an interval of this width shows; at least the margin."""
    width = math.sqrt(ratio.high / ratio.low) - 1 if ratio.low > 0 and math.isfinite(ratio.high) else math.inf
    return max(margin, width)


def outliers(times: Floats) -> Outliers:
    """Of times (rounds, samples), those above Tukey's fences (Exploratory Data Analysis, 1977), on logarithms."""
    logs = np.log(times)
    first, third = np.quantile(logs, (0.25, 0.75))
    width = third - first
    severe = int((logs > third + 3 * width).sum())
    mild = int((logs > third + 1.5 * width).sum()) - severe
    slowest = int(np.argmax(times))
    return Outliers(mild, severe, float(times.flat[slowest]), slowest // times.shape[1] + 1)


def spread(values: Sequence[float]) -> Spread:
    """Median, least and largest of a few values. Raises ValueError without any."""
    if not values:
        raise ValueError("no values")
    return Spread(float(np.median(values)), float(min(values)), float(max(values)), len(values))


def ordered_interval(values: Floats) -> Estimate:
    """Median and 95 % interval by order statistics: for few, independent values. The whole range below six."""
    from scipy.special import bdtr

    ordered = np.sort(np.asarray(values, np.float64))
    count = len(ordered)
    cut = int(np.argmax(bdtr(np.arange(count + 1.0), count, 0.5) >= 0.025))  # the quantile of the binomial distribution
    low = max(cut - 1, 0) if count >= 6 else 0
    return Estimate(float(np.median(ordered)), float(ordered[low]), float(ordered[count - 1 - low]))
