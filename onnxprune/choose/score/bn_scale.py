"""s_i = |gamma_i|; where BatchNormalization is fused, s_i = ||W_i||_2.

Fusing multiplies filter i by gamma_i / sigma_i. Filters before normalisation are free in scale (normalisation undoes
it), so the norm of the fused filter is where gamma is left to be seen.
"""

from __future__ import annotations

import numpy as np

from onnxprune.choose.score.registry import FloatArray, Layer, Needs, criterion
from onnxprune.choose.score.rows import read_scale, squared_norms


@criterion("bn-scale", needs=Needs.WEIGHTS, source="Liu et al., Network Slimming, ICCV 2017")
def bn_scale(layer: Layer) -> FloatArray:
    """Scale |gamma| of the batch normalisation that follows; norm of the filter where it is fused."""
    scale = read_scale(layer)
    return np.sqrt(squared_norms(layer)) if scale is None else scale
