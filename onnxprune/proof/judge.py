"""From the outputs of two models to a proof, or a refusal that says where they differ."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.errors import ModelError, VerificationError
from onnxprune.model.finite import AGAIN, culprit
from onnxprune.proof.checker import require
from onnxprune.proof.inputs import SAMPLES, Case
from onnxprune.proof.tolerance import Tolerance, tolerance
from onnxprune.trace.groups import Trace

Bools = NDArray[np.bool_]


class Unloadable(ModelError):
    """ONNX Runtime refuses the original itself, whatever its inputs."""


class NoNumbers(Unloadable):
    """A weight of the original holds NaN or infinity, and so do its outputs."""


class SamplesFail(ModelError):
    """The original does not run on the samples."""


class Differs(VerificationError):
    """The outputs are further apart than rounding explains."""


@dataclass(frozen=True)
class Comparison:
    """One value on one case: `difference` is max |a-b| relative to max |a|; `mutated` the same for a wrong plan.

    Not `shown`: max |a| is too small for the tolerance, and both are relative to what is large enough for it.
    """

    case: str
    output: str
    elements: int
    difference: float
    absolute: float
    mutated: float | None
    shown: bool = True

    @property
    def scale(self) -> str:
        """What differences are relative to, in words."""
        return "its largest value" if self.shown else "the least value that can be compared"


@dataclass(frozen=True)
class Proof:
    """What was shown. `sensitive`: a deliberately wrong plan was told apart from the right one."""

    comparisons: tuple[Comparison, ...]
    cases: tuple[str, ...]
    skipped: tuple[str, ...]
    tolerance: Tolerance
    sensitive: bool
    notes: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    """The checks that refuse the original as well, see `checker`: the note has the words of the first."""

    @property
    def unseen(self) -> tuple[str, ...]:
        """The values that were too small in all cases."""
        shown = {c.output for c in self.comparisons if c.shown}
        return tuple(dict.fromkeys(c.output for c in self.comparisons if c.output not in shown))

    @property
    def worst(self) -> float:
        return max((c.difference for c in self.comparisons), default=0.0)

    @property
    def worst_absolute(self) -> float:
        return max((c.absolute for c in self.comparisons), default=0.0)


def judge(
    trace: Trace,
    keep: Bools,
    feeds: Sequence[Case],
    original: dict[str, Any],
    result: dict[str, Any],
    behind: Collection[str],
    reference: str = "the original without the removed channels",
    *,
    rounded: bool = True,
) -> Proof:
    """`original` has one case more than `feeds`: what a wrong plan gives on the first one. Outputs `behind`
    discontinuities are not compared. `rounded`: see `tolerance`.
    """
    if "load" in original:
        raise Unloadable(
            f"ONNX Runtime cannot load the original (with masks): {original['load']}",
            hint="What cannot be run cannot be proven, and nothing is written without a proof.",
        )
    if "load" in result:
        raise VerificationError(f"ONNX Runtime cannot load the result: {result['load']}")
    refused = result.get("refused", {})
    require("the result", refused, original.get("refused", {}))
    allowed = tolerance(trace, rounded=rounded)
    comparisons: list[Comparison] = []
    done, skipped = [], []
    wrong = original["cases"][len(feeds)]
    for number, case in enumerate(feeds):
        a, b = original["cases"][number], result["cases"][number]
        if "error" in a:
            if not case.optional:
                kind = SamplesFail if case.name == SAMPLES else ModelError
                raise kind(f"ONNX Runtime cannot run the original on {case.words}: {a['error']}")
            skipped.append(case.name)
            continue
        if "error" in b:
            raise VerificationError(f"the result does not run where the original does ({case.name}): {b['error']}")
        done.append(case.name)
        found = _compare(trace, keep, case.name, a, b, wrong if number == 0 else None, allowed, behind)
        comparisons.extend(found)
        for item in found:
            if not item.difference <= allowed.relative:
                if not np.isfinite(item.difference):
                    _blame(trace, f"output {item.output!r} is not finite ({case.name})")
                raise Differs(
                    f"output {item.output!r} differs by {item.difference:.3g} of {item.scale} from {reference} "
                    f"({case.name}); {allowed.relative:.1g} is allowed"
                )
    sensitive = any(c.mutated is not None and not c.mutated <= allowed.relative for c in comparisons)
    if not any(c.elements for c in comparisons):
        _blame(trace, "nothing can be compared: the outputs are not finite")
        raise VerificationError(
            "nothing could be compared: the outputs are empty or not finite",
            hint="Run the original on inputs of yours: if it gives no numbers there either, it holds NaN or infinity.",
        )
    notes = tuple(f"{name}: {reason.splitlines()[0]}" for name, reason in list(refused.items())[:1])
    return Proof(tuple(comparisons), tuple(done), tuple(skipped), allowed, sensitive, notes, tuple(refused))


def _blame(trace: Trace, what: str) -> None:
    """Raise NoNumbers if a weight of the original is to blame."""
    found = culprit(trace.graph)
    if found is not None:
        raise NoNumbers(f"{what}, since {found}", hint=AGAIN)


def _compare(
    trace: Trace,
    keep: Bools,
    case: str,
    a: dict[str, Any],
    b: dict[str, Any],
    wrong: dict[str, Any] | None,
    allowed: Tolerance,
    behind: Collection[str],
) -> list[Comparison]:
    result = []
    for position, (name, path) in enumerate(zip(a["names"], a["files"], strict=True)):
        other = b["files"][b["names"].index(name)]
        if not path or not other or name in behind:
            continue
        x, y = trace.kept_part(name, keep, np.load(path, allow_pickle=False)), np.load(other, allow_pickle=False)
        if x.shape != y.shape or x.dtype != y.dtype:
            raise VerificationError(f"output {name!r} is {y.dtype} {y.shape}, the original's is {x.dtype} {x.shape}")
        least = allowed.least(x, y)
        relative, absolute, count, largest = _difference(x, y, least)
        mutated_difference = None
        if wrong is not None and "error" not in wrong:
            z = trace.kept_part(name, keep, np.load(wrong["files"][position], allow_pickle=False))
            mutated_difference = _difference(z, y, least)[0] if z.shape == y.shape else np.inf
        result.append(Comparison(case, name, count, relative, absolute, mutated_difference, largest >= least))
    return result


def _difference(x: NDArray[Any], y: NDArray[Any], least: float) -> tuple[float, float, int, float]:
    """(max |x-y| / max(|x|, least), max |x-y|, finite elements, max |x|); infinities and NaN must be at the same
    places.
    """
    if x.size == 0:
        return 0.0, 0.0, 0, least
    x, y = x.astype(np.float64), y.astype(np.float64)
    finite = np.isfinite(x)
    if not np.array_equal(finite, np.isfinite(y)):
        return np.inf, np.inf, int(finite.sum()), least
    if not finite.any():
        return 0.0, 0.0, 0, least
    absolute = float(np.abs(x[finite] - y[finite]).max())
    largest = float(np.abs(x[finite]).max())
    scale = max(largest, least)
    relative = absolute / scale if scale else (0.0 if absolute == 0 else np.inf)
    return relative, absolute, int(finite.sum()), largest
