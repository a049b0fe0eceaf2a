"""A weight as it is stored: integers on a grid, or halves; and what it stands for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from onnxprune.model.grids import Grid
from onnxprune.model.tensors import LazyTensor
from onnxprune.quantizing.weights.packing import pack, packed_zeros, unpacked
from onnxprune.quantizing.weights.places import BLOCKS, Place
from onnxprune.quantizing.weights.request import FP16

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Stored:
    """What the file holds for the weight of a `place`. `grid` is None for halves.

    integers: int8 in the shape of the weight; of blocks the uint8 that MatMulNBits reads (outputs, blocks, bytes), of
    the matrix (features, outputs) that `grid` is of; halves: float16. scale: a factor that the matrix has and the
    tensor of the file has not (alpha of a Gemm). symmetric: there are no zero points. bias: a new one, or None.
    """

    place: Place
    integers: Array
    grid: Grid | None = None
    turned: bool = False
    alpha: float = 1.0
    symmetric: bool = True
    bias: Array | None = None

    @classmethod
    def blocks(
        cls, place: Place, integers: Array, grid: Grid, *, turned: bool, alpha: float, symmetric: bool
    ) -> Stored:
        """integers (features, outputs)"""
        return cls(place, pack(integers, grid.block), grid, turned, alpha, symmetric)

    @property
    def kind(self) -> str:
        if self.grid is not None and self.place.form == BLOCKS:
            return f"int4 in blocks of {self.grid.block}"
        return FP16 if self.grid is None else "int8"

    @property
    def nbytes(self) -> int:
        """Of the weight in the file, with scales and zero points."""
        found = int(self.integers.nbytes)
        if self.grid is not None:
            found += int(self.grid.scale.nbytes)
            if not self.symmetric:
                found += int(packed_zeros(self.grid.zero_point).nbytes)
        return found

    @property
    def features(self) -> int:
        """Inputs of an output, of blocks."""
        return self.place.shape[1 if self.turned else 0]

    @property
    def outputs(self) -> int:
        """Outputs, of blocks."""
        return self.place.shape[0 if self.turned else 1]

    @property
    def suffix(self) -> str:
        """What the names of its initializers end with."""
        return "half" if self.grid is None else "int8"

    def values(self) -> NDArray[np.float32]:
        """What it stands for, in the shape of the weight."""
        if self.grid is None:
            return self.integers.astype(np.float32)
        if self.place.form != BLOCKS:
            return self.grid.values(self.integers)
        matrix = self.grid.values(unpacked(self.integers, self.features, self.outputs))
        if self.alpha != 1.0:
            matrix = matrix / np.float32(self.alpha)
        return np.ascontiguousarray(matrix.T if self.turned else matrix)

    def real(self, like: LazyTensor) -> LazyTensor:
        """A float tensor in place of `like` that is computed whenever it is read: memory holds only the integers."""
        header = like.header
        assert header.data_type == TensorProto.FLOAT
        return LazyTensor(header, raw=lambda: self.values().reshape(-1).view(np.uint8).data.toreadonly())
