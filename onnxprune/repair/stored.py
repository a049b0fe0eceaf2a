"""Weights that a file stores on grids, while they are trained as real numbers (fake quantisation).

What is judged, and where every gradient is taken, are the nearest numbers of the grid; the gradient is that of the real
ones as if nothing had been rounded (straight through), and 0 for those that would lead further out of the range.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.model.grids import Grid
from onnxprune.model.load import Model

Floats = NDArray[np.float32]
Weights = dict[str, Floats]


@dataclass(frozen=True)
class Stored:
    """`grids`: by name; other weights are stored as they are."""

    grids: Mapping[str, Grid]

    def of(self, weights: Mapping[str, Floats]) -> Weights:
        """The weights as the file has them."""
        return {name: self.grids[name].rounded(a) if name in self.grids else a for name, a in weights.items()}

    def rest(self, model: Model, trained: Collection[str]) -> Model:
        """`model` with the weights that are not `trained` as the file has them."""
        names = [name for name in self.grids if name not in trained]
        rounded = {name: self.grids[name].rounded(model.tensors[name].array()) for name in names}
        new = {name: model.tensors[name].with_array(array) for name, array in rounded.items()}
        return model.replace(model.proto, {**model.tensors, **new}) if new else model

    def slopes(
        self, names: Sequence[str], slopes: Sequence[Floats], weights: Mapping[str, Floats], stored: Mapping[str, Any]
    ) -> list[Floats]:
        """Gradients of `weights` from those at `stored`, both in the order of `names`."""
        return [
            self._inside(name, slope, weights[name] - stored[name]) if name in self.grids else slope
            for name, slope in zip(names, slopes, strict=True)
        ]

    def _inside(self, name: str, slope: Floats, beyond: Floats) -> Floats:
        """0 where a step down the slope leads away from a number that is more than half a step beyond the range."""
        reach = self.grids[name].steps(beyond) * np.float32(0.51)
        outward = (np.abs(beyond) > reach) & (slope * beyond < 0)
        return np.where(outward, np.float32(0), slope)


NOT_ON_GRIDS = Stored({})
"""Of weights in float."""
