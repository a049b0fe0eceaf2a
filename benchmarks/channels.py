"""How the time of a layer depends on its number of channels: `make bench-channels` writes docs/channels.md and .svg.

Kernels of ONNX Runtime work on blocks of channels, whose size depends on the instruction set. Every layer below is
timed alone, in one thread, at every width from 1 to --most, by the measurements that `--target latency=` makes.
Repeated --passes times; the least of each width counts.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from evaluation import machine
from matplotlib.figure import Figure
from numpy.typing import NDArray
from onnx import TensorProto, helper

from onnxprune.measure.latency.layers import Signature, Widths
from onnxprune.measure.latency.runtime import layer_times
from onnxprune.results.system import environment

Floats = NDArray[np.float64]
FIXED = 128
STEPS = (16, 8, 4, 2, 1)
NAMES = {16: "16", 8: "8, not 16", 4: "4, not 8", 2: "2, not 4", 1: "odd"}


@dataclass(frozen=True)
class Series:
    """A layer of which one width changes; `at`: all widths, from the one that does."""

    name: str
    signature: Signature
    at: Callable[[int], Widths]


def convolution(kernel: int, size: int) -> Signature:
    pad = kernel // 2
    attributes = {"kernel_shape": [kernel] * 2, "pads": [pad] * 4, "strides": [1, 1]}
    texts = tuple(
        sorted(helper.make_attribute(k, v).SerializeToString(deterministic=True) for k, v in attributes.items())
    )
    return Signature("Conv", texts, (1, size, size), (kernel, kernel), True, True, "Relu", TensorProto.FLOAT)


def product(rows: int) -> Signature:
    return Signature("Gemm", (), (rows,), (), True, True, "", TensorProto.FLOAT)


SERIES = (
    Series("3x3 convolution, 14 x 14, outputs", convolution(3, 14), lambda n: (FIXED, n, 1)),
    Series("3x3 convolution, 14 x 14, inputs", convolution(3, 14), lambda n: (n, FIXED, 1)),
    Series("1x1 convolution, 28 x 28, outputs", convolution(1, 28), lambda n: (FIXED, n, 1)),
    Series("1x1 convolution, 28 x 28, inputs", convolution(1, 28), lambda n: (n, FIXED, 1)),
    Series("3x3 depthwise, 28 x 28", convolution(3, 28), lambda n: (1, 1, n)),
    Series("Gemm, 128 rows, outputs", product(128), lambda n: (256, n, 1)),
    Series("Gemm, 128 rows, inputs", product(128), lambda n: (n, 256, 1)),
    Series("Gemm, 1 row, outputs", product(1), lambda n: (512, n, 1)),
)


def times(series: Series, most: int, passes: int) -> Floats:
    """Seconds at the widths 1 to `most`."""
    points = [series.at(n) for n in range(1, most + 1)]
    least: Floats = np.min([layer_times(series.signature, points, 1) for _ in range(passes)], axis=0)
    return least


def cost_of_step(seconds: Floats, step: int) -> float:
    """Time by that of the straight line between the multiples of 16 around: the median over widths from 32 on of which
    `step` is the largest of STEPS that divides them."""
    widths = np.arange(1, len(seconds) + 1)
    line = np.interp(widths, widths[15::16], seconds[15::16])
    mine = (widths >= 32) & (widths % step == 0)
    if step < STEPS[0]:
        mine &= widths % (2 * step) != 0
    return float(np.median((seconds / line)[mine]))


def picture(found: Sequence[tuple[Series, Floats]], path: Path) -> None:
    figure = Figure(figsize=(9, 10), layout="constrained")
    for axes, (series, seconds) in zip(figure.subplots(-(-len(found) // 2), 2).flat, found, strict=False):
        widths = np.arange(1, len(seconds) + 1)
        axes.plot(widths, seconds * 1e6, linewidth=0.8, color="#888888")
        for step, colour in ((8, "#2ca02c"), (16, "#1f6fb4")):
            axes.plot(widths[step - 1 :: step], seconds[step - 1 :: step] * 1e6, ".", color=colour, label=f"x {step}")
        axes.set_title(series.name, fontsize=9)
        axes.set_xlabel("channels", fontsize=8)
        axes.set_ylabel("time, µs", fontsize=8)
        axes.set_xticks(range(0, len(seconds) + 1, 16))
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    figure.savefig(path, metadata={"Date": None})


def page(found: Sequence[tuple[Series, Floats]], picture_name: str, passes: int) -> str:
    here = environment()
    lines = [
        "# Latency against the number of channels",
        "",
        "Made by `make bench-channels`; do not edit. Time of single layers in ONNX Runtime, one thread, at every",
        "number of channels, as `--target latency=` and `--multiple-of auto` measure it; the least of",
        f"{passes} passes. Widths that do not change are {FIXED} (convolutions), 256 and 512 (products).",
        "",
        f"{machine()} Processor: {here.cpu}, {here.sparse_operators or platform.machine()}.",
        "",
        f"![Time of layers against their channels]({picture_name})",
        "",
        "## What a width costs that is no multiple",
        "",
        "Time by that of the straight line between neighbouring multiples of 16: the median over all widths from 32",
        "on. 1.00: every channel that leaves is time saved; 1.30: it takes 30 % longer than its channels explain.",
        "",
        "Convolutions run in a layout of blocks of channels only if their inputs (and the channels of depthwise ones)",
        "are a multiple of 4; others take a slower way, and conversions of the layout come on top in a network. Above",
        "that a started block of 16 (AVX-512; 8 with AVX2) costs as much as a full one.",
        "",
        "| layer | " + " | ".join(f"multiple of {NAMES[s]}" if s > 1 else NAMES[s] for s in STEPS) + " |",
        "| --- |" + " ---: |" * len(STEPS),
    ]
    for series, seconds in found:
        lines.append(f"| {series.name} | " + " | ".join(f"{cost_of_step(seconds, s):.2f}" for s in STEPS) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=160, help="the largest width")
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--report", type=Path, required=True, help="Markdown page to write; the picture goes beside it")
    options = parser.parse_args()
    found = []
    for series in SERIES:
        found.append((series, times(series, options.most, options.passes)))
        print(series.name, *(f"{s}: {cost_of_step(found[-1][1], s):.2f}" for s in STEPS), sep="  ", flush=True)
    drawing = options.report.with_suffix(".svg")
    picture(found, drawing)
    options.report.write_text(page(found, drawing.name, options.passes), "utf-8")


if __name__ == "__main__":
    main()
