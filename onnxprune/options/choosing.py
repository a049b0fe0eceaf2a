"""What leaves: amount, criterion, scope, layers, widths, units, steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from onnxprune.options.declare import ADVANCED, REMOVE, SHARE, WIDTH, Options, option
from onnxprune.options.lists import CRITERIA, READER_CRITERIA, SAMPLE_CRITERIA


@dataclass(frozen=True, kw_only=True)
class Amount(Options):
    """How much leaves, and by which criterion."""

    ratio: float | None = option(
        None,
        "Share of the removable channels that leaves, 0.5 or 50%.",
        group=REMOVE,
        metavar="SHARE",
        kind=SHARE,
        shown="0.5, without --target",
        recorded=True,
        planned=True,
    )
    target: str | None = option(
        None,
        "What may be left instead: macs=50%, macs=1.2G, params=2M, size=10MB (of the file that is written), or "
        "latency=50% or latency=4ms: measured here, with --threads. It holds for this machine only.",
        group=REMOVE,
        metavar="COST",
        recorded=True,
        planned=True,
    )
    criterion: str | None = option(
        None,
        "How channels are ranked; see below.",
        group=REMOVE,
        metavar="NAME",
        shown="obs with --data, otherwise l1",
        names=(*CRITERIA, *SAMPLE_CRITERIA, *READER_CRITERIA),
        recorded=True,
        planned=True,
    )


@dataclass(frozen=True, kw_only=True)
class Scope(Options):
    """Whether layers or the whole model are judged."""

    scope: Literal["local", "global"] | None = option(
        None,
        "The same share from every group, or the lowest scores (with --data: errors) of the model.",
        group=REMOVE,
        shown="local; global with --target and --data",
        recorded=True,
        planned=True,
    )


@dataclass(frozen=True, kw_only=True)
class Scores(Options):
    """How scores become comparable."""

    normalise: Literal["mean", "max", "sum", "none", "lamp"] = option(
        "mean",
        "How scores become comparable between groups (with --scope global).",
        group=ADVANCED,
        shown=True,
        recorded=True,
        planned=True,
    )
    aggregate: Literal["mean", "sum", "max"] = option(
        "mean",
        "How the scores of the layers of one group become one.",
        group=ADVANCED,
        shown=True,
        recorded=True,
        planned=True,
    )


@dataclass(frozen=True, kw_only=True)
class Layers(Options):
    """Which layers are concerned."""

    include: Sequence[str] = option(
        (),
        "Shrink only these layers: a name, a glob, or type:Conv. Repeatable.",
        group=REMOVE,
        metavar="PATTERN",
        recorded=True,
        planned=True,
    )
    exclude: Sequence[str] = option(
        (),
        "Leave these layers whole; wins over --include. Repeatable.",
        group=REMOVE,
        metavar="PATTERN",
        recorded=True,
        planned=True,
    )


@dataclass(frozen=True, kw_only=True)
class Widths(Options):
    """How wide what stays may be."""

    multiple_of: int | Literal["auto"] | None = option(
        None,
        "Keep a multiple of N channels; groups that cannot stay whole. 1 leaves the choice free: best for accuracy at "
        "equal MACs, often slow. auto: what this machine's kernels do best, measured.",
        group=ADVANCED,
        metavar="N|auto",
        kind=WIDTH,
        least=1,
        shown="the step of --device, 8 or 16; narrower layers stay",
        recorded=True,
        planned=True,
    )
    device: Literal["auto", "avx512", "avx2", "neon", "any"] = option(
        "auto",
        "The processor whose kernels the widths are for: a step of 16 channels, of 8 for avx2.",
        group=ADVANCED,
        shown="this machine",
        recorded=True,
        planned=True,
    )
    min_keep: str | int | float = option(
        1,
        "The least to keep of every group: a number (8), or a share (0.25 or 25%).",
        group=ADVANCED,
        metavar="N|SHARE",
        shown=True,
        recorded=True,
        planned=True,
    )


@dataclass(frozen=True, kw_only=True)
class Units(Options):
    """What leaves as a whole."""

    units: Literal["channels", "heads", "blocks"] = option(
        "channels",
        "What is removed: channels (within attention, of every head alike); channels, but where an axis is split into "
        "heads, whole heads; or whole residual blocks.",
        group=REMOVE,
        shown=True,
        planned=True,
    )


@dataclass(frozen=True, kw_only=True)
class Steps(Options):
    """Removal in steps."""

    schedule: Literal["one-shot", "linear", "exp", "cos", "cube"] | None = option(
        None,
        "Let channels leave in steps, each followed by repair: equal ones (linear), equal shares of what is left (exp),"
        " small ones first and last (cos), or large ones first (cube). Takes as many times as long.",
        group=ADVANCED,
        shown="one-shot; linear with --steps",
        recorded=True,
        planned=True,
    )
    steps: int | None = option(
        None,
        "The number of steps.",
        group=ADVANCED,
        metavar="N",
        least=1,
        shown="3 with --schedule",
        recorded=True,
        planned=True,
    )
