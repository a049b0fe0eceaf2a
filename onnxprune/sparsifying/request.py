"""What a call asks of sparsity, once defaults are filled in and contradictions refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from onnxprune.choose.request import AUTO, GIVE_DATA, Request, effort_of, usual
from onnxprune.choose.schedule import ONE_SHOT, resolved
from onnxprune.errors import UsageError
from onnxprune.options.choosing import Steps
from onnxprune.options.declare import choices, declared, names, plain, recorded, values
from onnxprune.options.repairing import ZeroForm, Zeros
from onnxprune.options.shrinking import Masking
from onnxprune.results.units import listed
from onnxprune.sparse.patterns import FLOAT_ROWS, Pattern, parse_pattern
from onnxprune.sparsifying.masks import NEED_DATA, REPAIRS, SCOPES, MaskRequest, get

OPERATORS, DENSE_ZEROS, SPARSE_INITIALIZERS = EMITS = choices(ZeroForm, "emit")
DEFAULT_PATTERN = "4x1"
CANDIDATES = tuple(Pattern(rows) for rows in FLOAT_ROWS)
"""What `--pattern auto` chooses from; integer layers have the same in their blocks."""
WITH_DATA, WITHOUT_DATA = "obs", "magnitude"


@dataclass(frozen=True)
class SparseRequest:
    """`pattern` is None if it is to be measured (auto); `repair` is one of masking's. `max_error`: layers whose error
    stays above it stay dense."""

    sparsity: float
    pattern: Pattern | None
    method: str
    scope: str
    repair: str
    emit: str = OPERATORS
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    lock: bool = False
    max_error: float | None = None
    schedule: str = ONE_SHOT
    steps: int = 1
    seed: int = 0
    effort: float = 1.0
    asked: Masking = field(default_factory=Masking)  # as given

    @property
    def pattern_text(self) -> str:
        return AUTO if self.pattern is None else str(self.pattern)

    def masks(
        self, patterns: Mapping[str, Pattern], dense: Mapping[str, str], integers: Mapping[str, str]
    ) -> MaskRequest:
        """For `masked`: `patterns` by weight where they were measured, `dense` weights with the reason; `integers`."""
        return MaskRequest(
            self.sparsity,
            parse_pattern(DEFAULT_PATTERN) if self.pattern is None else self.pattern,
            self.method,
            self.scope,
            self.repair,
            patterns,
            dense,
            integers,
            self.lock,
            self.schedule,
            self.steps,
            self.seed,
            self.effort,
        )

    def recorded(self, samples: int | None) -> dict[str, Any]:
        """What a plan says of its making: no paths, no names of files."""
        found = values(self.asked) | vars(self) | {"pattern": self.pattern_text, "samples": samples}
        left_out = {*(names(Steps) if self.steps == 1 else ()), *({"effort"} if self.effort == 1 else ())}
        left_out |= usual(self.asked)
        return {name: plain(found[name]) for name in recorded(Masking) if name not in left_out}


def resolve_sparsity(options: Masking, *, with_data: bool) -> SparseRequest:
    """Raises UsageError for options that contradict each other or need data that is not there."""
    wanted = DEFAULT_PATTERN if options.pattern is None else options.pattern
    pattern = None if wanted == AUTO else parse_pattern(wanted)
    name = options.method if options.method is not None else WITH_DATA if with_data else WITHOUT_DATA
    get(name)
    if name in NEED_DATA and not with_data:
        raise UsageError(
            f"--method {name} looks at calibration data, and there is none.",
            hint=f"{GIVE_DATA}, or choose by weights: --method {WITHOUT_DATA}.",
        )
    _check_limit(options.max_error, with_data)
    scope = options.scope if options.scope is not None else SCOPES[0]
    if scope != SCOPES[0] and pattern is not None and pattern.share is not None:
        raise UsageError(
            f"--scope {scope} has no effect with --pattern {pattern}: every layer keeps what the pattern says.",
            hint="Leave out --scope, or name blocks: --pattern 4x1.",
        )
    schedule, steps = resolved(options.schedule, options.steps)
    repair = _repair(options.repair, with_data)
    return SparseRequest(
        _share(options.sparsity, pattern),
        pattern,
        name,
        scope,
        repair,
        options.emit,
        listed(options.include),
        listed(options.exclude),
        options.lock,
        options.max_error,
        schedule,
        steps,
        options.seed,
        effort_of(options, repair),
        options,
    )


def resolve_stage(request: Request, zeros: Zeros, *, bounded: bool = False) -> SparseRequest | None:
    """Sparsity as a stage after what `request` asks of channels; None if neither a sparsity nor a pattern is given.

    `bounded`: without them `max_error` bounds the outputs, which is somebody else's. Raises UsageError.
    """
    if zeros.sparsity is None and zeros.pattern is None:
        ours = [one for one in declared(Zeros) if not (bounded and one.name == "max_error")]
        wrong = [one.flag for one in ours if getattr(zeros, one.name) != one.default]
        if wrong:
            raise UsageError(f"{wrong[0]} has no effect without --sparsity.", hint=f"Leave out {wrong[0]}.")
        return None
    if request.target is not None and request.target.kind not in ("macs", "params"):
        raise UsageError(
            f"--target {request.target.kind}=... is met by removing channels; what sparse weights add is not counted.",
            hint="With --sparsity, give --target macs=... or params=..., or --ratio.",
        )
    options = request.options
    fixed = zeros.pattern is not None and zeros.pattern != AUTO and parse_pattern(zeros.pattern).share is not None
    asked = Masking(
        **values(zeros, Zeros),
        scope=None if fixed else options.scope,  # type: ignore[arg-type]
        repair=request.repair if request.repair in REPAIRS else "none",  # type: ignore[arg-type]
        include=options.include,
        exclude=options.exclude,
        seed=options.seed,
        effort=request.asked.effort,
    )
    return resolve_sparsity(asked, with_data=request.with_data)


def _share(sparsity: float | None, pattern: Pattern | None) -> float:
    """The share that is asked; an N:M pattern says it itself."""
    said = None if pattern is None else pattern.share
    if said is not None:
        if sparsity is not None and abs(sparsity - said) > 1e-6:
            raise UsageError(
                f"--pattern {pattern} means a sparsity of {said:.4g}, found --sparsity {sparsity:.4g}",
                hint="Leave out --sparsity, or choose another pattern.",
            )
        return said
    if sparsity is None:
        raise UsageError("--sparsity is missing: the share of the weights that becomes zero, for example 0.8.")
    if not 0 <= sparsity < 1:
        raise UsageError(f"--sparsity is a share from 0 to less than 1, found {sparsity:.4g}")
    return sparsity


def _check_limit(max_error: float | None, with_data: bool) -> None:
    if max_error is None:
        return
    if not max_error > 0:
        raise UsageError(f"--max-error must be more than 0, found {max_error}")
    if not with_data:
        raise UsageError("--max-error needs calibration data.", hint=f"{GIVE_DATA}, or leave it out.")


def _repair(asked: str, with_data: bool) -> str:
    if asked == AUTO:
        return "reconstruct" if with_data else "none"
    if asked != "none" and not with_data:
        raise UsageError(f"--repair {asked} needs calibration data.", hint=f"{GIVE_DATA}, or take --repair none.")
    return asked
