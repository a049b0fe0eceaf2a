"""What a call of `compress` asks for, once defaults are filled in and contradictions refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from onnxprune.choose.request import GIVE_DATA, Request, resolve, usual
from onnxprune.choose.target import Target, parse_target
from onnxprune.errors import UsageError
from onnxprune.options.compressing import Compressing
from onnxprune.options.declare import plain, recorded, values
from onnxprune.options.quantizing import Quantizing
from onnxprune.options.shrinking import Masking, ShrinkOptions
from onnxprune.quantizing.limits import Limits
from onnxprune.quantizing.request import QuantizeRequest, resolve_quantization
from onnxprune.repair.lessons import Effort
from onnxprune.sparsifying.request import SparseRequest, resolve_sparsity

Lever = Literal["channels", "blocks", "all"]
"""What leaves; all: blocks, and then channels."""
CHANNELS: Lever = "channels"
BLOCKS: Lever = "blocks"
ALL: Lever = "all"
INT8, ZEROS = "int8", "zeros"
CUTS: tuple[Lever, ...] = (CHANNELS, BLOCKS, ALL)
PARTS: Mapping[Lever, frozenset[str]] = {
    CHANNELS: frozenset({CHANNELS}),
    BLOCKS: frozenset({BLOCKS}),
    ALL: frozenset({CHANNELS, BLOCKS}),
}
"""What of `--without` each is made of."""
KINDS = ("latency", "size")


@dataclass(frozen=True)
class CompressRequest:
    """`target` is None if the bounds alone say how far. `asked`: the options as given."""

    target: Target | None
    limits: Limits
    without: frozenset[str]
    """levers that are not to be used; zeros are one of them unless `--sparse` is given"""
    integers: QuantizeRequest
    asked: Compressing

    def effort(self, times: float, most: float = math.inf) -> Effort:
        """`times` the usual steps and `most` multiply-accumulates at normal effort, as the user wants it."""
        return Effort(times * self.asked.times, most * self.asked.times)

    @property
    def kind(self) -> str:
        """Of the cost that is to become small."""
        return "latency" if self.target is None else self.target.kind

    def cut(self, lever: Lever, target: str) -> Request:
        """What is asked of a lever so that the result costs `target`."""
        units: Literal["channels", "blocks"] = "blocks" if lever == BLOCKS else "channels"
        return resolve(
            ShrinkOptions(
                data=self.asked.data, target=target, units=units, exclude=self.asked.exclude, seed=self.asked.seed
            )
        )

    def zeros(self, share: float, times: float) -> SparseRequest:
        """What is asked of weights of which `share` leaves, repaired in `times` the usual steps at normal effort. Bytes
        hang on how many stay, time on the blocks.
        """
        pattern = "unstructured" if self.kind == "size" else "auto"
        asked = Masking(
            data=self.asked.data,
            sparsity=share,
            pattern=pattern,
            repair="reconstruct",
            effort=times * self.asked.times,
            exclude=self.asked.exclude,
            seed=self.asked.seed,
        )
        return resolve_sparsity(asked, with_data=True)

    def recorded(self, samples: int) -> dict[str, Any]:
        """What a plan says of its making: no paths, no names of files."""
        found = values(self.asked) | {"effort": self.asked.times, "samples": samples, "device": self.integers.device}
        left_out = {*([] if self.asked.sparse else ["sparse"]), *(["effort"] if self.asked.times == 1 else [])}
        left_out |= usual(self.asked)
        return {name: plain(found[name]) for name in recorded(Compressing) if name not in left_out}


def resolve_compression(asked: Compressing) -> CompressRequest:
    """Raises UsageError for options that contradict each other, ask for nothing, or need data that is not there."""
    if asked.data is None:
        raise UsageError(
            "compress chooses and repairs by samples, and there are none.", hint=f"{GIVE_DATA}; labels are not needed."
        )
    _ = asked.times, asked.allowed  # checked
    target = None if asked.target is None else parse_target(asked.target)
    if target is not None and target.kind not in KINDS:
        raise UsageError(
            f"--target {asked.target}: compress weighs levers by what they save in time (latency=) or bytes (size=), "
            f"and {target.kind} are neither.",
            hint=f"Give latency=33% or size=25%; onnxprune shrink has {target.kind}=.",
        )
    integers = resolve_quantization(
        Quantizing(
            data=asked.data,
            max_drop=asked.max_drop,
            min_agreement=asked.min_agreement,
            max_error=asked.max_error,
            exclude=asked.exclude,
            device=asked.device,
            effort=asked.effort,
            seed=asked.seed,
        ),
        with_data=True,
    )
    if target is None and not integers.limits.given:
        raise UsageError(
            "nothing says how far to go.",
            hint="Give --target latency=33%, or a bound: --min-agreement 98%, --max-error 0.05, or --metric with "
            "--max-drop.",
        )
    if ZEROS in asked.without and not asked.sparse:
        raise UsageError(f"--without {ZEROS} has no effect without --sparse.", hint="Leave it out.")
    without = frozenset(asked.without) | (frozenset() if asked.sparse else {ZEROS})
    if without >= {CHANNELS, BLOCKS, INT8, ZEROS}:
        raise UsageError("--without leaves no lever.", hint="Leave one of them in.")
    return CompressRequest(target, integers.limits, without, integers, asked)
