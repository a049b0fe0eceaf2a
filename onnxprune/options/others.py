"""The options of what measures, stores, shows and proves: `bench`, `check`, `pack`, `verify`, `inspect`, ..."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from onnxprune.options.choosing import Units
from onnxprune.options.declare import (
    BUDGETS,
    COMPARE,
    DATA,
    MEASURE,
    OUTPUT,
    PATH,
    SHOW,
    SOURCES,
    STORE,
    TEXTS,
    Options,
    option,
)
from onnxprune.options.repairing import Drop, Score
from onnxprune.options.running import (
    SOURCES_ARE,
    Feed,
    Force,
    Form,
    Page,
    Random,
    Running,
    Samples,
    SeededRuns,
    Target,
    Told,
)

if TYPE_CHECKING:
    from onnxprune.model.load import Model

AS_SHRINK = "How images become inputs, as for shrink."


@dataclass(frozen=True, kw_only=True)
class BenchOptions(Feed, Page, Force, Form, Random, Told):
    """Of `bench`."""

    NAME: ClassVar[str] = "bench"
    EXAMPLES: ClassVar[Any] = (
        ("Is the second faster than the first?", "bench m.onnx m.pruned.onnx --threads 1,4"),
        ("Fail where it is slower than it was:", "bench m.onnx --baseline earlier.json --fail-above 5%"),
    )
    DIFFERS: ClassVar[Any] = {
        "data": {"help": f"What to feed: {SOURCES_ARE}", "shown": "seeded noise"},
        "preprocess": {"help": AS_SHRINK},
        "seed": {"help": "Of inputs and order."},
        "force": {"help": "Replace files that exist."},
    }
    threads: str | int | Sequence[int] | None = option(
        None,
        "Threads of the runtime; several: 1,2.",
        group=MEASURE,
        metavar="N,..",
        shown="all cores",
    )
    batch: str | int | Sequence[int] | None = option(
        None, "Samples per inference; several: 1,8,32.", group=MEASURE, metavar="N,..", shown="1"
    )
    provider: str | Sequence[str] = option(
        (),
        "Execution provider, as env lists them: cpu, cuda, ...; all for every one installed. Repeatable.",
        group=MEASURE,
        metavar="NAME",
        kind=TEXTS,
        shown="cpu",
    )
    shape: Sequence[str] | Mapping[str, int | Sequence[int]] = option(
        (),
        "Shape of an input (x=1x3x224x224), or a symbolic size (sequence=64). Repeatable.",
        group=MEASURE,
        metavar="NAME=SIZES",
        kind=TEXTS,
    )
    seconds: float | None = option(
        None,
        "How long to time the models in every setting (combination of threads, batch, provider).",
        group=MEASURE,
        metavar="S",
        shown="5",
    )
    runs: int | None = option(None, "Time N rounds instead of --seconds.", group=MEASURE, metavar="N", least=1)
    profile: bool = option(False, "Also show where the time goes, and which layers got slower, and why.", group=MEASURE)
    baseline: str | Path | Model | None = option(
        None,
        "What to compare with: a model (measured in turn with the others), or the JSON of an earlier bench.",
        group=COMPARE,
        metavar="FILE",
        kind=PATH,
        shown="the first MODEL",
        file=False,
    )
    fail_above: str | float | None = option(
        None,
        "Exit code 1 if a model is slower than the reference by more than 5% with its whole interval.",
        group=COMPARE,
        metavar="SHARE",
    )
    export_json: str | None = option(
        None, "Write the result as JSON.", group=OUTPUT, metavar="FILE", kind=PATH, python=False, file=False
    )
    export_markdown: str | None = option(
        None, "Write the report as Markdown.", group=OUTPUT, metavar="FILE", kind=PATH, python=False, file=False
    )


@dataclass(frozen=True, kw_only=True)
class Budgets(Options):
    """What a model may cost and must be able to do: on the command line for every MODEL, in a file for each one."""

    max_size: str | int | None = option(
        None, "Largest file (10MB), or share of the baseline (50%).", group=BUDGETS, metavar="BYTES", file=False
    )
    max_params: str | int | None = option(
        None, "Most parameters (2M), or a share of the baseline's.", group=BUDGETS, metavar="N", file=False
    )
    max_macs: str | int | None = option(
        None, "Most multiply-accumulates (300M), or a share of the baseline's.", group=BUDGETS, metavar="N", file=False
    )
    min_int8: str | float | None = option(
        None,
        "Least share of the multiply-accumulates that compute with integers of 8 bits (90%).",
        group=BUDGETS,
        metavar="SHARE",
        file=False,
    )
    max_latency_ratio: str | float | None = option(
        None,
        "Largest time by that of the baseline; judged by its 95 % interval.",
        group=BUDGETS,
        metavar="RATIO",
        file=False,
    )
    min_agreement: str | float | None = option(
        None, "Least agreement with the baseline on --data (0.98).", group=BUDGETS, metavar="SHARE", file=False
    )
    max_error: str | float | None = option(
        None,
        "Largest relative error of the outputs against the baseline on --data (5%).",
        group=BUDGETS,
        metavar="SHARE",
        file=False,
    )
    min_metric: float | None = option(None, "Least value of --metric.", group=BUDGETS, metavar="X", file=False)
    max_drop: float | None = option(
        None, "Most that --metric may fall below the baseline's.", group=BUDGETS, metavar="X", file=False
    )
    baseline: str | Path | None = option(
        None, "The model to compare with: the original.", group=DATA, metavar="FILE", kind=PATH, file=False
    )
    data: Any = option(None, f"What to feed: {SOURCES_ARE}", group=DATA, metavar="SOURCE", kind=SOURCES, file=False)
    preprocess: str | None = option(None, AS_SHRINK, group=DATA, metavar="STEPS", file=False)


@dataclass(frozen=True, kw_only=True)
class CheckOptions(Budgets, Score, SeededRuns, Force, Form, Told):
    """Of `check`."""

    NAME: ClassVar[str] = "check"
    TABLES: ClassVar[tuple[str, ...]] = ("models",)
    EXAMPLES: ClassVar[Any] = (
        (
            "At most 10 MB, and half as large as the original:",
            "check m.onnx --max-size 10MB --max-params 50% --baseline o.onnx",
        ),
        ("All that the configuration lists, for a CI server:", "check --junit budgets.xml"),
    )
    DIFFERS: ClassVar[Any] = {
        "metric": {
            "help": "Your measure of a model's quality: gets its path, returns a number, higher is better.",
            "group": DATA,
            "metavar": "FILE.py:FUNCTION",
        },
        "seed": {"help": "Of inputs and order."},
        "force": {"help": "Replace a file that exists.", "python": False},
    }
    only: Sequence[Literal["size", "params", "macs", "latency", "agreement", "error", "metric", "drop"]] = option(
        (),
        "Check only budgets of this kind: size, params, macs, latency, agreement, error, metric, drop. Repeatable.",
        group=BUDGETS,
        metavar="KIND",
    )
    strict: bool = option(False, "What cannot be decided fails, too (noise, unknown sizes).", group=BUDGETS)
    junit: str | None = option(
        None, "Write the verdicts as JUnit XML.", group=OUTPUT, metavar="FILE", kind=PATH, python=False, file=False
    )


@dataclass(frozen=True, kw_only=True)
class PackOptions(Samples, Score, Drop, Running, Target, Force, Form, Told):
    """Of `pack`."""

    NAME: ClassVar[str] = "pack"
    EXAMPLES: ClassVar[Any] = (
        ("Shared weights, and what that costs on samples:", "pack m.onnx --data calib.npz"),
        ("Without any loss:", "pack m.onnx --weights exact -o m.onnxpack"),
    )
    DIFFERS: ClassVar[Any] = {
        "output": {"shown": "MODEL's stem + .onnxpack, beside MODEL"},
        "data": {"help": "Samples on which the unpacked model is compared with MODEL: as for shrink."},
        "preprocess": {"help": AS_SHRINK},
        "seed": {"help": "Of the draw."},
        "threads": {"help": "Threads that ONNX Runtime may use for the comparison."},
        "force": {"help": "Replace an output that exists."},
    }
    weights: Literal["shared", "int8", "exact"] = option(
        "shared",
        "Each weight by its nearest shared value (k-means), as int8 with a scale per channel, or lossless.",
        group=STORE,
        shown=True,
    )
    bits: str | int | None = option(
        None,
        "Of a codebook, 1 to 8: for all weights, or for convolutions / all others.",
        group=STORE,
        metavar="N|N/N",
        shown="8/5",
    )
    max_error: str | float | None = option(
        None,
        "Instead of --bits: the fewest with which no weight tensor is off by more than this (1%), relative to its "
        "norm; what cannot be that near is stored as it is.",
        group=STORE,
        metavar="SHARE",
    )
    clusters: Literal["exact", "linear"] | None = option(
        None,
        "Codebooks of the least squared error, or Lloyd's from equal distances, as in Deep Compression.",
        group=STORE,
        shown="exact",
    )
    exclude: Sequence[str] = option(
        (),
        "Layers that keep their weights: a name, a glob, or type:Conv. Repeatable.",
        group=STORE,
        metavar="PATTERN",
    )


@dataclass(frozen=True, kw_only=True)
class UnpackOptions(Target, Force, Form, Told):
    """Of `unpack`."""

    NAME: ClassVar[str] = "unpack"
    EXAMPLES: ClassVar[Any] = (
        ("Beside the file:", "unpack m.onnxpack"),
        ("Under a name, and not more than that:", "unpack m.onnxpack -o m.onnx --max-size 200MB"),
    )
    DIFFERS: ClassVar[Any] = {
        "output": {"shown": "FILE's stem + .unpacked.onnx, beside FILE"},
        "force": {"help": "Replace outputs that exist."},
    }
    max_size: str | int | None = option(
        None,
        "Refuse a file that unpacks to more than this.",
        group=OUTPUT,
        metavar="SIZE",
        shown="1000 times FILE, at least 67 MB",
    )


@dataclass(frozen=True, kw_only=True)
class VerifyOptions(Feed, Running, Form, Told):
    """Of `verify`."""

    NAME: ClassVar[str] = "verify"
    EXAMPLES: ClassVar[Any] = (
        ("On random inputs:", "verify m.onnx m.pruned.onnx"),
        ("On samples, too:", "verify m.onnx m.pruned.onnx --data calib.npz"),
    )
    DIFFERS: ClassVar[Any] = {
        "data": {"help": f"Samples to compare on, besides random inputs: {SOURCES_ARE}"},
    }


@dataclass(frozen=True, kw_only=True)
class WhyOptions(Units):
    """Of `why`, which is `inspect --why` on the command line."""


@dataclass(frozen=True, kw_only=True)
class InspectOptions(Units, Samples, Running, Page, Force, Form, Told):
    """Of `inspect`."""

    NAME: ClassVar[str] = "inspect"
    EXAMPLES: ClassVar[Any] = (
        ("Why one layer stays:", "inspect m.onnx --why stem.conv"),
        ("What all models of a folder could lose:", "inspect models/"),
    )
    DIFFERS: ClassVar[Any] = {
        "units": {"group": SHOW},
        "report": {"help": "Write a page with all of it (HTML)."},
        "force": {"help": "Replace a report that exists."},
        "data": {"help": f"Samples, for --quantization: {SOURCES_ARE}"},
        "seed": {"help": "Of draws of samples."},
    }
    quantization: bool = option(
        False, "What 8-bit integers would cost each layer, or why it cannot have them; needs --data.", group=SHOW
    )
    groups: bool = option(False, "All groups, with their layers.", group=SHOW, python=False, file=False)
    layers: bool = option(False, "Cost and group of every layer.", group=SHOW, python=False, file=False)
    why: str | None = option(
        None,
        "Explain one node: what can go there, or why it stays.",
        group=SHOW,
        metavar="NODE",
        python=False,
        file=False,
    )


@dataclass(frozen=True, kw_only=True)
class DiffOptions(Form):
    """Of `diff`."""

    NAME: ClassVar[str] = "diff"
    EXAMPLES: ClassVar[Any] = (
        ("What distinguishes a result:", "diff m.onnx m.pruned.onnx"),
        ("For a program to read:", "diff m.onnx m.pruned.onnx --format json"),
    )


@dataclass(frozen=True, kw_only=True)
class EnvOptions(Form):
    """Of `env`."""

    NAME: ClassVar[str] = "env"
    EXAMPLES: ClassVar[Any] = (
        ("Versions and hardware:", "env"),
        ("For a program to read:", "env --format json"),
    )
