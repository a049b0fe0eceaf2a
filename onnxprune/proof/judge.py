"""From the outputs of two models to a proof, or a refusal that says where they differ."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.errors import ModelError, VerificationError
from onnxprune.model.finite import AGAIN, culprit
from onnxprune.model.load import Model
from onnxprune.model.strangers import unknown, way_on
from onnxprune.proof.inputs import SAMPLES, Case
from onnxprune.proof.onnx_checks import require
from onnxprune.proof.scratch import Place, read
from onnxprune.proof.tolerance import Tolerance
from onnxprune.proof.wrong import Bundle
from onnxprune.trace.groups import Trace

Bools = NDArray[np.bool_]
KNOWN_BYTES = 64 << 20
Outputs = Mapping[str, Place]
"""Where values are, by name: see `scratch.append`."""


class Unloadable(ModelError):
    """ONNX Runtime refuses the original itself, whatever its inputs."""


class NoNumbers(Unloadable):
    """A weight of the original holds NaN or infinity, and so do its outputs."""


class SamplesFail(ModelError):
    """The original does not run on the samples."""


class Differs(VerificationError):
    """The outputs are further apart than rounding explains: by `difference`, infinite if one of them is not finite."""

    def __init__(self, message: str, difference: float) -> None:
        super().__init__(message)
        self.difference = difference


class Nothing(VerificationError):
    """There is nothing that could be compared."""


@dataclass(frozen=True)
class Comparison:
    """One value on one case: `difference` is max |a-b| relative to max |a|.

    Not `shown`: max |a| is too small for the tolerance, and the difference is relative to what is large enough for it.
    """

    case: str
    output: str
    elements: int
    difference: float
    absolute: float
    shown: bool = True

    @property
    def scale(self) -> str:
        """What differences are relative to, in words."""
        return "its largest value" if self.shown else "the least value that can be compared"


@dataclass(frozen=True)
class Proof:
    """What was shown. `untold`: parts of the plan that could be wrong without anybody noticing on these inputs."""

    comparisons: tuple[Comparison, ...]
    cases: tuple[str, ...]
    skipped: tuple[str, ...]
    tolerance: Tolerance
    untold: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    """The checks that refuse the original as well, see `checker`: the note has the words of the first."""
    feed: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """Inputs on which the original runs, for other checks."""

    @property
    def sensitive(self) -> bool:
        """Whether a deliberately wrong plan was told apart from the right one, whatever was wrong about it."""
        return not self.untold

    @property
    def unseen(self) -> tuple[str, ...]:
        """The values that were too small in all cases."""
        shown = {c.output for c in self.comparisons if c.shown and c.elements}
        return tuple(dict.fromkeys(c.output for c in self.comparisons if c.output not in shown))

    @property
    def empty(self) -> tuple[str, ...]:
        """The values that had no element in any case, and so were not compared."""
        filled = {c.output for c in self.comparisons if c.elements}
        return tuple(dict.fromkeys(c.output for c in self.comparisons if c.output not in filled))

    @property
    def worst(self) -> float:
        return max((c.difference for c in self.comparisons), default=0.0)

    @property
    def worst_absolute(self) -> float:
        return max((c.absolute for c in self.comparisons), default=0.0)

    def joined(self, other: Proof) -> Proof:
        """With what another one shows of the same networks: what either tells apart is told apart."""
        known = {(c.case, c.output) for c in self.comparisons}
        fresh = (c for c in other.comparisons if (c.case, c.output) not in known)
        cases = tuple(dict.fromkeys((*self.cases, *other.cases)))
        return replace(
            self,
            comparisons=(*self.comparisons, *fresh),
            cases=cases,
            skipped=tuple(c for c in dict.fromkeys((*self.skipped, *other.skipped)) if c not in cases),
            untold=tuple(name for name in self.untold if name in other.untold),
            notes=tuple(dict.fromkeys((*self.notes, *other.notes))),
        )


@dataclass(frozen=True)
class Wrong:
    """A run of the reference with a wrong plan: which parts are wrong, on which case, and what came of it."""

    bundle: Bundle
    case: int
    outcome: Mapping[str, Any]


@dataclass(frozen=True)
class Judge:
    """What outputs are held against: those of `reference` (in words), of which the plan keeps a part.

    Outputs `behind` discontinuities are not compared.
    """

    trace: Trace
    keep: Bools
    parts: tuple[str, ...]
    reference: str
    allowed: Tolerance
    behind: Collection[str]

    def judged(
        self, feeds: Sequence[Case], original: Mapping[str, Any], result: Mapping[str, Any], wrong: Sequence[Wrong]
    ) -> Proof:
        """`original` and `result` have an outcome for each feed. Raises VerificationError, ModelError."""
        check_loads(self.trace.graph.model, original, result)
        comparisons: list[Comparison] = []
        done, skipped, told = [], [], set[str]()
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
            found = self._compared(case.name, _places(a), _places(b))
            comparisons += found
            differences, right = {item.output: item.difference for item in found}, _Known(_places(b))
            for one in wrong:
                if one.case == number and not told.issuperset(one.bundle) and "error" not in one.outcome:
                    told.update(one.bundle if self._tells(_places(one.outcome), right, differences) else ())
        if not any(c.elements for c in comparisons):
            _blame(self.trace, "nothing can be compared: the outputs are not finite")
            raise Nothing(
                "nothing could be compared: the outputs are empty or not finite",
                hint="Run the original on inputs of yours: if it gives no numbers there, it holds NaN or infinity.",
            )
        refused = result.get("refused", {})
        notes = tuple(f"{name}: {reason.splitlines()[0]}" for name, reason in list(refused.items())[:1])
        untold = tuple(name for name in self.parts if name not in told)
        first = next(case.feed for case in feeds if case.name == done[0])
        return Proof(
            tuple(comparisons), tuple(done), tuple(skipped), self.allowed, untold, notes, tuple(refused), first
        )

    def _compared(self, case: str, a: Outputs, b: Outputs) -> list[Comparison]:
        """Every value that both give, except what is behind."""
        result = []
        for name in (name for name in b if name in a and name not in self.behind):
            x, y = self._kept(name, a), read(b[name])
            if x.shape != y.shape or x.dtype != y.dtype:
                raise VerificationError(
                    f"output {name!r} is {y.dtype} {y.shape}, the original's is {x.dtype} {x.shape}"
                )
            least = self.allowed.least(x, y)
            relative, absolute, count, largest = _difference(x, y, least)
            item = Comparison(case, name, count, relative, absolute, largest >= least)
            if not relative <= self.allowed.relative:
                if not np.isfinite(relative):
                    _blame(self.trace, f"output {name!r} is not finite ({case})")
                raise Differs(
                    f"output {name!r} differs by {relative:.3g} of {item.scale} from {self.reference} ({case}); "
                    f"{self.allowed.relative:.1g} is allowed",
                    relative,
                )
            result.append(item)
        return result

    def _tells(self, wrong: Outputs, right: _Known, differences: Mapping[str, float]) -> bool:
        """Whether some value shows that a plan is wrong; `differences` are those of the right one."""
        for name, difference in differences.items():
            z, y = self._kept(name, wrong), right.read(name)
            if z.shape != y.shape or self.allowed.tells(difference, _difference(z, y, self.allowed.least(z, y))[0]):
                return True
        return False

    def _kept(self, name: str, files: Outputs) -> NDArray[Any]:
        return self.trace.kept_part(name, self.keep, read(files[name]))


class _Known:
    """Outputs that wrong plans are held against, one after the other: small ones are read once."""

    def __init__(self, files: Outputs) -> None:
        self._files, self._room = files, KNOWN_BYTES
        self._known: dict[str, NDArray[Any]] = {}

    def read(self, name: str) -> NDArray[Any]:
        if name in self._known:
            return self._known[name]
        found = read(self._files[name])
        if found.nbytes <= self._room:
            self._room -= found.nbytes
            self._known[name] = found
        return found


def check_loads(model: Model, original: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    """Of what ran for `model` and for its result. Raises Unloadable, or VerificationError."""
    if "load" in original:
        words = unknown(model)
        if words is not None:
            raise Unloadable(words, hint=way_on(model))
        raise Unloadable(
            f"ONNX Runtime cannot load {model.name}, the original (with masks): {_without_path(original['load'])}",
            hint="What cannot be run cannot be proven, and nothing is written without a proof.",
        )
    if "load" in result:
        raise VerificationError(f"ONNX Runtime cannot load the result: {_without_path(result['load'])}")
    require("the result", result.get("refused", {}), original.get("refused", {}))


def _without_path(error: str) -> str:
    """What ONNX Runtime says, without the file of ours that it was told to load."""
    return re.sub(r"Load model from .*? failed: ?", "", error)


def _blame(trace: Trace, what: str) -> None:
    """Raise NoNumbers if a weight of the original is to blame."""
    found = culprit(trace.graph)
    if found is not None:
        raise NoNumbers(f"{what}, since {found}", hint=AGAIN)


def _places(outcome: Mapping[str, Any]) -> dict[str, Place]:
    """Name -> place of the outputs that are arrays of numbers."""
    return {name: place for name, place in zip(outcome["names"], outcome["places"], strict=True) if place}


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
