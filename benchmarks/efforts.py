"""Accuracy against effort: what `shrink` leaves of real models with all their samples, the longer it adjusts weights.

usage: python benchmarks/efforts.py --eval FOLDER [--models A,B] [--threads N] [--results FOLDER] [--report FILE]

One command a line, `onnxprune shrink MODEL --target TARGET --data SAMPLES --multiple-of 1 --effort EFFORT -o OUT`.
Results are kept in --results, one JSON file a cell.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import accuracy
from evaluation import UNITS, Evaluation, Row, absent, kept, machine, markdown, show

HALF, BOTH = ("macs=50%",), ("macs=75%", "macs=50%")
EFFORTS = ("normal", "4", "thorough")
TARGETS = {
    "cifar10_resnet20": BOTH,
    "cifar10_resnet56": BOTH,
    "imagenet_mobilenet_v2+1k": BOTH,
    "det_yolox_nano+250": BOTH,
    "kws_dscnn": HALF,
    "sr_imdn_x2": HALF,
    "minilm_l6_v2": HALF,
    "imagenet_squeezenet": BOTH,
}
SAMPLES = {
    "det_yolox_nano+250": 258,
    "kws_dscnn": 200,
    "sr_imdn_x2": 12,
    "minilm_l6_v2": 200,
    "imagenet_squeezenet": 100,
}
USUAL = 1000
ASKED = {
    ("imagenet_mobilenet_v2+1k", "macs=75%"): (75.5, 76.2),
    ("imagenet_mobilenet_v2+1k", "macs=50%"): (58.0, 66.0),
    ("det_yolox_nano+250", "macs=75%"): (43.0, 45.5),
    ("det_yolox_nano+250", "macs=50%"): (20.0, 30.0),
    ("cifar10_resnet56", "macs=75%"): (93.4, 93.5),
    ("cifar10_resnet56", "macs=50%"): (92.5, 92.9),
    ("cifar10_resnet20", "macs=75%"): (91.1, 91.3),
    ("cifar10_resnet20", "macs=50%"): (88.6, 89.3),
    ("imagenet_squeezenet", "macs=75%"): (58.5, 58.5),
    ("imagenet_squeezenet", "macs=50%"): (48.0, 48.0),
}
"""What the project asks of itself at normal and at thorough effort."""
ORIGINAL = "original"
HEAD = ["model", "target", "samples", "original", *(f"{effort}, minutes" for effort in EFFORTS), "asked"]
TEXT = """# Accuracy against effort

Made by `make bench-efforts`; do not edit. `shrink MODEL --target TARGET --data SAMPLES --multiple-of 1` with `--effort`
{efforts}. Scores are those of labelled data that onnxprune never saw; minutes are those of the command on {threads} of
the machine's cores. "asked" is what the project asks of itself at normal and thorough effort; where it is missed,
[accuracy-limits.md](accuracy-limits.md) says what was tried.

{machine}

{table}
"""


def cell(evaluation: Evaluation, name: str, target: str, effort: str, threads: int, folder: Path) -> Row:
    """The score of the model cut to a target; that of the original has an effort of that name."""
    model, data, out = (folder / f"{name}{end}" for end in (".onnx", ".npz", ".cut.onnx"))
    if not data.exists():
        evaluation.original(name, model)
        evaluation.calib(name, SAMPLES.get(name, USUAL), data)
    if effort == ORIGINAL:
        return evaluation.score(name, model)
    left, seconds = accuracy.shrink(model, target, data, out, ("--effort", effort, "--threads", str(threads)))
    return {**evaluation.score(name, out), "macs_left": left, "seconds": seconds}


def line(name: str, target: str, rows: dict[str, Row]) -> list[str]:
    original = rows[ORIGINAL]
    found = [f"{rows[e]['value']:.2f}, {rows[e]['seconds'] / 60:.1f}" if e in rows else "" for e in EFFORTS]
    asked = " and ".join(f"{value:.1f}" for value in dict.fromkeys(ASKED.get((name, target), ())))
    unit = UNITS.get(original["metric"], original["metric"])
    return [name, target, str(SAMPLES.get(name, USUAL)), f"{original['value']:.2f} {unit}", *found, asked]


def measured(evaluation: Evaluation, name: str, efforts: list[str], threads: int, results: Path) -> list[list[str]]:
    """The lines of a model: with these efforts, and others that were measured before."""
    lines = []
    with tempfile.TemporaryDirectory(prefix="onnxprune-eval-") as folder:
        for target in TARGETS[name]:
            rows: dict[str, Row] = {}
            for effort in (ORIGINAL, *EFFORTS):
                of = "" if effort == ORIGINAL else f"-{target.replace('=', '-').removesuffix('%')}"
                path = results / f"{name}{of}-{effort}.json"
                if effort in (ORIGINAL, *efforts) or path.exists():
                    rows[effort] = kept(
                        path,
                        lambda t=target, e=effort: cell(evaluation, name, t, e, threads, Path(folder)),  # type: ignore[misc]
                    )
                    print(name, target, effort, f"{rows[effort]['value']:.2f}", flush=True)
            lines.append(line(name, target, rows))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--eval", default="")
    parser.add_argument("--models", default=",".join(TARGETS))
    parser.add_argument("--efforts", default=",".join(EFFORTS), help="those to measure")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--results", type=Path, default=Path("out/efforts"))
    parser.add_argument("--report", type=Path)
    given = parser.parse_args()
    evaluation = Evaluation(Path(given.eval))
    if not (given.eval and evaluation.present()):
        print(absent(given.eval))
        return
    efforts = given.efforts.split(",")
    lines = [
        one
        for name in given.models.split(",")
        for one in measured(evaluation, name, efforts, given.threads, given.results)
    ]
    show("Accuracy against effort", HEAD, lines)
    if given.report:
        many, table = ", ".join(EFFORTS), markdown(HEAD, lines)
        threads = str(given.threads or "all")
        given.report.write_text(TEXT.format(efforts=many, threads=threads, machine=machine(), table=table))


if __name__ == "__main__":
    main()
