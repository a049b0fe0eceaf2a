"""What `compress` leaves of the accuracy at a latency: the targets of TARGETS for every model.

usage: python benchmarks/compress.py --eval FOLDER [--models A,B] [--threads N] [--results FOLDER] [--report FILE]
       [--no-line]

For every model `onnxprune compress MODEL --target latency=... --data SAMPLES`, scored, and timed in turn with the
original in ONNX Runtime. Beside it what a cut and plain int8 leave (`compress_line`). Results are kept in --results.
"""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from compress_line import CUTS, WHOLE, at, point
from evaluation import UNITS, Evaluation, Row, absent, kept, machine, markdown, show
from speed import faster

TARGETS = {
    "cifar10_resnet20": ("33%", "25%"),
    "cifar10_resnet56": ("33%", "25%"),
    "kws_dscnn": ("60%", "45%"),
    "imagenet_mobilenet_v2": ("42%", "33%"),
    "det_yolox_nano": ("70%", "60%"),
    "sr_imdn_x2": ("30%",),
    "minilm_l6_v2": ("37%", "30%"),
}
SAMPLES = {
    "det_yolox_nano": 258,
    "kws_dscnn": 200,
    "sr_imdn_x2": 12,
    "minilm_l6_v2": 200,
}
"""How many are given, if other than USUAL."""
USUAL = 1000
LARGER = {"imagenet_mobilenet_v2": "imagenet_mobilenet_v2+1k", "det_yolox_nano": "det_yolox_nano+250"}
"""The same models with more samples, to be calibrated on, and with others that are scored as well."""
EFFORTS = {"cifar10_resnet20": "2", "cifar10_resnet56": "2", "kws_dscnn": "8"}
"""`--effort`, if other than normal: what fits into ten minutes on two cores."""
ORIGINAL = "original"
HEAD = ["model", "target", "levers", "time left (quartiles)", "file left", "score", "the line there", "minutes"]
TEXT = """# What `compress` leaves

Made by `make bench-compress`; do not edit. `compress MODEL --target latency=TARGET --data SAMPLES --threads {threads}`
(`--effort` {efforts}),
then timed once more in turn with the original in ONNX Runtime, batch 1, {threads} thread(s); quartiles are those of the
ratios of runs next to each other. Scores are those of labelled data that onnxprune never saw, as in
[accuracy.md](accuracy.md); where there are two, the second is of more and harder samples. Samples without labels:
{samples}.

"cut to 75 %, plain int8": `shrink --target macs=75%` on the same samples, and then ONNX Runtime's own quantiser, all
operators, per channel, MinMax (of texts its dynamic one). "The line there" is what a straight line between these points
says of the score at the time that `compress` left; empty where it left more or less time than any of them.

{machine}

{table}
"""


def cell(evaluation: Evaluation, name: str, target: str, threads: int, folder: Path) -> Row:
    (model, data), out = inputs(evaluation, name, folder), folder / f"{name}.out.onnx"
    if target == ORIGINAL:
        return {"scores": scores(evaluation, name, model)}
    script = Path(sys.executable).parent / "onnxprune"
    command = [str(script), "compress", str(model), "--target", f"latency={target}", "--format", "json"]
    command += ["--effort", EFFORTS.get(name, "normal")]
    since = time.perf_counter()
    done = subprocess.run(
        [*command, "--data", str(data), "--threads", str(threads), "--no-bench", "-o", str(out), "--force"],
        capture_output=True,
        text=True,
        check=True,
    )
    minutes = (time.perf_counter() - since) / 60
    taken = next(point for point in json.loads(done.stdout)["points"] if point["taken"])
    size = out.stat().st_size / model.stat().st_size
    return {
        "scores": scores(evaluation, name, out),
        "levers": " + ".join(taken["levers"]),
        "faster": faster(model, out, threads, first_of(data))[:3],
        "size": size,
        "minutes": minutes,
    }


def plain(evaluation: Evaluation, name: str, cut: str, threads: int, folder: Path) -> Row:
    """What `cut` and plain int8 leave."""
    model, data = inputs(evaluation, name, folder)
    out = folder / f"{name}.plain.onnx"
    found = point(name, model, data, cut, threads, first_of(data), out)
    return found if "error" in found else {**found, "scores": scores(evaluation, name, out)}


def inputs(evaluation: Evaluation, name: str, folder: Path) -> tuple[Path, Path]:
    """The model and its samples, written if they are not there."""
    model, data = (folder / f"{name}{end}" for end in (".onnx", ".npz"))
    if not data.exists():
        evaluation.original(name, model)
        evaluation.calib(LARGER.get(name, name), SAMPLES.get(name, USUAL), data)
    return model, data


def first_of(data: Path) -> dict[str, Any]:
    """The first sample: of texts, sizes matter."""
    with np.load(data) as found:
        return {name: found[name][:1] for name in found.files}


def scores(evaluation: Evaluation, name: str, model: Path) -> list[Row]:
    """Of all data that there is for a model."""
    return [evaluation.score(one, model) for one in dict.fromkeys((name, LARGER.get(name, name)))]


def line(name: str, target: str, row: Row, beside: Sequence[Row] = ()) -> list[str]:
    """`beside`: points of the line."""
    if "error" in row:
        return [name, target, "", "", "", row["error"], "", ""]
    unit = UNITS.get(row["scores"][0]["metric"], row["scores"][0]["metric"])
    score = f"{said([one['value'] for one in row['scores']])} {unit}"
    if target == ORIGINAL:
        return [name, target, "", "", "", score, "", ""]
    speed, low, high = row["faster"]
    left = f"{1 / speed:.1%} ({1 / high:.1%}-{1 / low:.1%})"
    minutes = f"{row['minutes']:.1f}" if "minutes" in row else ""
    there = said([on_line(beside, number, 1 / speed) for number in range(len(row["scores"]))])
    return [name, target, row.get("levers", ""), left, f"{row['size']:.0%}", score, there, minutes]


def said(values: Sequence[float | None]) -> str:
    return " and ".join(f"{value:.2f}" for value in values if value is not None)


def on_line(beside: Sequence[Row], number: int, left: float) -> float | None:
    """What the line says of the score of this number where `left` of the time is left."""
    return at([(1 / row["faster"][0], row["scores"][number]["value"]) for row in beside if "error" not in row], left)


def measured(evaluation: Evaluation, name: str, threads: int, results: Path, with_line: bool) -> list[list[str]]:
    lines, beside = [], []
    with tempfile.TemporaryDirectory(prefix="onnxprune-eval-") as text:
        folder = Path(text)

        def found(key: str, work: Callable[[], Row]) -> Row:
            return kept(results / f"{name}-{key.removesuffix('%')}.json", work)

        def shown(*row: str) -> None:
            lines.append(list(row))
            print(*row, sep="  ", flush=True)

        shown(*line(name, ORIGINAL, found(ORIGINAL, lambda: cell(evaluation, name, ORIGINAL, threads, folder))))
        there = [cut for cut in CUTS if with_line or (results / f"{name}-plain-{cut.removesuffix('%')}.json").exists()]
        for cut in there:
            how = functools.partial(plain, evaluation, name, cut, threads, folder)
            beside.append(found(f"plain-{cut}", how))
            label = "plain int8" if cut == WHOLE else f"cut to {cut.replace('%', ' %')}, plain int8"
            shown(*line(name, label, beside[-1]))
        for target in TARGETS[name]:
            how = functools.partial(cell, evaluation, name, target, threads, folder)
            shown(*line(name, target, found(target, how), beside))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--eval", default="")
    parser.add_argument("--models", default=",".join(TARGETS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", type=Path, default=Path("out/compress-results"))
    parser.add_argument("--report", type=Path)
    parser.add_argument("--no-line", action="store_true", help="of the line only what was measured before")
    options = parser.parse_args()
    evaluation = Evaluation(Path(options.eval))
    if not options.eval or not evaluation.present():
        print(absent(options.eval))
        return
    names = options.models.split(",")
    lines = [
        one
        for name in names
        for one in measured(evaluation, name, options.threads, options.results, not options.no_line)
    ]
    show("What compress leaves", HEAD, lines)
    if options.report:
        efforts = ", ".join(f"{effort} for {name}" for name, effort in EFFORTS.items() if name in names)
        given = ", ".join(f"{SAMPLES.get(name, USUAL)} for {name}" for name in names)
        table = markdown(HEAD, lines)
        options.report.write_text(
            TEXT.format(threads=options.threads, efforts=efforts, samples=given, machine=machine(), table=table),
            encoding="utf-8",
        )


if __name__ == "__main__":
    main()
