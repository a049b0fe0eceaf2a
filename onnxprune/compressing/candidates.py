"""What levers give: networks that were built and measured, and which of them is taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnxprune.compressing.precision import Precision
from onnxprune.compressing.request import INT8, PARTS, Lever
from onnxprune.model.load import Model
from onnxprune.quantizing.stage import Quantized
from onnxprune.results import RepairSummary
from onnxprune.results.compressing import CompressPoint
from onnxprune.shrinking.planning import Choice
from onnxprune.sparsifying.stage import Sparsified


@dataclass(frozen=True)
class Way:
    """A lever, and how the file computes. `start`: the share of the cost that is left before anything leaves,
    `rounding`: the error of the outputs then."""

    lever: Lever
    how: Precision
    start: float = 1.0
    rounding: float = 0.0
    besides: float = 0.0
    """the share of the cost that the plan of integers takes in the file, where bytes count"""

    @property
    def levers(self) -> tuple[str, ...]:
        """All that make the result."""
        return (*sorted(PARTS[self.lever]), *([] if self.how.form is None else [INT8]))

    @property
    def name(self) -> str:
        return " + ".join(self.levers)


@dataclass(frozen=True)
class Candidate:
    """A network made of the original. `model`: as its file has it, `floats`: before it was quantised. `choice`: what
    leaves, on which `way`, None if nothing does; `integers`: what was quantised, None if nothing was; `zeros`: what
    became of the weights, None if none were to become zero. `point`: what was measured.
    """

    levers: tuple[str, ...]
    model: Model
    point: CompressPoint
    floats: Model
    choice: Choice | None = None
    integers: Quantized | None = None
    way: Way | None = None
    repair: RepairSummary | None = None
    zeros: Zeros | None = None


@dataclass(frozen=True)
class Zeros:
    """Of the weights of `base`, which is dense, `share` leaves: `made`."""

    base: Candidate
    share: float
    made: Sparsified


def best(found: Sequence[Candidate], limit: float) -> Candidate:
    """The one of the least error within the limit; the one of the least cost where there is none."""
    fitting = [one for one in found if one.point.cost <= limit]
    if fitting:
        return min(fitting, key=lambda one: one.point.error)
    return min(found, key=lambda one: one.point.cost)
