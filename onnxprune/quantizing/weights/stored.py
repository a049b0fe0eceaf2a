"""A weight as it is stored: integers on a grid, or halves; and what it stands for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from onnxprune.model.grids import INTEGERS, Grid
from onnxprune.model.tensors import LazyTensor
from onnxprune.quantizing.weights.packing import pack, packed_zeros, unpacked
from onnxprune.quantizing.weights.places import BLOCKS, PRODUCT, RECURRENCE, Place
from onnxprune.quantizing.weights.request import DYNAMIC, FP16

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Stored:
    """What the file holds for the weight of a `place`. `grid` is None for halves.

    integers: int8 in the shape of the weight; of blocks the uint8 that MatMulNBits reads, of the matrix (features,
    outputs) that `grid` is of; halves: float16. symmetric: there are no zero points.
    """

    place: Place
    integers: Array
    grid: Grid | None = None
    symmetric: bool = True

    @classmethod
    def blocks(cls, place: Place, integers: Array, grid: Grid, *, symmetric: bool) -> Stored:
        """integers (features, outputs)"""
        return cls(place, pack(integers, grid.block, INTEGERS[grid.dtype]), grid, symmetric)

    @property
    def kind(self) -> str:
        if self.grid is None:
            return FP16
        if self.place.form == BLOCKS:
            return f"int{self.bits} in blocks of {self.grid.block}"
        return f"{DYNAMIC} int8" if self.place.form in (PRODUCT, RECURRENCE) else "int8"

    @property
    def bits(self) -> int:
        """Of a weight."""
        return 16 if self.grid is None else INTEGERS[self.grid.dtype]

    @property
    def nbytes(self) -> int:
        """Of the weight in the file, with scales and zero points."""
        found = int(self.integers.nbytes)
        if self.grid is not None:
            found += int(self.grid.scale.nbytes)
            if not self.symmetric:
                found += int(packed_zeros(self.grid.zero_point, self.bits).nbytes)
        return found

    @property
    def turned(self) -> bool:
        """Whether the file has the outputs of a product first."""
        return self.place.node.op_type == "Gemm" and bool(self.place.node.attribute("transB", 0))

    @property
    def alpha(self) -> float:
        """A factor of the product that the tensor of the file does not have; the matrix of blocks has it."""
        return float(self.place.node.attribute("alpha", 1.0)) if self.place.node.op_type == "Gemm" else 1.0

    @property
    def features(self) -> int:
        """Inputs of an output, of a product."""
        return self.place.shape[1 if self.turned else 0]

    @property
    def outputs(self) -> int:
        """Outputs of a product."""
        return self.place.shape[0 if self.turned else 1]

    @property
    def suffix(self) -> str:
        """What the name of its initializer ends with."""
        return "half" if self.grid is None else f"int{self.bits}"

    def values(self) -> NDArray[np.float32]:
        """What it stands for, in the shape of the weight."""
        if self.grid is None:
            return self.integers.astype(np.float32)
        if self.place.form != BLOCKS:
            return self.grid.values(self.integers)
        matrix = self.grid.values(unpacked(self.integers, self.features, self.bits))
        if self.alpha != 1.0:
            matrix = matrix / np.float32(self.alpha)
        return np.ascontiguousarray(matrix.T if self.turned else matrix)

    def real(self, like: LazyTensor) -> LazyTensor:
        """A float tensor in place of `like` that is computed whenever it is read: memory holds only the integers."""
        header = like.header
        assert header.data_type == TensorProto.FLOAT
        return LazyTensor(header, raw=lambda: self.values().reshape(-1).view(np.uint8).data.toreadonly())
