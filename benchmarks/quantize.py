"""What `onnxprune quantize` gives beside what ONNX Runtime's own quantiser gives: scores, times in turn, sizes.

usage: python benchmarks/quantize.py --eval FOLDER [--models A,B] [--seconds S] [--skip A,B]
       [--results FOLDER] [--report FILE]

For every model of the evaluation folder (evaluation.py): `onnxprune quantize MODEL --data SAMPLES` with its defaults,
and the configurations of quantize_stock.py, each in a process of its own, on the same samples. The files and what was
measured are kept in --results, so that an interrupted run goes on; remove NAME-*.json to measure a model again. Times
of all its files are measured together, when the last is there. --skip leaves configurations out that were not measured
before (the dynamic one takes long where convolutions are many).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from evaluation import Evaluation, Row, absent, kept, show
from quantize_page import HEAD, ORIGINAL, OURS, Measured, lines_of, page
from quantize_stock import LABELS, feeds_of
from speed import own_time_in_turn, ratio

SAMPLES = {"imagenet_mobilenet_v2": 100, "det_yolox_nano": 24, "sr_imdn_x2": 12}
OTHER_SAMPLES = 200
MODELS = ("cifar10_resnet20", "cifar10_resnet56", "kws_dscnn", "minilm_l6_v2", *SAMPLES)
SCORED = {
    "imagenet_mobilenet_v2": ("imagenet_mobilenet_v2", "imagenet_mobilenet_v2+1k"),
    "det_yolox_nano": ("det_yolox_nano+250",),
}
"""By which names of the evaluation a model is scored, if not by its own: those with more labelled data."""
LEAST = 30
"""Rounds of timing."""


def ours(model: Path, data: Path, out: Path) -> Row:
    """Run the command. RuntimeError, with what it said, if it fails."""
    script = Path(sys.executable).parent / "onnxprune"
    command = [str(script), "quantize", str(model), "--data", str(data), "-o", str(out), "--force", "--no-bench"]
    start = time.perf_counter()
    done = subprocess.run([*command, "--threads", "1", "--format", "json"], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}: {' '.join(command)}\n{done.stderr}")
    found = json.loads(done.stdout)["quantization"]
    layers = [one for one in found["layers"] if one["kind"] == "layer"]
    integers = sum(one["precision"] != "float32" for one in layers)
    return {"seconds": seconds, "scheme": found["scheme"], "layers": len(layers), "integers": integers}


def theirs(model: Path, data: Path, way: str, out: Path) -> Row:
    """Run quantize_stock.py: `samples`, or `error`."""
    command = [sys.executable, str(Path(__file__).with_name("quantize_stock.py")), str(model), str(data), way, str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:  # it catches what can be caught
        return {"error": f"exit code {done.returncode}"}
    found: Row = json.loads(done.stdout.splitlines()[-1])
    return found


def scores(evaluation: Evaluation, name: str, model: Path) -> list[Row]:
    scored = [evaluation.score(one, model) for one in SCORED.get(name, (name,))]
    return [{key: one[key] for key in ("metric", "value", "n")} for one in scored]


def measured(evaluation: Evaluation, name: str, seconds: float, skip: Sequence[str], results: Path) -> Measured:
    """All of one model, measured or kept from before."""
    results.mkdir(parents=True, exist_ok=True)
    model, data = results / f"{name}-{ORIGINAL}.onnx", results / f"{name}.npz"
    if not data.exists():
        evaluation.original(name, model)
        evaluation.calib(name, SAMPLES.get(name, OTHER_SAMPLES), data)
    count = len(next(iter(np.load(data).values())))

    def place(key: str) -> Path:
        return results / f"{name}-{key}.onnx"

    def cell(key: str) -> Row:
        row: Row = {"samples": count if key == OURS else 0}
        if key != ORIGINAL:
            row |= ours(model, data, place(key)) if key == OURS else theirs(model, data, key, place(key))
        if "error" not in row:
            row |= {"scores": scores(evaluation, name, place(key)), "bytes": place(key).stat().st_size}
        print(name, key, row.get("error") or [one["value"] for one in row["scores"]], flush=True)
        return row

    files = {key: results / f"{name}-{key}.json" for key in (ORIGINAL, OURS, *LABELS)}
    wanted = {key: file for key, file in files.items() if key not in skip or file.exists()}
    rows = {key: kept(file, lambda k=key: cell(k)) for key, file in wanted.items()}  # type: ignore[misc]
    keys = [key for key, row in rows.items() if "error" not in row]

    def clocked() -> Row:
        times = own_time_in_turn([place(key) for key in keys], feeds_of(model, data)[0], seconds, LEAST)
        return {
            "seconds": float(np.median(times[:, 0])),
            "faster": {key: ratio(times, 0, k) for k, key in enumerate(keys)},
            "beside": {key: ratio(times, k, keys.index(OURS))[0] for k, key in enumerate(keys)},
        }

    clock = results / f"{name}-times.json"
    if clock.exists() and set(json.loads(clock.read_text())["faster"]) != set(keys):
        clock.unlink()  # there were fewer files
    return Measured(name, rows, kept(clock, clocked))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--eval", default="")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--seconds", type=float, default=10.0, help="of processor time, to time all files of a model")
    parser.add_argument("--skip", default="", help=f"of {', '.join(LABELS)}")
    parser.add_argument("--results", type=Path, default=Path("out/quantize"))
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    evaluation = Evaluation(Path(options.eval))
    if not options.eval or not evaluation.present():
        print(absent(options.eval))
        return
    found = []
    for name in options.models.split(","):
        found.append(measured(evaluation, name, options.seconds, options.skip.split(","), options.results))
        show(name, HEAD, lines_of(found[-1]))
        if options.report:  # after each, since all of them take long
            options.report.write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    main()
