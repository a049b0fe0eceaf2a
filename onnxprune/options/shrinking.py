"""The options of what makes models smaller: `shrink`, `sparsify`, `sweep`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from onnxprune.options.choosing import Amount, Layers, Scope, Scores, Steps, Units, Widths
from onnxprune.options.declare import (
    ADVANCED,
    INTEGERS,
    MEASURE,
    OUTPUT,
    PATH,
    REMOVE,
    REPAIR,
    SWITCH,
    ZEROS,
    Options,
    option,
)
from onnxprune.options.lists import METHODS
from onnxprune.options.quantizing import Bounds
from onnxprune.options.repairing import Mending, Score, ZeroAmount, ZeroForm, ZeroLimits, Zeros
from onnxprune.options.running import (
    Calibration,
    Force,
    Form,
    Helped,
    Logged,
    Page,
    Random,
    Result,
    Running,
    Target,
    TimedRuns,
    Told,
    Unproven,
    Weights,
)

if TYPE_CHECKING:
    from onnxprune.results import Plan


@dataclass(frozen=True, kw_only=True)
class Choosing(Amount, Scope, Scores, Layers, Widths, Units, Zeros, Mending, Calibration, Running, Steps):
    """What `shrink` is asked for besides files."""


@dataclass(frozen=True, kw_only=True)
class ShrinkOptions(Choosing, Score, Bounds, Result, Helped, Form, Told):
    """Of `shrink`. A plan lists what it records in the order of this file."""

    NAME: ClassVar[str] = "shrink"
    EXAMPLES: ClassVar[Any] = (
        ("Half of the multiply-accumulates, repaired on samples:", "shrink m.onnx --target macs=50% --data calib.npz"),
        ("What may leave while a score falls by 1 at most:", "shrink m.onnx --metric score.py:top1 --max-drop 1"),
    )
    DIFFERS: ClassVar[Any] = {
        "output": {"shown": "MODEL's stem + .pruned.onnx, beside MODEL"},
        "max_drop": {
            "help": "How far the metric may fall, in its unit. Without --ratio, --target, --plan: all that allows goes."
        },
        "min_agreement": {
            "help": "The share of held-out samples that must keep their top class, 0.99 or 99%: needs no labels. "
            "Without --ratio, --target, --plan: all that allows goes.",
        },
        "max_error": {
            "group": REPAIR,
            "help": "How far outputs may be off on held-out samples, relative to their size. Without --ratio, "
            "--target, --plan: all that allows goes. With --sparsity or --pattern instead: layers whose output would "
            "be further off stay dense (mean squared error, as a share of its variance).",
        },
    }
    plan: Plan | None = option(
        None, "Remove what this plan says.", group=OUTPUT, metavar="FILE", kind=PATH, file=False, point=False
    )
    save_plan: str | None = option(
        None, "Write the plan as JSON.", group=OUTPUT, metavar="FILE", kind=PATH, file=False, python=False
    )
    verify: bool = option(
        True,
        "False skips the proof: for experiments. The commands never do.",
        group=ADVANCED,
        line=False,
        silent=True,
        point=False,
    )


@dataclass(frozen=True, kw_only=True)
class Masking(ZeroAmount, Scope, ZeroForm, Layers, ZeroLimits, Mending, Calibration, Running, Steps):
    """What `sparsify` is asked for besides files."""

    scope: Literal["local", "global"] | None = option(
        None, "The same share of every layer, or more where it costs less.", group=ZEROS, shown="local", recorded=True
    )
    repair: Literal["auto", "none", "least-squares", "reconstruct"] = option(
        "auto",
        "Make up for what left, with --data: each layer's other weights are refitted (least-squares), and then all "
        "weights of the network together, by gradients (reconstruct).",
        group=REPAIR,
        shown="reconstruct with --data, otherwise none",
        recorded=True,
    )


@dataclass(frozen=True, kw_only=True)
class SparsifyOptions(Masking, Result, Form, Told):
    """Of `sparsify`. A plan lists what it records in the order of this file."""

    NAME: ClassVar[str] = "sparsify"
    EXAMPLES: ClassVar[Any] = (
        ("Four of five weights, refitted on samples:", "sparsify m.onnx --sparsity 80% --data calib.npz"),
        ("Two of four, as zeros for another runtime:", "sparsify m.onnx --pattern 2:4 --emit dense-zeros"),
    )
    DIFFERS: ClassVar[Any] = {
        "output": {"shown": "MODEL's stem + .sparse.onnx, beside MODEL"},
        "include": {"group": ZEROS, "help": "Only these layers: a name, a glob, or type:Conv. Repeatable."},
        "exclude": {"group": ZEROS, "help": "Leave these layers dense; wins over --include. Repeatable."},
        "schedule": {
            "help": "Let weights leave in steps, each followed by repair: equal ones (linear), equal shares of what is "
            "left (exp), small ones first and last (cos), or large ones first (cube). Takes as many times as long."
        },
        "dry_run": {"help": "Choose, refit and report; write no model."},
    }


@dataclass(frozen=True, kw_only=True)
class Lists(Options):
    """The points of a sweep: every amount with every criterion."""

    ratios: str | Sequence[str | float] = option(
        (), "Shares of the channels that leave: 0.2,0.4,0.6.", group=REMOVE, metavar="SHARE,.."
    )
    targets: str | Sequence[str] = option(
        (),
        "What may be left: macs=75%,params=1M,size=2MB,latency=50%.",
        group=REMOVE,
        metavar="COST,..",
        shown="macs=75%,macs=50%,macs=25%, without --ratios",
    )
    criteria: str | Sequence[str] = option(
        (),
        "How channels are ranked: obs,l1. onnxprune shrink --help lists them.",
        group=REMOVE,
        metavar="NAME,..",
        shown="obs with --data, otherwise l1",
    )


@dataclass(frozen=True, kw_only=True)
class Shared(Scope, Scores, Layers, Widths, Units, Zeros, Mending, Calibration, Steps, Weights, Unproven, Random):
    """What all points of a sweep have, as `shrink` has it."""


@dataclass(frozen=True, kw_only=True)
class SweepOptions(Lists, Shared, Score, TimedRuns, Target, Page, Force, Logged, Form, Told):
    """Of `sweep`."""

    NAME: ClassVar[str] = "sweep"
    EXAMPLES: ClassVar[Any] = (
        ("Six points, judged by a score of yours:", "sweep m.onnx --ratios 0.2,0.4,0.6 --criteria obs,l1 --data d.npz"),
        ("What is left of latency:", "sweep m.onnx --targets latency=75%,latency=50% --data d.npz --report r.html"),
    )
    DIFFERS: ClassVar[Any] = {
        "metric": {
            "help": "Your own score: a function from the path of a model to a number, higher is better. It runs here."
        },
        "threads": {"help": "Of measured runs."},
        "time": {
            "help": "Instead of --effort: how long each point may take, about (1h, 20m, 90s). How much effort that is "
            "follows from the speed of its first steps."
        },
        "seconds": {"help": "How long to time all models, a dozen together.", "shown": "2 for each model, 5 at least"},
        "seed": {"help": "Of everything random."},
        "external_data": {"help": "Weights in a file of their own (auto: above 2 GB)."},
        "force": {"help": "Replace the page if it exists."},
        "output": {
            "help": "Where the points are kept.",
            "metavar": "FOLDER",
            "shown": "MODEL's stem + .sweep, beside MODEL",
        },
        "method": {"help": f"How the weights that leave are chosen: {', '.join(METHODS)}."},
    }
    bench: bool = option(
        True, "Measure latency, here, at the end.", group=MEASURE, kind=SWITCH, shown=True, point=False
    )
    quantize: bool = option(
        False,
        "Every point in int8 as well, and the original: quantised on --data, all layers that can be.",
        group=INTEGERS,
        point=False,
    )
    jobs: int = option(
        0,
        "Points at a time, each in a process of its own; the cores are shared out among them.",
        group=ADVANCED,
        metavar="N",
        least=0,
        shown="as cores and memory allow",
    )
    scheduler: str | None = option(
        None,
        "Compute on the Dask cluster whose scheduler is there (tcp://host:8786), with the same results.",
        group=ADVANCED,
        metavar="ADDRESS",
        file=False,
    )
