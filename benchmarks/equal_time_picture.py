"""What is left of the quality at what is left of the time, as a picture: `make equal-time-picture` writes
docs/equal-time.svg.

usage: python benchmarks/equal_time_picture.py --results FOLDER --picture FILE

Draws what `make bench-equal-time` measured with default widths: of every model the original and the results of its
targets. Times are those of the original, one by the other, measured in turn; bars are quartiles of these ratios. The
same results give the same bytes with the same release of Matplotlib.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation import UNITS

ORIGINAL = "original"
TITLES = {
    "cifar10_resnet20": "ResNet-20, CIFAR-10",
    "cifar10_resnet56": "ResNet-56, CIFAR-10",
    "imagenet_mobilenet_v2": "MobileNetV2, ImageNet",
    "kws_dscnn": "DS-CNN, spoken words",
    "det_yolox_nano": "YOLOX-nano, detection",
    "sr_imdn_x2": "IMDN, super-resolution",
    "minilm_l6_v2": "MiniLM-L6, sentences",
}
SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "onnxprune",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with Matplotlib: the same layout everywhere
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
COLUMNS, WIDE, HIGH = 3, 3.0, 2.4
LINE, START = "#3f51b5", "#1b1d2a"


@dataclass(frozen=True)
class Point:
    """A result: `time`, its quartiles `low` and `high`, and `macs` as shares of the original's; `score` in its unit."""

    target: str
    time: float
    low: float
    high: float
    macs: float
    score: float


def read(folder: Path) -> dict[str, tuple[str, list[Point]]]:
    """By model: the unit of its score, and its points from the original on. Models without results are left out."""
    found: dict[str, tuple[str, list[Point]]] = {}
    for name in TITLES:
        files = {path.stem.removeprefix(f"{name}-"): path for path in sorted(folder.glob(f"{name}-*.json"))}
        rows = {key: json.loads(path.read_text("utf-8")) for key, path in files.items() if not key.endswith("-free")}
        if len(rows) > 1 and ORIGINAL in rows:
            points = [point(key, row) for key, row in rows.items()]
            metric = rows[ORIGINAL]["metric"]
            found[name] = (UNITS.get(metric, metric), sorted(points, key=lambda one: -one.macs))
    return found


def point(key: str, row: Mapping[str, Any]) -> Point:
    """One result file. `faster` in it is how many times as fast as the original, with its quartiles."""
    speed, low, high = row["faster"]
    return Point(key, 1 / speed, 1 / high, 1 / low, row["macs_left"], row["value"])


def drawn(found: Mapping[str, tuple[str, Sequence[Point]]]) -> str:
    """The picture as SVG."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever a matplotlibrc says
        for key, value in SETTINGS.items():
            matplotlib.rcParams[key] = value  # type: ignore[index,unused-ignore]
        columns = min(COLUMNS, len(found))
        rows = -(-len(found) // columns)
        figure = Figure(figsize=(WIDE * columns, HIGH * rows), layout="constrained")
        cells = figure.subplots(rows, columns, squeeze=False).flat
        for axes, (name, (unit, points)) in zip(cells, found.items(), strict=False):
            _panel(axes, TITLES[name], unit, points)
        for axes in list(figure.axes)[len(found) :]:
            axes.remove()
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return text.getvalue()


def _panel(axes: Any, title: str, unit: str, points: Sequence[Point]) -> None:
    times, scores = [p.time * 100 for p in points], [p.score for p in points]
    bars = [[(p.time - p.low) * 100 for p in points], [(p.high - p.time) * 100 for p in points]]
    axes.errorbar(times, scores, xerr=bars, color=LINE, marker="o", markersize=4, linewidth=1.2, capsize=2)
    axes.plot(times[:1], scores[:1], "o", color=START, markersize=5, zorder=3)
    for p in points:
        label = ORIGINAL if p.target == ORIGINAL else f"{p.macs:.0%} of MACs"
        at = (0, 7) if p.target == ORIGINAL else (0, -14)
        axes.annotate(label, (p.time * 100, p.score), xytext=at, textcoords="offset points", ha="center", fontsize=7.5)
    most = max(scores)
    least = min(*scores, 0.8 * most)
    axes.set_ylim(least - 0.2 * (most - least), most + 0.2 * (most - least))
    axes.set_xlim(min(40.0, min(times) - 5), max(112.0, max(times) + 5))
    axes.set_title(title, fontsize=9.5)
    axes.set_xlabel("time (% of the original)")
    axes.set_ylabel(unit)
    axes.grid(alpha=0.3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("out/equal-time-results"))
    parser.add_argument("--picture", type=Path, default=Path("docs/equal-time.svg"))
    options = parser.parse_args()
    found = read(options.results)
    if not found:
        raise SystemExit(f"no results in {options.results}: make bench-equal-time measures them")
    options.picture.write_text(drawn(found), encoding="utf-8")
    print(f"{options.picture}: {', '.join(found)}")


if __name__ == "__main__":
    main()
