"""What is left of the accuracy at a *time*: default widths against channels taken one by one.

usage: python benchmarks/equal_time.py --eval FOLDER [--models A,B] [--threads N] [--results FOLDER] [--report FILE]

For every model `onnxprune shrink MODEL --target macs=75% --data SAMPLES` and `macs=50%`, scored, and timed in turn with
the original in ONNX Runtime. For the models of NARROW, whose layers have few blocks of channels, also with
`--multiple-of 1` at smaller and smaller targets, until the result is as fast. Results are kept in --results. With
--report a picture of the same name is drawn beside the page (equal_time_picture.py).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import accuracy
import equal_time_picture
from evaluation import UNITS, Evaluation, Row, absent, kept, machine, markdown, show
from speed import faster

import onnxprune

NARROW = ("cifar10_resnet20", "cifar10_resnet56", "kws_dscnn")
MODELS = (*NARROW, "sr_imdn_x2", "minilm_l6_v2", "imagenet_mobilenet_v2", "det_yolox_nano")
TARGETS = ("macs=75%", "macs=50%")
SMALLER = ("macs=75%", "macs=62%", "macs=50%", "macs=40%", "macs=32%", "macs=25%")
HEAD = ["model", "command", "MACs left", "faster (quartiles)", "score"]
TEXT = """# Accuracy at a time

Made by `make bench-equal-time`; do not edit. `shrink MODEL --target TARGET --data SAMPLES` with default widths, and
with `--multiple-of 1`, which takes channels one by one, at targets that give about the same time. Timed in turn with
the original in ONNX Runtime, batch 1, {threads} thread(s); quartiles are those of the ratios of runs next to each
other. Scores are those of labelled data that onnxprune never saw, as in [accuracy.md](accuracy.md).

{machine}

![Quality against time, with default widths](equal-time.svg)

{table}
"""


def cell(evaluation: Evaluation, name: str, target: str, widths: tuple[str, ...], threads: int, folder: Path) -> Row:
    model, data, out = (folder / f"{name}{end}" for end in (".onnx", ".npz", ".cut.onnx"))
    if not data.exists():
        evaluation.original(name, model)
        evaluation.calib(name, accuracy.SAMPLES[name], data)
    if target == accuracy.ORIGINAL:
        return {**evaluation.score(name, model), "macs_left": 1.0, "faster": (1.0, 1.0, 1.0)}
    script = Path(sys.executable).parent / "onnxprune"
    command = [str(script), "shrink", str(model), "--target", target, "--data", str(data), *widths, "--no-bench"]
    subprocess.run([*command, "-o", str(out), "--force"], stdout=subprocess.DEVNULL, check=True)
    before, after = (onnxprune.inspect(path).model.macs for path in (model, out))
    return {**evaluation.score(name, out), "macs_left": after / before, "faster": faster(model, out, threads)[:3]}


def line(name: str, target: str, widths: tuple[str, ...], row: Row) -> list[str]:
    speed, low, high = row["faster"]
    score = f"{row['value']:.2f} {UNITS.get(row['metric'], row['metric'])}"
    if target == accuracy.ORIGINAL:
        return [name, target, "", "", score]
    command = " ".join((f"--target {target}", *widths))
    return [name, f"`{command}`", f"{row['macs_left']:.1%}", f"{speed:.2f}x ({low:.2f}-{high:.2f})", score]


def measured(evaluation: Evaluation, name: str, threads: int, results: Path) -> list[list[str]]:
    lines = []
    with tempfile.TemporaryDirectory(prefix="onnxprune-eval-") as folder:

        def row(target: str, *widths: str) -> Row:
            file = results / f"{name}-{target.replace('=', '-').replace('%', '')}{'-free' if widths else ''}.json"
            found = kept(file, lambda: cell(evaluation, name, target, widths, threads, Path(folder)))
            lines.append(line(name, target, widths, found))
            print(*lines[-1], sep="  ", flush=True)
            return found

        row(accuracy.ORIGINAL)
        wanted = max(row(target)["faster"][0] for target in TARGETS)
        for target in SMALLER if name in NARROW else ():
            if row(target, *accuracy.FREE)["faster"][0] >= wanted:
                break
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--eval", default="")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", type=Path, default=Path("out/equal-time-results"))
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    evaluation = Evaluation(Path(options.eval))
    if not options.eval or not evaluation.present():
        print(absent(options.eval))
        return
    lines = [
        one
        for name in options.models.split(",")
        for one in measured(evaluation, name, options.threads, options.results)
    ]
    show("Accuracy at a time", HEAD, lines)
    if options.report:
        text = TEXT.format(threads=options.threads, machine=machine(), table=markdown(HEAD, lines))
        options.report.write_text(text)
        picture = equal_time_picture.drawn(equal_time_picture.read(options.results))
        options.report.with_suffix(".svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
