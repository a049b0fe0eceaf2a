"""The options of what makes numbers smaller: `quantize`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from onnxprune.options.declare import INTEGERS, REPAIR, SHARE, Options, option
from onnxprune.options.repairing import Drop, Lasting, Score
from onnxprune.options.running import Calibration, Form, Result, Running, Told


@dataclass(frozen=True, kw_only=True)
class Processor(Options):
    """What computes with integers."""

    device: Literal["vnni", "x86", "arm"] | None = option(
        None,
        "For which processors: x86 with VNNI (or AMX); x86 without, where sums of bytes saturate and weights get 7 "
        "bits; ARM, which wants signed activations.",
        group=INTEGERS,
        shown="this one",
        recorded=True,
    )


@dataclass(frozen=True, kw_only=True)
class Precision(Processor):
    """What becomes integers, and how."""

    scheme: Literal["auto", "static", "dynamic", "weights"] | None = option(
        None,
        "Layers compute with integers, on ranges that the samples show: all that can (static), or those for which it "
        "pays, measured here (auto); or matrix products and LSTMs do, on the ranges of every run (dynamic); or weights "
        "alone are stored in fewer bits (weights).",
        group=INTEGERS,
        shown="auto with --data, otherwise weights",
        recorded=True,
    )
    weights: Literal["int8", "int4", "fp16"] | None = option(
        None,
        "What weights become; int4 and fp16 with --scheme weights.",
        group=INTEGERS,
        shown="int8",
        recorded=True,
    )
    block: int = option(
        32,
        "Inputs of an output that share a scale, with int4: 16, 32, 64, 128 or 256.",
        group=INTEGERS,
        metavar="N",
        least=16,
        shown=True,
        recorded=True,
    )
    ranges: Literal["least-error", "min-max", "percentile"] = option(
        "least-error",
        "Ranges of activations: of the least squared error; all that was seen; or without the outermost 0.001 %.",
        group=INTEGERS,
        shown=True,
        recorded=True,
    )
    form: Literal["qdq", "qoperator"] = option(
        "qdq",
        "How the file says it, with fixed ranges: operators of floats between quantisers, which runtimes fuse as they "
        "load it (qdq); or operators on integers, for runtimes that do not (qoperator).",
        group=INTEGERS,
        shown=True,
        recorded=True,
    )
    include: Sequence[str] = option(
        (),
        "Quantise only these layers: a name, a glob, or type:Conv. Repeatable.",
        group=INTEGERS,
        metavar="PATTERN",
        recorded=True,
    )
    exclude: Sequence[str] = option(
        (),
        "Leave these layers as they are; wins over --include. Repeatable.",
        group=INTEGERS,
        metavar="PATTERN",
        recorded=True,
    )


@dataclass(frozen=True, kw_only=True)
class Refitting(Lasting):
    """How weights make up for what rounding changes."""

    repair: Literal["auto", "none", "reconstruct"] = option(
        "auto",
        "Adjust all weights on their grids, by gradients, until layers give what they gave (reconstruct): with --data.",
        group=REPAIR,
        shown="reconstruct with --data, otherwise none",
        recorded=True,
    )


@dataclass(frozen=True, kw_only=True)
class Bounds(Drop):
    """How far the result may be from the original."""

    min_agreement: float | None = option(
        None,
        "The share of held-out samples that must keep their top class, 0.99 or 99%; the fastest such choice is taken.",
        group=REPAIR,
        metavar="SHARE",
        kind=SHARE,
        recorded=True,
    )
    max_error: float | None = option(
        None,
        "How far outputs may be off on held-out samples, relative to their size; the fastest such choice is taken.",
        group=REPAIR,
        metavar="E",
        recorded=True,
    )


@dataclass(frozen=True, kw_only=True)
class Quantizing(Precision, Refitting, Bounds, Calibration, Running):
    """What `quantize` is asked for besides files."""


@dataclass(frozen=True, kw_only=True)
class QuantizeOptions(Quantizing, Score, Result, Form, Told):
    """Of `quantize`. A plan lists what it records in the order of this file."""

    NAME: ClassVar[str] = "quantize"
    EXAMPLES: ClassVar[Any] = (
        ("8-bit integers, on ranges that samples show:", "quantize m.onnx --data calib.npz"),
        ("As fast as a score of yours allows:", "quantize m.onnx --data d.npz --metric score.py:top1 --max-drop 0.5"),
    )
    DIFFERS: ClassVar[Any] = {
        "output": {"shown": "MODEL's stem + .int8.onnx (.int4, .fp16), beside MODEL"},
        "dry_run": {"help": "Choose, refit and report; write no model."},
        "max_drop": {"help": "How far the metric may fall, in its unit; the fastest such choice is taken."},
    }
