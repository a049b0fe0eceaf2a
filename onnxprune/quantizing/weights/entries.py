"""What a plan says of small weights: of what type they are, along which axis they have scales, and a digest of all."""

from __future__ import annotations

import hashlib

import numpy as np

from onnxprune.proof.grids.stored import TYPES
from onnxprune.quantizing.weights.places import BLOCKS
from onnxprune.quantizing.weights.stored import Stored
from onnxprune.results.plan import WeightGrid

HALF = "float16"


def entry_of(item: Stored) -> WeightGrid:
    """The digest is over the integers, the scales and the zero points, as the file has them."""
    digest = hashlib.sha256(np.ascontiguousarray(item.integers).data)
    if item.grid is None:
        return WeightGrid(item.place.key, HALF, None, 0, digest.hexdigest()[:16])
    scale = item.grid.scale * np.float32(1.0 if item.place.form == BLOCKS else item.alpha)
    digest.update(np.ascontiguousarray(scale, np.float32).data)
    digest.update(np.ascontiguousarray(item.grid.zero_point.astype(np.int32)).data)
    grid = item.grid
    return WeightGrid(item.place.key, TYPES[grid.dtype], grid.axis, grid.block, digest.hexdigest()[:16])
