"""Streamed sums that compare one output of two models; the definitions are in fidelity.py."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ValueInfoProto

from onnxprune.data.axes import Dims, batch_symbol
from onnxprune.measure.classes import ClassAxis
from onnxprune.measure.wilson import wilson
from onnxprune.model.load import Model
from onnxprune.results import Agreement, OutputFidelity

Array = NDArray[Any]
NO_SAMPLES = "its first axis does not count samples"
ONE_CLASS = "it holds one number per sample, which has no top class"
OVER_SAMPLES = "its softmax is over the samples"
NOT_SCORES = "its samples have {rank} axes, and which of them counts classes is not known"
CHUNK = 1 << 22  # elements that are compared at once, in samples as a whole
RESHAPED = "its shape depends on the values, and differs between the models on {count} of {total} feeds"


class Tally(ABC):
    """Add pairs of values, then ask for the result. `counting` says which axes may count samples, see `sample_axis`."""

    def __init__(self, counting: Sequence[int] = ()) -> None:
        self._counting = counting
        self.elements = self.feeds = self.reshaped = self.samples = 0

    def add(self, a: Array, b: Array, rows: int) -> None:
        """One feed of `rows` samples: a from the original, b from the candidate."""
        self.feeds += 1
        if a.shape != b.shape:
            self.reshaped += 1
            return
        if not a.size:
            return
        axis = sample_axis(a.shape, rows, self._counting)
        self.elements += a.size
        self.samples += 1 if axis is None else rows
        if axis is None:
            self._add(a, b, None)
            return
        step = max(1, CHUNK // (a.size // rows))
        for start in range(0, rows, step):
            part = (slice(None),) * axis + (slice(start, start + step),)
            self._add(a[part], b[part], axis)

    def result(self, name: str) -> OutputFidelity:
        if self.reshaped:
            reason = RESHAPED.format(count=self.reshaped, total=self.feeds)
            return OutputFidelity(name, None, None, None, None, reason, self.elements)
        return self._result(name)

    @abstractmethod
    def _add(self, a: Array, b: Array, axis: int | None) -> None:
        """Values of equal shapes; `axis` counts samples, None if they are one sample."""

    @abstractmethod
    def _result(self, name: str) -> OutputFidelity: ...


def tally(value: Array, classes: ClassAxis | None = None, counting: Sequence[int] = ()) -> Tally:
    """For an output that looks like `value`, and counts `classes` on this axis, if that is known."""
    return Reals(classes, counting) if value.dtype.kind == "f" else Symbols(counting)


class Reals(Tally):
    """Floating-point values."""

    def __init__(self, classes: ClassAxis | None, counting: Sequence[int] = ()) -> None:
        super().__init__(counting)
        self.classes = classes
        self.difference = self.norm = self.largest = self.cosines = self.same_top = 0.0
        self.not_finite = self.clashes = 0
        self.reason: str | None = None

    def _add(self, a: Array, b: Array, axis: int | None) -> None:
        a, b = a.astype(np.float64), b.astype(np.float64)
        self._add_top(a, b, axis)
        odd = ~(np.isfinite(a) & np.isfinite(b))
        if odd.any():
            self.not_finite += int(odd.sum())
            same = (a == b) | (np.isnan(a) & np.isnan(b))
            self.clashes += int((odd & ~same).sum())
            a, b = np.where(odd, 0.0, a), np.where(odd, 0.0, b)
        x, y = ((v[None] if axis is None else np.moveaxis(v, axis, 0)) for v in (a, b))
        x, y = x.reshape(len(x), -1), y.reshape(len(y), -1)
        d = x - y
        self.difference += float(np.einsum("ij,ij->", d, d))
        self.norm += float(np.einsum("ij,ij->", x, x))
        self.largest = max(self.largest, float(np.abs(d).max(initial=0.0)))
        self.cosines += float(_cosines(x, y).sum())

    def _add_top(self, a: Array, b: Array, rows: int | None) -> None:
        """The samples, or the shares of their places, at which the largest of the classes is the same."""
        axis = None if self.classes is None else self.classes.of(a.shape)
        if axis is not None and axis == rows:
            self.reason = OVER_SAMPLES
            return
        if axis is not None:
            same = np.argmax(a, axis=axis) == np.argmax(b, axis=axis)
            self.same_top += float(same.mean()) * (1 if rows is None else a.shape[rows])
            return
        reason = _no_classes(a, rows == 0)
        self.reason = self.reason or reason
        if reason is None:
            flat = a.reshape(len(a), -1), b.reshape(len(b), -1)
            self.same_top += int((np.argmax(flat[0], axis=1) == np.argmax(flat[1], axis=1)).sum())

    def _result(self, name: str) -> OutputFidelity:
        reason = self.reason
        agreement = None if reason or not self.samples else agreed(self.same_top / self.samples, self.samples)
        if not self.elements:
            return OutputFidelity(name, None, None, None, None, "it has no elements", 0)
        clash = self.clashes > 0
        return OutputFidelity(
            name,
            math.inf if clash else _ratio(self.difference, self.norm),
            math.inf if clash else self.largest,
            None if clash else self.cosines / self.samples,
            agreement,
            reason,
            self.elements,
            self.not_finite,
            self.clashes,
        )


class Symbols(Tally):
    """Integers, booleans, strings: equal or not."""

    def __init__(self, counting: Sequence[int] = ()) -> None:
        super().__init__(counting)
        self.equal = 0

    def _add(self, a: Array, b: Array, axis: int | None) -> None:
        self.equal += int(np.asarray(a == b).sum())

    def _result(self, name: str) -> OutputFidelity:
        if not self.elements:
            return OutputFidelity(name, None, None, None, None, "it has no elements", 0)
        agreement = agreed(self.equal / self.elements, self.samples)
        return OutputFidelity(name, None, None, None, agreement, None, self.elements)


def sample_axis(shape: tuple[int, ...], rows: int, counting: Sequence[int] = ()) -> int | None:
    """The axis of an output that counts `rows` samples: one that is as long, of several the first in `counting`, or
    the first of all; for a single sample, where many are as long, the first axis.
    """
    fitting = [axis for axis, size in enumerate(shape) if size == rows and (rows > 1 or not axis)]
    return next((axis for axis in counting if axis in fitting), next(iter(fitting), None))


def counting_axes(model: Model) -> dict[str, list[int]]:
    """Per output the axes that may count samples by what is declared: that of the symbol that counts them in the
    inputs, then others that are open.
    """
    weights = model.tensors
    graph = model.proto.graph
    symbol = batch_symbol([_dims(value) for value in graph.input if value.name not in weights])
    found = {}
    for value in graph.output:
        dims = _dims(value)
        open_axes = [axis for axis, size in enumerate(dims) if not isinstance(size, int)]
        found[value.name] = sorted(open_axes, key=lambda axis, dims=dims: dims[axis] is None or dims[axis] != symbol)  # type: ignore[misc]
    return found


def _dims(value: ValueInfoProto) -> Dims:
    return tuple(d.dim_value if d.dim_value > 0 else d.dim_param or None for d in value.type.tensor_type.shape.dim)


def agreed(share: float, samples: int) -> Agreement:
    """A share with its interval."""
    low, high = wilson(share, samples)
    return Agreement(share, low, high, samples)


def _no_classes(a: Array, own: bool) -> str | None:
    """Why a value holds no class scores; None if it does."""
    if not own:
        return NO_SAMPLES
    if a.ndim < 2 or a[0:1].size == 1:
        return ONE_CLASS
    if math.prod(a.shape[2:]) != 1:
        return NOT_SCORES.format(rank=a.ndim - 1)
    return None


def _ratio(difference: float, norm: float) -> float:
    """sqrt(difference / norm); infinite where it cannot be told."""
    if difference == 0:
        return 0.0
    found = math.sqrt(difference / norm) if norm else math.inf
    return found if math.isfinite(found) else math.inf


def _cosines(x: Array, y: Array) -> Array:
    """Per row; two rows of zeros are alike, one is like nothing."""
    norms = np.linalg.norm(x, axis=1), np.linalg.norm(y, axis=1)
    dot = np.einsum("ij,ij->i", x, y)
    both = norms[0] * norms[1]
    found = np.divide(dot, both, out=np.zeros_like(dot), where=both > 0)
    return np.where((norms[0] == 0) & (norms[1] == 0), 1.0, np.clip(found, -1.0, 1.0))
