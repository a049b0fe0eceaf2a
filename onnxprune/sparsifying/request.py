"""What a call asks of sparsity, once defaults are filled in and contradictions refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onnxprune.choose.request import AUTO, GIVE_DATA, Request
from onnxprune.choose.schedule import ONE_SHOT, resolved
from onnxprune.errors import UsageError
from onnxprune.results.units import listed
from onnxprune.sparse.patterns import FLOAT_ROWS, Pattern, parse_pattern
from onnxprune.sparsifying.masks import NEED_DATA, REPAIRS, SCOPES, MaskRequest, get

OPERATORS, DENSE_ZEROS, SPARSE_INITIALIZERS = EMITS = ("operators", "dense-zeros", "sparse-initializers")
DEFAULT_PATTERN = "4x1"
CANDIDATES = tuple(Pattern(rows) for rows in FLOAT_ROWS)
"""What `--pattern auto` chooses from; integer layers have the same in their blocks."""
WITH_DATA, WITHOUT_DATA = "obs", "magnitude"
STAGE_OPTIONS = ("sparsity", "pattern", "method", "emit", "lock", "max_error")
"""Of `resolve_stage`."""
OPTIONS = (*STAGE_OPTIONS, "scope", "repair", "include", "exclude", "schedule", "steps", "seed")
"""Of `resolve_sparsity`."""


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

    @property
    def pattern_text(self) -> str:
        return AUTO if self.pattern is None else str(self.pattern)

    def masks(self, patterns: Mapping[str, Pattern], dense: Mapping[str, str]) -> MaskRequest:
        """For `masked`: `patterns` by weight where they were measured, `dense` weights with the reason."""
        return MaskRequest(
            self.sparsity,
            parse_pattern(DEFAULT_PATTERN) if self.pattern is None else self.pattern,
            self.method,
            self.scope,
            self.repair,
            patterns,
            dense,
            self.lock,
            self.schedule,
            self.steps,
            self.seed,
        )

    def recorded(self, samples: int | None) -> dict[str, Any]:
        """What a plan says of its making: no paths, no names of files."""
        return {
            "sparsity": self.sparsity,
            "pattern": self.pattern_text,
            "method": self.method,
            "scope": self.scope,
            "emit": self.emit,
            "include": list(self.include),
            "exclude": list(self.exclude),
            "lock": self.lock,
            "max_error": self.max_error,
            "repair": self.repair,
            "samples": samples,
            "seed": self.seed,
            **({"schedule": self.schedule, "steps": self.steps} if self.steps > 1 else {}),
        }


def resolve_sparsity(
    *,
    sparsity: float | None,
    pattern: str | None,
    method: str | None,
    scope: str | None,
    repair: str,
    emit: str,
    with_data: bool,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    lock: bool = False,
    max_error: float | None = None,
    schedule: str | None = None,
    steps: int | None = None,
    seed: int = 0,
) -> SparseRequest:
    """Raises UsageError for options that contradict each other or need data that is not there."""
    wanted = DEFAULT_PATTERN if pattern is None else pattern
    asked = None if wanted == AUTO else parse_pattern(wanted)
    name = method if method is not None else WITH_DATA if with_data else WITHOUT_DATA
    get(name)
    if name in NEED_DATA and not with_data:
        raise UsageError(
            f"--method {name} looks at calibration data, and there is none.",
            hint=f"{GIVE_DATA}, or choose by weights: --method {WITHOUT_DATA}.",
        )
    if emit not in EMITS:
        raise UsageError(f"--emit is {', '.join(EMITS[:-1])} or {EMITS[-1]}, found {emit!r}")
    _check_limit(max_error, with_data)
    name_of_scope = _one_of(scope if scope is not None else SCOPES[0], SCOPES, "--scope")
    if name_of_scope != SCOPES[0] and asked is not None and asked.share is not None:
        raise UsageError(
            f"--scope {name_of_scope} has no effect with --pattern {asked}: every layer keeps what the pattern says.",
            hint="Leave out --scope, or name blocks: --pattern 4x1.",
        )
    schedule, steps = resolved(schedule, steps)
    return SparseRequest(
        _share(sparsity, asked),
        asked,
        name,
        name_of_scope,
        _repair(repair, with_data),
        emit,
        listed(include),
        listed(exclude),
        lock,
        max_error,
        schedule,
        steps,
        seed,
    )


def resolve_stage(
    request: Request,
    *,
    sparsity: float | None,
    pattern: str | None,
    method: str | None,
    emit: str,
    lock: bool,
    max_error: float | None,
) -> SparseRequest | None:
    """Sparsity as a stage after what `request` asks of channels; None if neither a sparsity nor a pattern is given.

    Raises UsageError.
    """
    if sparsity is None and pattern is None:
        given = {"--method": method, "--max-error": max_error, "--lock": lock or None}
        wrong = [flag for flag, value in {**given, "--emit": None if emit == OPERATORS else emit}.items() if value]
        if wrong:
            raise UsageError(f"{wrong[0]} has no effect without --sparsity.", hint=f"Leave out {wrong[0]}.")
        return None
    if request.target is not None and request.target.kind not in ("macs", "params"):
        raise UsageError(
            f"--target {request.target.kind}=... is met by removing channels; what sparse weights add is not counted.",
            hint="With --sparsity, give --target macs=... or params=..., or --ratio.",
        )
    options = request.options
    fixed = pattern is not None and pattern != AUTO and parse_pattern(pattern).share is not None
    return resolve_sparsity(
        sparsity=sparsity,
        pattern=pattern,
        method=method,
        scope=None if fixed else options.scope,
        repair=request.repair if request.repair in REPAIRS else "none",
        emit=emit,
        with_data=request.with_data,
        include=options.include,
        exclude=options.exclude,
        lock=lock,
        max_error=max_error,
        seed=options.seed,
    )


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
    _one_of(asked, REPAIRS, "--repair")
    if asked != "none" and not with_data:
        raise UsageError(f"--repair {asked} needs calibration data.", hint=f"{GIVE_DATA}, or take --repair none.")
    return asked


def _one_of(value: str, known: Sequence[str], option: str) -> str:
    if value not in known:
        raise UsageError(f"{option} is {', '.join(known[:-1])} or {known[-1]}, found {value!r}")
    return value
