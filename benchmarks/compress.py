"""What `compress` leaves of the accuracy at a latency: the targets of TARGETS for every model.

usage: python benchmarks/compress.py --eval FOLDER [--models A,B] [--threads N] [--results FOLDER] [--report FILE]

For every model `onnxprune compress MODEL --target latency=... --data SAMPLES`, scored, and timed in turn with the
original in ONNX Runtime. Results are kept in --results.
"""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from evaluation import UNITS, Evaluation, Row, absent, kept, machine, markdown, show
from speed import faster

TARGETS = {
    "cifar10_resnet20": ("33%", "25%"),
    "cifar10_resnet56": ("33%", "25%"),
    "kws_dscnn": ("60%", "45%"),
    "imagenet_mobilenet_v2": ("42%", "33%"),
    "det_yolox_nano": ("70%",),
    "sr_imdn_x2": ("30%",),
    "minilm_l6_v2": ("37%", "30%"),
}
SAMPLES = {
    "det_yolox_nano": 24,
    "kws_dscnn": 200,
    "sr_imdn_x2": 12,
    "minilm_l6_v2": 200,
}
"""How many are given, if other than USUAL."""
USUAL = 1000
CALIBRATED = {"imagenet_mobilenet_v2": "imagenet_mobilenet_v2+1k"}
LARGER = {"imagenet_mobilenet_v2": "imagenet_mobilenet_v2+1k", "det_yolox_nano": "det_yolox_nano+250"}
"""The same models with more samples, to be calibrated on, and with others that are scored as well."""
ORIGINAL = "original"
HEAD = ["model", "target", "levers", "time left (quartiles)", "file left", "score", "minutes"]
TEXT = """# What `compress` leaves

Made by `make bench-compress`; do not edit. `compress MODEL --target latency=TARGET --data SAMPLES --threads {threads}`,
then timed once more in turn with the original in ONNX Runtime, batch 1, {threads} thread(s); quartiles are those of the
ratios of runs next to each other. Scores are those of labelled data that onnxprune never saw, as in
[accuracy.md](accuracy.md); where there are two, the second is of more and harder samples. Samples without labels:
{samples}.

{machine}

{table}
"""


def cell(evaluation: Evaluation, name: str, target: str, threads: int, folder: Path) -> Row:
    model, data, out = (folder / f"{name}{end}" for end in (".onnx", ".npz", ".out.onnx"))
    if not data.exists():
        evaluation.original(name, model)
        evaluation.calib(CALIBRATED.get(name, name), SAMPLES.get(name, USUAL), data)
    if target == ORIGINAL:
        return {"scores": scores(evaluation, name, model)}
    script = Path(sys.executable).parent / "onnxprune"
    command = [str(script), "compress", str(model), "--target", f"latency={target}", "--format", "json"]
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


def first_of(data: Path) -> dict[str, Any]:
    """The first sample: of texts, sizes matter."""
    with np.load(data) as found:
        return {name: found[name][:1] for name in found.files}


def scores(evaluation: Evaluation, name: str, model: Path) -> list[Row]:
    """Of all data that there is for a model."""
    return [evaluation.score(one, model) for one in dict.fromkeys((name, LARGER.get(name, name)))]


def line(name: str, target: str, row: Row) -> list[str]:
    unit = UNITS.get(row["scores"][0]["metric"], row["scores"][0]["metric"])
    score = " and ".join(f"{one['value']:.2f}" for one in row["scores"]) + f" {unit}"
    if target == ORIGINAL:
        return [name, target, "", "", "", score, ""]
    speed, low, high = row["faster"]
    left = f"{1 / speed:.1%} ({1 / high:.1%}-{1 / low:.1%})"
    return [name, target, row["levers"], left, f"{row['size']:.0%}", score, f"{row['minutes']:.1f}"]


def measured(evaluation: Evaluation, name: str, threads: int, results: Path) -> list[list[str]]:
    lines = []
    with tempfile.TemporaryDirectory(prefix="onnxprune-eval-") as folder:
        for target in (ORIGINAL, *TARGETS[name]):
            file = results / f"{name}-{target.removesuffix('%')}.json"
            found = kept(file, functools.partial(cell, evaluation, name, target, threads, Path(folder)))
            lines.append(line(name, target, found))
            print(*lines[-1], sep="  ", flush=True)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--eval", default="")
    parser.add_argument("--models", default=",".join(TARGETS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", type=Path, default=Path("out/compress-results"))
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    evaluation = Evaluation(Path(options.eval))
    if not options.eval or not evaluation.present():
        print(absent(options.eval))
        return
    names = options.models.split(",")
    lines = [one for name in names for one in measured(evaluation, name, options.threads, options.results)]
    show("What compress leaves", HEAD, lines)
    if options.report:
        given = ", ".join(f"{SAMPLES.get(name, USUAL)} for {name}" for name in names)
        table = markdown(HEAD, lines)
        options.report.write_text(
            TEXT.format(threads=options.threads, samples=given, machine=machine(), table=table), encoding="utf-8"
        )


if __name__ == "__main__":
    main()
