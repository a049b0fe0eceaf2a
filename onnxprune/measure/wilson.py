"""The Wilson score interval of a share (Wilson, Probable Inference, JASA 1927)."""

from __future__ import annotations

import math

Z_95 = 1.959963984540054  # standard normal quantile of 0.975


def wilson(share: float, count: int, z: float = Z_95) -> tuple[float, float]:
    """(low, high) for a share observed in `count` independent trials; at 0 and 1 it still has a width.

    Raises ValueError unless 0 <= share <= 1 and count >= 1.
    """
    if not 0 <= share <= 1 or count < 1:
        raise ValueError(f"a share of {share} in {count} trials")
    scale = 1 + z * z / count
    middle = (share + z * z / (2 * count)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    low = 0.0 if share == 0 else max(middle - half, 0.0)
    high = 1.0 if share == 1 else min(middle + half, 1.0)
    return low, high
