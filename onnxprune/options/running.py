"""Samples, seeds, threads, times and files: what commands need whatever they do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from onnxprune.options.declare import ADVANCED, DATA, MEASURE, OUTPUT, PATH, SIZE, SOURCES, SWITCH, Options, option

if TYPE_CHECKING:
    from onnxprune.results import Progress

MOST_THREADS = 1024
"""No machine has more for one process, and a runtime that is asked for more does not come back."""
SOURCES_ARE = "a .npz, x=a.npy (one per input), a folder, file.py:function, or random."


@dataclass(frozen=True, kw_only=True)
class Feed(Options):
    """Inputs that are data."""

    data: Any = option(
        None, f"Calibration samples: {SOURCES_ARE}", group=DATA, metavar="SOURCE", kind=SOURCES, point=False
    )
    preprocess: str | None = option(
        None,
        'How images become inputs: imagenet, or "scale=1/255,mean=0.5,std=0.5,layout=nchw".',
        group=DATA,
        metavar="STEPS",
        point=False,
    )


@dataclass(frozen=True, kw_only=True)
class Samples(Feed):
    """Samples, and how many of them."""

    samples: int | None = option(
        None,
        "Use at most N samples, drawn by --seed.",
        group=DATA,
        metavar="N",
        least=1,
        recorded=True,
        point=False,
    )


@dataclass(frozen=True, kw_only=True)
class Calibration(Samples):
    """Samples on which a network is judged and repaired."""

    max_memory: str | int = option(
        "4GB",
        "What the samples may take while they are run; fewer are used if they would take more.",
        group=DATA,
        metavar="SIZE",
        kind=SIZE,
        shown=True,
    )
    provider: str = option(
        "cpu",
        "Execution provider that runs the samples for choice and repair, as env lists them: cpu, cuda, ... Proof, "
        "agreement and times stay those of the CPU.",
        group=ADVANCED,
        metavar="NAME",
        shown=True,
        names=("cpu", "cuda"),
        recorded=True,
    )


@dataclass(frozen=True, kw_only=True)
class TimedRuns(Options):
    """How models are timed."""

    threads: int | None = option(
        None,
        "Of the runtime.",
        group=MEASURE,
        metavar="N",
        least=1,
        most=MOST_THREADS,
        shown="all cores",
        point=False,
    )
    batch: int | None = option(None, "Samples per inference, for latency.", group=MEASURE, metavar="N", least=1)
    seconds: float | None = option(
        None, "How long to time a model and its baseline.", group=MEASURE, metavar="S", shown="5"
    )
    runs: int | None = option(None, "Time N rounds instead of --seconds.", group=MEASURE, metavar="N", least=1)


@dataclass(frozen=True, kw_only=True)
class Random(Options):
    """What everything random begins with."""

    seed: int = option(
        0,
        "Seed of everything random: inputs of the proof, draws of samples, criterion 'random'.",
        group=ADVANCED,
        metavar="N",
        least=0,
        shown=True,
        recorded=True,
    )


@dataclass(frozen=True, kw_only=True)
class SeededRuns(TimedRuns, Random):
    """How latency is measured, and what inputs and order begin with."""


@dataclass(frozen=True, kw_only=True)
class Running(Random):
    """How it is run."""

    threads: int = option(
        0,
        "Threads that ONNX Runtime may use. Results do not depend on it, except where something is timed.",
        group=ADVANCED,
        metavar="N",
        least=0,
        most=MOST_THREADS,
        shown="all cores",
        point=False,
    )


@dataclass(frozen=True, kw_only=True)
class Target(Options):
    """The file of a result. The function has it as its second argument."""

    output: str | Path | None = option(
        None, "The file to write.", group=OUTPUT, metavar="OUT", kind=PATH, flags=("-o",), python=False, file=False
    )


@dataclass(frozen=True, kw_only=True)
class Force(Options):
    """What may be written over."""

    force: bool = option(False, "Replace output files that exist.", group=OUTPUT, file=False, silent=True)


@dataclass(frozen=True, kw_only=True)
class Weights(Options):
    """Where weights are written."""

    external_data: Literal["auto", "always", "never"] = option(
        "auto", "Weights in a file OUT.data of their own (auto: above 2 GB).", group=OUTPUT, shown=True
    )


@dataclass(frozen=True, kw_only=True)
class Page(Options):
    """A page of HTML."""

    report: str | Path | None = option(
        None,
        "Write a page with plots (HTML).",
        group=OUTPUT,
        metavar="FILE",
        kind=PATH,
        file=False,
        silent=True,
    )


@dataclass(frozen=True, kw_only=True)
class Unproven(Options):
    """What is written without being shown to be right."""

    allow_unproven: bool = option(
        False,
        "Write the result although no input tells whether it is right; otherwise exit code 4.",
        group=OUTPUT,
    )


@dataclass(frozen=True, kw_only=True)
class Timing(Options):
    """The short timing at the end. The commands do it unless they are told not to, the functions only if asked."""

    bench: bool = option(
        False,
        "At the end, time the result in turn with MODEL (about 2 s); where it is not faster, say why.",
        group=OUTPUT,
        kind=SWITCH,
        line_default=True,
        shown=True,
        silent=True,
        point=False,
    )


@dataclass(frozen=True, kw_only=True)
class Dry(Options):
    """What is only looked at."""

    dry_run: bool = option(False, "Plan and report, write no model.", group=OUTPUT, file=False)


@dataclass(frozen=True, kw_only=True)
class Logged(Options):
    """Where it is written how far it is."""

    log_file: str | Path | None = option(
        None,
        "Write a line with the time to the end of this file at every stage and every minute; with -v, numbers as well.",
        group=OUTPUT,
        metavar="FILE",
        kind=PATH,
        python=False,
        file=False,
        silent=True,
        point=False,
    )


@dataclass(frozen=True, kw_only=True)
class Interrupts(Options):
    """What Ctrl-C does."""

    on_interrupt: Literal["write", "discard"] = option(
        "discard",
        "What the first Ctrl-C does during repair: the best so far is proven and written (write), or nothing is "
        "(discard). The second one always ends it.",
        group=ADVANCED,
        line_default="write",
        shown=True,
        silent=True,
        point=False,
    )


@dataclass(frozen=True, kw_only=True)
class Resuming(Options):
    """What an earlier run left."""

    fresh: bool = option(
        False,
        "Begin anew, also where an earlier run of this output was killed and its folder OUT.onnxprune-run is there.",
        group=ADVANCED,
        file=False,
        silent=True,
        point=False,
    )


@dataclass(frozen=True, kw_only=True)
class Helped(Options):
    """Who else computes."""

    scheduler: str | None = option(
        None,
        "Let the workers of the Dask cluster whose scheduler is there (tcp://host:8786) capture shards of the samples "
        "and try groups and blocks, with the same result.",
        group=ADVANCED,
        metavar="ADDRESS",
        file=False,
        silent=True,
        point=False,
    )


@dataclass(frozen=True, kw_only=True)
class Result(Target, Dry, Page, Timing, Force, Weights, Unproven, Logged, Interrupts, Resuming):
    """How the result of `shrink` and `sparsify` is written."""


@dataclass(frozen=True, kw_only=True)
class Form(Options):
    """Form of what is printed."""

    format: Literal["text", "json", "markdown"] = option(
        "text", "Form of the result on stdout.", group=OUTPUT, shown=True, python=False
    )


@dataclass(frozen=True, kw_only=True)
class Told(Options):
    """Who hears how far it is."""

    progress: Callable[[Progress], None] | bool | None = option(
        None,
        "Called with every step of a long run (a Progress); True draws a bar on stderr.",
        group=ADVANCED,
        line=False,
        silent=True,
        point=False,
    )

    @property
    def told(self) -> Callable[[Progress], None] | None:
        """The callback. The functions have put one in the place of True."""
        return self.progress if callable(self.progress) else None
