"""What a call of `shrink` asks for, once defaults are filled in and contradictions refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from onnxprune.choose.allocate.device import HERE, find_device
from onnxprune.choose.criteria import needs_data
from onnxprune.choose.ranking import Options
from onnxprune.choose.schedule import ONE_SHOT, resolved
from onnxprune.choose.target import Target, parse_target
from onnxprune.errors import UsageError
from onnxprune.results.units import listed

REPAIRS = ("auto", "none", "bias", "merge", "scale-shift", "least-squares", "reconstruct")
WITH_SAMPLES = ("scale-shift", "least-squares", "reconstruct")
DEFAULT_RATIO = 0.5
WITH_DATA, WITHOUT_DATA = "obs", "l1"
BLOCK_ERROR, BLOCK_ENERGY = "block-error", "block-energy"  # how blocks are ranked, with and without data
GIVE_DATA = "Give samples with --data (a .npz, a folder, ..., or random)"
AUTO = "auto"
OPTIONS = (
    *("scope", "normalise", "aggregate", "include", "exclude", "multiple_of", "device", "min_keep", "units"),
    *("schedule", "steps", "repair", "seed"),
)
"""Of `resolve`: what is asked for besides an amount, a criterion and samples."""


@dataclass(frozen=True)
class Request:
    """`repair` is one of REPAIRS, but not auto. `target_text` is the target as it was given."""

    options: Options
    repair: str
    target: Target | None = None
    target_text: str | None = None
    auto_multiple: bool = False  # `options.multiple_of` is to be measured
    schedule: str = ONE_SHOT
    steps: int = 1
    with_data: bool = False
    measured_multiple: bool = False  # `options.multiple_of` was measured

    def recorded(self, samples: int | None) -> dict[str, Any]:
        """What a plan says of its making: no paths, no names of files."""
        options = self.options
        return {
            "ratio": options.ratio if self.target is None else None,
            "target": self.target_text,
            "criterion": options.criterion,
            "scope": options.scope,
            "normalise": options.normalise,
            "aggregate": options.aggregate,
            "include": list(options.include),
            "exclude": list(options.exclude),
            "multiple_of": options.multiple_of,
            "device": options.device.name,
            "min_keep": options.min_keep,
            "repair": self.repair,
            "samples": samples,
            "seed": options.seed,
            **({"schedule": self.schedule, "steps": self.steps} if self.steps > 1 else {}),
        }


def resolve(
    *,
    ratio: float | None,
    target: str | None,
    criterion: str | None,
    scope: str | None,
    repair: str,
    with_data: bool,
    preprocess: str | None,
    samples: int | None,
    normalise: Any,
    aggregate: Any,
    include: Sequence[str],
    exclude: Sequence[str],
    multiple_of: int | str | None,
    min_keep: str | int | float,
    seed: int,
    device: str = HERE,
    units: str = "channels",
    schedule: str | None = None,
    steps: int | None = None,
) -> Request:
    """Raises UsageError for options that contradict each other or need data that is not there."""
    if ratio is not None and target is not None:
        raise UsageError("--ratio and --target exclude each other.", hint="Say the share, or what may be left.")
    check_data_options(with_data, preprocess, samples)
    blocks = units == "blocks"
    if blocks:
        _only_for_channels(criterion, scope, normalise, aggregate, multiple_of, min_keep)
    name = criterion if criterion is not None else WITH_DATA if with_data else WITHOUT_DATA
    if not blocks and needs_data(name) and not with_data:
        raise UsageError(
            f"criterion {name!r} judges channels by calibration data, and there is none.",
            hint=f"{GIVE_DATA}, or choose by weights: --criterion {WITHOUT_DATA}.",
        )
    if scope is None:
        scope = "global" if with_data and target is not None else "local"
    if not blocks:
        _check_normalise(normalise, scope, with_data)
    options = Options(
        DEFAULT_RATIO if ratio is None else ratio,
        (BLOCK_ERROR if with_data else BLOCK_ENERGY) if blocks else name,
        scope,
        normalise,
        aggregate,
        listed(include),
        listed(exclude),
        _multiple(multiple_of),
        min_keep,
        seed,
        find_device(device),
    )
    _check_device(device, multiple_of)
    wanted = None if target is None else parse_target(target)
    schedule, steps = _schedule(schedule, steps, blocks, wanted)
    fix = _repair(repair, with_data, blocks)
    return Request(options, fix, wanted, target, multiple_of == AUTO, schedule, steps, with_data)


def _check_normalise(normalise: Any, scope: str, with_data: bool) -> None:
    """Scores of different groups are compared by a global ranking only; with samples, errors are."""
    if normalise == "mean" or (scope == "global" and not with_data):
        return
    why = (
        "with --data groups are compared by errors"
        if scope == "global"
        else "with --scope local groups are not compared"
    )
    raise UsageError(
        f"--normalise {normalise} has no effect: {why}.",
        hint="Leave out --normalise"
        + (", or --data." if scope == "global" else ", or rank all channels: --scope global."),
    )


def _check_device(device: str, multiple_of: int | str | None) -> None:
    if device != HERE and multiple_of is not None:
        raise UsageError(
            f"--device {device} has no effect with --multiple-of {multiple_of}, which says the widths itself.",
            hint="Leave out one of them.",
        )


def check_data_options(with_data: bool, preprocess: str | None, samples: int | None) -> None:
    """Raises UsageError for options of samples that are not there."""
    if not with_data and (preprocess is not None or samples is not None):
        flag = "--preprocess" if preprocess is not None else "--samples"
        raise UsageError(f"{flag} has no effect without --data.", hint=f"{GIVE_DATA}, or leave out {flag}.")


def _schedule(schedule: str | None, steps: int | None, blocks: bool, target: Target | None) -> tuple[str, int]:
    """The schedule and its number of steps."""
    name, count = resolved(schedule, steps)
    if name == ONE_SHOT:
        return name, count
    if blocks:
        raise UsageError("--schedule has no effect with --units blocks: they leave one by one.")
    if target is not None and target.kind not in ("macs", "params"):
        raise UsageError(
            f"--schedule {name} goes with what is counted before it is cut, not with {target.kind}.",
            hint="Give --target macs=... or params=..., or --ratio.",
        )
    return name, count


def _multiple(asked: int | str | None) -> int | None:
    if asked is None or asked == AUTO:
        return None
    if not isinstance(asked, int):
        raise UsageError(f"--multiple-of is a number of channels, or {AUTO}, found {asked!r}")
    return asked


def _only_for_channels(
    criterion: str | None,
    scope: str | None,
    normalise: Any,
    aggregate: Any,
    multiple_of: int | str | None,
    min_keep: Any,
) -> None:
    """Blocks are ranked in one way only, and nothing is counted within them."""
    given = {
        "--criterion": criterion is not None,
        "--scope": scope is not None,
        "--normalise": normalise != "mean",
        "--aggregate": aggregate != "mean",
        "--multiple-of": multiple_of is not None,
        "--min-keep": str(min_keep) != "1",
    }
    wrong = [flag for flag, found in given.items() if found]
    if wrong:
        raise UsageError(
            f"{wrong[0]} is about channels, and has no effect with --units blocks.", hint=f"Leave out {wrong[0]}."
        )


def _repair(asked: str, with_data: bool, blocks: bool) -> str:
    if asked not in REPAIRS:
        raise UsageError(f"--repair is {', '.join(REPAIRS[:-1])} or {REPAIRS[-1]}, found {asked!r}")
    if blocks and asked not in ("auto", "none", "reconstruct"):
        raise UsageError(
            f"--repair {asked} has no effect with --units blocks: no layer loses inputs.",
            hint=f"{GIVE_DATA} for --repair reconstruct, or take --repair none.",
        )
    if asked in WITH_SAMPLES and not with_data:
        raise UsageError(
            f"--repair {asked} needs calibration data.",
            hint=f"{GIVE_DATA}, or take --repair {'none' if blocks else 'merge'}.",
        )
    if asked == "auto":
        return "reconstruct" if with_data else "none" if blocks else "merge"
    return asked
