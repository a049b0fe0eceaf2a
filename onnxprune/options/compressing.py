"""The options of what weighs all levers: `compress`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from onnxprune.options.declare import REMOVE, Options, option
from onnxprune.options.quantizing import Bounds, Processor
from onnxprune.options.repairing import Lasting, Score
from onnxprune.options.running import Calibration, Form, Helped, Result, Running, Told


@dataclass(frozen=True, kw_only=True)
class Levers(Options):
    """How far, and by what."""

    target: str | None = option(
        None,
        "What may be left: latency=33% or latency=4ms, measured here, with --threads; or size=25% or size=2MB, of the "
        "file. Without it: as fast as the bounds allow.",
        group=REMOVE,
        metavar="COST",
        recorded=True,
    )
    sparse: bool = option(
        False,
        "Zeros are a lever, too: weights leave in blocks that onnxprune's operators skip (any runtime runs the file; "
        "with the library, fast).",
        group=REMOVE,
        recorded=True,
    )
    without: Sequence[Literal["channels", "blocks", "int8", "zeros"]] = option(
        (),
        "A lever that is not to be used: narrower layers, whole residual blocks, integers, or the zeros of --sparse. "
        "Repeatable.",
        group=REMOVE,
        recorded=True,
    )
    exclude: Sequence[str] = option(
        (),
        "Leave these layers as they are: a name, a glob, or type:Conv. Repeatable.",
        group=REMOVE,
        metavar="PATTERN",
        recorded=True,
    )


@dataclass(frozen=True, kw_only=True)
class Compressing(Levers, Processor, Bounds, Lasting, Calibration, Running):
    """What `compress` is asked for besides files."""


@dataclass(frozen=True, kw_only=True)
class CompressOptions(Compressing, Score, Result, Helped, Form, Told):
    """Of `compress`. A plan lists what it records in the order of this file."""

    NAME: ClassVar[str] = "compress"
    EXAMPLES: ClassVar[Any] = (
        (
            "A third of the time, by integers first and then by what costs least:",
            "compress m.onnx --target latency=33% --data calib.npz",
        ),
        ("As fast as an agreement of 98 % on samples allows:", "compress m.onnx --min-agreement 98% --data calib.npz"),
    )
    DIFFERS: ClassVar[Any] = {
        "output": {"shown": "MODEL's stem + .compressed.onnx, beside MODEL"},
        "dry_run": {"help": "Choose and report; write no model."},
        "effort": {
            "help": "How long weights are adjusted: quick (0.35), normal, thorough (8), or N times as many steps as "
            "normal. What held-out samples say is best is written."
        },
        "threads": {"help": "Of measured runs. What is not measured uses all cores."},
        "max_drop": {"help": "How far the metric may fall, in its unit. Without --target: as fast as that allows."},
        "min_agreement": {"help": "The share of held-out samples that must keep their top class, 0.99 or 99%."},
        "max_error": {"help": "How far outputs may be off on held-out samples, relative to their size."},
    }
