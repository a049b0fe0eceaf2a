"""s_i = 1 - APoZ_i, APoZ the share of zeros among the values of channel i over samples and positions.

The paper counts after ReLU. Behind a nonlinearity that gives no zeros all channels score 1.
"""

from __future__ import annotations

from onnxprune.capture.statistics import Zeros
from onnxprune.choose.score.activations.registry import activation_criterion
from onnxprune.choose.score.registry import FloatArray


@activation_criterion("apoz", statistic=Zeros, source="Hu et al., Network Trimming, 2016")
def apoz(seen: Zeros) -> FloatArray:
    """Share of the activations of a channel that are not zero: 1 - APoZ."""
    return 1.0 - seen.zeros / max(seen.count, 1)
