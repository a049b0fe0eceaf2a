"""What becomes zero in what stays, how the rest makes up for what left, and how it is judged."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from onnxprune.errors import UsageError
from onnxprune.options.declare import REPAIR, SHARE, ZEROS, Options, option
from onnxprune.options.lists import METHODS
from onnxprune.results.units import parse_time


@dataclass(frozen=True, kw_only=True)
class ZeroAmount(Options):
    """How many weights become zero, which, and how they are chosen."""

    sparsity: float | None = option(
        None,
        "Share of the weights of a layer that becomes zero, 0.8 or 80%. N:M patterns say it themselves.",
        group=ZEROS,
        metavar="SHARE",
        kind=SHARE,
        recorded=True,
    )
    pattern: str | None = option(
        None,
        "What leaves together: unstructured (single weights), 4x1, 2x1, 8x1 (so many output channels of one input), "
        "RxC, 2:4 or N:M (N of M inputs stay), or auto: for each layer what is fastest here, measured.",
        group=ZEROS,
        metavar="PATTERN",
        shown="4x1",
        recorded=True,
    )
    method: str | None = option(
        None,
        "How the weights that leave are chosen; see below.",
        group=ZEROS,
        metavar="NAME",
        shown="obs with --data, otherwise magnitude",
        names=tuple(METHODS),
        recorded=True,
    )


@dataclass(frozen=True, kw_only=True)
class ZeroForm(Options):
    """What zeros are in the file."""

    emit: Literal["operators", "dense-zeros", "sparse-initializers"] = option(
        "operators",
        "How the zeros are in the file: skipped by onnxprune's operators (any runtime runs it; with the library, fast);"
        " as zeros for other runtimes; or as sparse initializers, which only save space.",
        group=ZEROS,
        shown=True,
        recorded=True,
    )


@dataclass(frozen=True, kw_only=True)
class ZeroLimits(Options):
    """Which zeros are kept, and which layers stay dense."""

    lock: bool = option(False, "Weights that are zero already stay zero, and count.", group=ZEROS, recorded=True)
    max_error: float | None = option(
        None,
        "Layers whose output would be further off stay dense: mean squared error on held-out samples, as a share of "
        "its variance. Needs --data.",
        group=ZEROS,
        metavar="E",
        recorded=True,
    )


@dataclass(frozen=True, kw_only=True)
class Zeros(ZeroAmount, ZeroForm, ZeroLimits):
    """Sparse weights in what stays."""


EFFORTS = {"quick": 0.35, "normal": 1.0, "thorough": 8.0}
"""By name, times the usual steps."""


@dataclass(frozen=True, kw_only=True)
class Lasting(Options):
    """How long weights are adjusted together."""

    effort: str | float = option(
        "normal",
        "How long weights are adjusted together (reconstruct): quick (0.35), normal, thorough (8), or N times as many "
        "steps as normal. What held-out samples say is best is written.",
        group=REPAIR,
        metavar="N",
        shown=True,
        recorded=True,
    )

    time: str | None = option(
        None,
        "Instead of --effort: how long the run may take, about (1h, 20m, 90s). How much effort that is follows from "
        "the speed of the first steps, and is said: with it the same file comes again.",
        group=REPAIR,
        metavar="TIME",
    )

    @property
    def times(self) -> float:
        """The effort as a number of times the usual. Raises UsageError."""
        if self.time is not None and self.effort != "normal":
            raise UsageError("--time and --effort exclude each other.", hint="Leave out one of them.")
        return times_of(self.effort)

    @property
    def allowed(self) -> float | None:
        """Seconds, None if nothing is said of them. Raises UsageError."""
        return None if self.time is None else parse_time(self.time)


def times_of(effort: str | float) -> float:
    """Raises UsageError for what is neither a name nor a number above zero that is finite."""
    try:
        found = EFFORTS[effort] if isinstance(effort, str) and effort in EFFORTS else float(effort)
    except ValueError:
        found = math.nan
    if not 0 < found < math.inf:
        raise UsageError(
            f"--effort {effort} is no amount of work.", hint=f"Take {', '.join(EFFORTS)}, or a number above 0."
        )
    return found


@dataclass(frozen=True, kw_only=True)
class Mending(Lasting):
    """How the rest makes up for what left."""

    repair: Literal["auto", "none", "bias", "merge", "scale-shift", "least-squares", "reconstruct"] = option(
        "auto",
        "Make up for what left: its mean goes into biases (bias), after similar filters took its place (merge). With "
        "--data: every channel is scaled and shifted (scale-shift); each layer that read what left is refitted "
        "(least-squares); and then all weights together, by gradients (reconstruct).",
        group=REPAIR,
        shown="reconstruct with --data, otherwise merge",
        recorded=True,
    )


@dataclass(frozen=True, kw_only=True)
class Score(Options):
    """A measure of the user's own."""

    metric: str | Callable[[str], float] | None = option(
        None,
        "Your own score: a function from the path of a model to a number, higher is better.",
        group=REPAIR,
        metavar="FILE.PY:FUNCTION",
        file=False,
        point=False,
    )


@dataclass(frozen=True, kw_only=True)
class Drop(Options):
    """How far that may fall."""

    max_drop: float | None = option(
        None, "How far the metric may fall, in its unit.", group=REPAIR, metavar="D", file=False
    )
