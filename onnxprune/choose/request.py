"""What a call of `shrink` asks for, once defaults are filled in and contradictions refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from onnxprune.choose.allocate.device import HERE, find_device
from onnxprune.choose.criteria import needs_data
from onnxprune.choose.ranking import Options
from onnxprune.choose.schedule import ONE_SHOT, resolved
from onnxprune.choose.target import Target, parse_target
from onnxprune.errors import UsageError
from onnxprune.options.choosing import Steps
from onnxprune.options.declare import choices, names, plain, recorded, values
from onnxprune.options.repairing import Lasting, Mending, Zeros
from onnxprune.options.running import Calibration, Feed, Samples
from onnxprune.options.shrinking import ShrinkOptions
from onnxprune.results.units import listed

REPAIRS = choices(Mending, "repair")
RECONSTRUCT = "reconstruct"
WITH_SAMPLES = ("scale-shift", "least-squares", RECONSTRUCT)
DEFAULT_RATIO = 0.5
WITH_DATA, WITHOUT_DATA = "obs", "l1"
BLOCK_ERROR, BLOCK_ENERGY = "block-error", "block-energy"  # how blocks are ranked, with and without data
GIVE_DATA = "Give samples with --data (a .npz, a folder, ..., or random)"
AUTO = "auto"


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
    effort: float = 1.0
    """times the usual steps of reconstruction"""
    asked: ShrinkOptions = field(default_factory=ShrinkOptions)  # as given

    def recorded(self, samples: int | None) -> dict[str, Any]:
        """What a plan says of its making: no paths, no names of files. What became of zeros, their stage says."""
        options = self.options
        found = values(self.asked) | vars(options) | {"target": self.target_text, "device": options.device.name}
        found |= {"ratio": options.ratio if self.target is None else None, "repair": self.repair, "samples": samples}
        found |= {"schedule": self.schedule, "steps": self.steps, "effort": self.effort}
        left_out = {*names(Zeros), *(names(Steps) if self.steps == 1 else ()), "min_agreement"}
        left_out |= {*(["effort"] if self.effort == 1 else []), *usual(self.asked)}
        said = {name: plain(found[name]) for name in recorded(ShrinkOptions) if name not in left_out}
        return said | {name: value for name, value in self.bounds.items() if value is not None}

    @property
    def bounds(self) -> dict[str, float | None]:
        """What is allowed without labels. Of sparse weights `max_error` says something else."""
        zeros = self.asked.sparsity is not None or self.asked.pattern is not None
        return {
            "min_agreement": self.asked.min_agreement,
            "max_error": None if zeros else self.asked.max_error,
        }


def resolve(asked: ShrinkOptions) -> Request:
    """Raises UsageError for options that contradict each other or need data that is not there."""
    if asked.ratio is not None and asked.target is not None:
        raise UsageError("--ratio and --target exclude each other.", hint="Say the share, or what may be left.")
    check_data_options(asked)
    blocks, with_data = asked.units == "blocks", asked.data is not None
    if blocks:
        _only_for_channels(asked)
    name = asked.criterion if asked.criterion is not None else WITH_DATA if with_data else WITHOUT_DATA
    if not blocks and needs_data(name) and not with_data:
        raise UsageError(
            f"criterion {name!r} judges channels by calibration data, and there is none.",
            hint=f"{GIVE_DATA}, or choose by weights: --criterion {WITHOUT_DATA}.",
        )
    scope = asked.scope
    if scope is None:
        scope = "global" if with_data and asked.target is not None else "local"
    if not blocks:
        _check_normalise(asked.normalise, scope, with_data)
    options = Options(
        DEFAULT_RATIO if asked.ratio is None else asked.ratio,
        (BLOCK_ERROR if with_data else BLOCK_ENERGY) if blocks else name,
        scope,
        asked.normalise,
        asked.aggregate,
        listed(asked.include),
        listed(asked.exclude),
        asked.multiple_of if isinstance(asked.multiple_of, int) else None,
        asked.min_keep,
        asked.seed,
        find_device(asked.device),
    )
    _check_device(asked.device, asked.multiple_of)
    wanted = None if asked.target is None else parse_target(asked.target)
    schedule, steps = _schedule(asked.schedule, asked.steps, blocks, wanted)
    fix = _repair(asked.repair, with_data, blocks)
    return Request(
        options,
        fix,
        wanted,
        asked.target,
        asked.multiple_of == AUTO,
        schedule,
        steps,
        with_data,
        effort=effort_of(asked, fix),
        asked=asked,
    )


def usual(asked: Calibration) -> set[str]:
    """What a plan says of how samples were run only where that was not the usual way."""
    return {"provider"} if asked.provider == Calibration.provider else set()


def effort_of(asked: Lasting, repair: str) -> float:
    """Times the usual steps. Raises UsageError where there are none."""
    found = asked.times
    option = f"--effort {asked.effort}" if asked.allowed is None else f"--time {asked.time}"
    if (found != 1 or asked.allowed is not None) and repair != RECONSTRUCT:
        raise UsageError(
            f"{option} has no effect with --repair {repair}: nothing is adjusted by gradients.",
            hint=f"{GIVE_DATA} for --repair {RECONSTRUCT}, or leave out {option.split()[0]}.",
        )
    return found


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


def check_data_options(asked: Feed) -> None:
    """Raises UsageError for options of samples that are not there."""
    samples = asked.samples if isinstance(asked, Samples) else None
    if asked.data is None and (asked.preprocess is not None or samples is not None):
        flag = "--preprocess" if asked.preprocess is not None else "--samples"
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


def _only_for_channels(asked: ShrinkOptions) -> None:
    """Blocks are ranked in one way only, and nothing is counted within them."""
    given = {
        "--criterion": asked.criterion is not None,
        "--scope": asked.scope is not None,
        "--normalise": asked.normalise != "mean",
        "--aggregate": asked.aggregate != "mean",
        "--multiple-of": asked.multiple_of is not None,
        "--min-keep": str(asked.min_keep) != "1",
    }
    wrong = [flag for flag, found in given.items() if found]
    if wrong:
        raise UsageError(
            f"{wrong[0]} is about channels, and has no effect with --units blocks.", hint=f"Leave out {wrong[0]}."
        )


def _repair(asked: str, with_data: bool, blocks: bool) -> str:
    if blocks and asked not in ("auto", "none", RECONSTRUCT):
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
        return RECONSTRUCT if with_data else "none" if blocks else "merge"
    return asked
