"""What a model's inputs look like, as far as data must fit them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from onnxprune.data.axes import sample_axes
from onnxprune.errors import DataError, did_you_mean
from onnxprune.model.load import Model
from onnxprune.model.sizes import ANONYMOUS


@dataclass(frozen=True)
class InputSpec:
    """One input that a caller must feed. `dtype` is a TensorProto type; `shape` holds sizes, symbols, or None; samples
    lie along `axis`.
    """

    name: str
    dtype: int
    shape: tuple[int | str | None, ...]
    axis: int = 0

    @property
    def numpy(self) -> np.dtype[Any]:
        """The numpy type that the model is fed; object for strings."""
        return np.dtype(object) if self.dtype == TensorProto.STRING else helper.tensor_dtype_to_np_dtype(self.dtype)

    @property
    def counted(self) -> int | str | None:
        """The declared size of the axis that counts samples."""
        return self.shape[self.axis] if self.shape else None

    @property
    def item(self) -> tuple[int | str | None, ...]:
        """The shape without that axis."""
        return self.shape[: self.axis] + self.shape[self.axis + 1 :]

    @property
    def group(self) -> int:
        """Rows of that axis that one sample fills: the size that the model fixes, otherwise 1."""
        return self.counted if isinstance(self.counted, int) else 1

    @property
    def batched(self) -> bool:
        """Whether that axis has a free size, so that one feed may hold several samples."""
        return bool(self.shape) and not isinstance(self.counted, int)

    def __str__(self) -> str:
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name}: {type_name(self)} ({sizes})"


_NAMES: dict[int, str] = {TensorProto.FLOAT: "float32", TensorProto.DOUBLE: "float64"}


def type_name(spec: InputSpec) -> str:
    """The element type as numpy calls it: float32, int64, bfloat16, string."""
    return _NAMES.get(spec.dtype) or str(TensorProto.DataType.Name(spec.dtype)).lower()


def input_specs(model: Model) -> tuple[InputSpec, ...]:
    """The inputs of `model` in order, those that an initializer already fills left out.

    Raises DataError for an input that is not a tensor (a sequence, an optional) or has no declared rank.
    """
    found = []
    for value in model.proto.graph.input:
        if value.name in model.tensors:
            continue
        if not value.type.HasField("tensor_type"):
            raise DataError(f"input {value.name!r} is not a tensor: such models cannot be calibrated")
        tensor = value.type.tensor_type
        if not tensor.HasField("shape"):
            raise DataError(f"input {value.name!r} has no declared shape", hint="Declare its rank in the model.")
        shape: list[int | str | None] = []
        for dim in tensor.shape.dim:
            if dim.HasField("dim_value") and dim.dim_value > 0:
                shape.append(dim.dim_value)
            else:
                shape.append(None if dim.dim_param in ANONYMOUS else dim.dim_param)
        found.append(InputSpec(value.name, tensor.elem_type, tuple(shape)))
    axes = sample_axes([spec.shape for spec in found])
    return tuple(replace(spec, axis=axis) for spec, axis in zip(found, axes, strict=True))


NAMELESS = "arr_0"
"""What numpy.savez calls an array that is given without a name."""


def expected(specs: Sequence[InputSpec]) -> str:
    """A hint that lists the model's inputs."""
    return "The model's inputs: " + ("; ".join(map(str, specs)) or "none")


def name_check(specs: Sequence[InputSpec], where: str) -> Callable[[Sequence[str]], None]:
    """`check_names` for the names in a file, where a single array needs none if the model has one input."""

    def check(names: Sequence[str]) -> None:
        if not (len(specs) == 1 and list(names) == [NAMELESS]):
            check_names(names, specs, where)

    return check


def check_names(names: Iterable[str], specs: Sequence[InputSpec], where: str) -> None:
    """Raise DataError unless `names` are exactly the names of `specs`."""
    given, wanted = list(names), [spec.name for spec in specs]
    for name in given:
        if name not in wanted:
            raise DataError(
                f"{where}: {name!r} is not an input of the model", hint=did_you_mean(name, wanted) + expected(specs)
            )
    for name in wanted:
        if name not in given:
            raise DataError(f"{where}: no data for input {name!r}", hint=did_you_mean(name, given) + expected(specs))
