"""What is left of the accuracy of real models at given costs, with no training, and with a naive cut for comparison.

usage: python benchmarks/accuracy.py [--eval FOLDER] [--models A,B] [--targets macs=75%,macs=50%,...] [--samples N]
       [--results FOLDER] [--report FILE]

For every model of the evaluation folder (see evaluation.py) and every target one command is run, as a user would:
`onnxprune shrink MODEL.onnx --target macs=75% --data SAMPLES.npz --multiple-of 1 -o OUT.onnx`. The naive cut is the
same target with `--repair none --criterion l1` and without samples. Results are kept in --results, one JSON file a
cell, so that an interrupted run goes on; delete them to start over.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from evaluation import UNITS, Evaluation, Row, absent, kept, machine, markdown, show

TARGETS = ("macs=75%", "macs=50%")
CURVE = ("macs=90%", "macs=75%", "macs=62%", "macs=50%")
CURVE_ONLY = frozenset(CURVE) - frozenset(TARGETS)
CURVES = dict.fromkeys(("cifar10_resnet20", "cifar10_resnet56", "imagenet_mobilenet_v2", "det_yolox_nano"), CURVE)
"""Models that are or were below a bar: the accuracy against the cost, at five points with the original."""
ORIGINAL = "original"
FREE = ("--multiple-of", "1")
NAIVE = ("--repair", "none", "--criterion", "l1")
SAMPLES = {
    "cifar10_resnet20": 1000,
    "cifar10_resnet56": 1000,
    "imagenet_mobilenet_v2": 100,
    "kws_dscnn": 200,
    "det_yolox_nano": 24,
    "sr_imdn_x2": 12,
    "minilm_l6_v2": 128,
}
OTHER_SAMPLES = 200
BARS = {
    ("cifar10_resnet20", "macs=75%"): 91.0,
    ("cifar10_resnet20", "macs=50%"): 88.0,
    ("cifar10_resnet56", "macs=75%"): 93.3,
    ("cifar10_resnet56", "macs=50%"): 92.3,
    ("imagenet_mobilenet_v2", "macs=75%"): 86.0,
    ("imagenet_mobilenet_v2", "macs=50%"): 75.0,
    ("kws_dscnn", "macs=75%"): 88.5,
    ("kws_dscnn", "macs=50%"): 84.0,
    ("det_yolox_nano", "macs=75%"): 46.0,
    ("det_yolox_nano", "macs=50%"): 35.0,
    ("sr_imdn_x2", "macs=75%"): 37.5,
    ("sr_imdn_x2", "macs=50%"): 36.8,
    ("minilm_l6_v2", "macs=75%"): 81.0,
    ("minilm_l6_v2", "macs=50%"): 77.0,
}
"""The project's quality bar: the least score at a target."""

HEAD = ["model", "cut", "MACs left", "score", "bar", "met", "samples", "time"]
HEADER = """# Accuracy of real models

Made by `make eval`; do not edit. Trained models, scored on labelled data that onnxprune never saw. Every line that
names a target is one command, `onnxprune shrink MODEL --target TARGET --data SAMPLES --multiple-of 1 -o OUT`: no
training, no labels, and as many channels of each layer as it takes (by default they are multiples of 8 or 16, which
is faster). A naive cut is the same target with `--repair none --criterion l1` and no samples. The bar is what the
project asks of itself; where it is missed, [accuracy-limits.md](accuracy-limits.md) says what was tried. Times are
those of the command, its proof included, with other programs on the machine.

{machine}
"""


def shrink(model: Path, target: str, data: Path | None, out: Path, more: Sequence[str] = ()) -> tuple[float, float]:
    """Run the command. The share of the MACs left, by its own report, and its wall time in seconds.

    RuntimeError, with what the command said, if it fails.
    """
    script = Path(sys.executable).parent / "onnxprune"
    how = ["--data", str(data)] if data else [*NAIVE]
    command = [str(script), "shrink", str(model), "--target", target, *how, *FREE, *more, "-o", str(out), "--force"]
    start = time.perf_counter()
    done = subprocess.run([*command, "--format", "json"], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}: {' '.join(command)}\n{done.stderr}")
    found = json.loads(done.stdout)
    return found["after"]["macs_count"] / found["before"]["macs_count"], seconds


def cell(evaluation: Evaluation, name: str, cut: str, samples: int, folder: Path) -> Row:
    """Measure one line of the table; `cut` is "original", a target, or "naive " and a target."""
    model, data, out = (folder / f"{name}{end}" for end in (".onnx", ".npz", ".cut.onnx"))
    if not data.exists():
        evaluation.original(name, model)
        evaluation.calib(name, samples, data)
    left, seconds = 1.0, 0.0
    if cut == ORIGINAL:
        out = model
    else:
        naive = cut.startswith("naive ")
        left, seconds = shrink(model, cut.removeprefix("naive "), None if naive else data, out)
    scored = evaluation.score(name, out)
    print(f"{name}  {cut}: {scored['value']:.2f}", flush=True)
    return {**scored, "macs_left": left, "seconds": seconds, "samples": samples}


def line(name: str, cut: str, row: Row) -> list[str]:
    """A measured cell as text, below HEAD."""
    bar = BARS.get((name, cut))
    sampled = cut != ORIGINAL and not cut.startswith("naive ")
    return [
        name,
        cut,
        f"{row['macs_left']:.1%}",
        f"{row['value']:.2f} {UNITS.get(row['metric'], row['metric'])}",
        "" if bar is None else f"{bar:.1f}",
        "" if bar is None else ("yes" if row["value"] >= bar else "no"),
        str(row["samples"]) if sampled else "",
        "" if cut == ORIGINAL else f"{row['seconds']:.0f} s",
    ]


def measure(evaluation: Evaluation, name: str, targets: list[str], count: int | None, results: Path) -> list[list[str]]:
    """All lines of one model, measured or kept from before."""
    samples = count or SAMPLES.get(name, OTHER_SAMPLES)
    lines = []
    with tempfile.TemporaryDirectory(prefix="onnxprune-eval-") as folder:
        for cut in [ORIGINAL, *_cuts(targets)]:
            file = results / f"{name}-{samples}-{cut.replace(' ', '-').replace('=', '-').replace('%', '')}.json"
            row = kept(file, lambda c=cut: cell(evaluation, name, c, samples, Path(folder)))  # type: ignore[misc]
            lines.append(line(name, cut, row))
    return lines


def _cuts(targets: list[str]) -> list[str]:
    """Naive and repaired; of the points that only a curve asks for, repaired."""
    return [f"{kind}{target}" for target in targets for kind in ("naive ", "") if not kind or target not in CURVE_ONLY]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the accuracy that real models keep.")
    parser.add_argument("--eval", default="", help="the evaluation folder")
    parser.add_argument("--models", help="names, separated by commas; all of the folder without")
    parser.add_argument(
        "--targets", help=f"separated by commas; {','.join(TARGETS).replace('%', '%%')}, or more, without"
    )
    parser.add_argument("--samples", type=int, help="calibration samples for every model")
    parser.add_argument("--results", type=Path, default=Path("out/eval"))
    parser.add_argument("--report", type=Path)
    given = parser.parse_args()
    evaluation = Evaluation(Path(given.eval))
    if not (given.eval and evaluation.present()):
        print(absent(given.eval))
        return
    names = given.models.split(",") if given.models else evaluation.names()
    lines = []
    for name in names:
        targets = given.targets.split(",") if given.targets else list(CURVES.get(name, TARGETS))
        lines += measure(evaluation, name, targets, given.samples, given.results)
    show("Accuracy kept", HEAD, lines)
    if given.report:
        given.report.write_text(f"{HEADER.format(machine=machine())}\n{markdown(HEAD, lines)}\n")


if __name__ == "__main__":
    main()
