"""What is left of the accuracy of real models with most weights zero: by pattern, method and repair.

usage: python benchmarks/sparsity.py [--eval FOLDER] [--models A,B] [--patterns unstructured,4x1,2:4] [--methods A,B]
       [--shares 50,80] [--results FOLDER] [--report FILE]

Every cell is what `onnxprune sparsify MODEL --sparsity S --pattern P --method M --repair R --data SAMPLES` does to the
weights, with all layers masked whether a kernel is faster or not, and without the proof, which changes no weight. The
naive row is `--method magnitude --repair none`, without samples. Results are kept in --results, one JSON file a cell,
so that an interrupted run goes on; delete them to start over.

Of large models only some cells are measured, see CELLS: all of it takes some hours on two cores.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation import UNITS, Evaluation, Row, absent, kept, machine, markdown, show
from threadpoolctl import threadpool_limits

from onnxprune import load
from onnxprune.capture.samples import open_samples
from onnxprune.model.save import write
from onnxprune.sparse import parse_pattern
from onnxprune.sparsifying.masks import MaskRequest, masked
from onnxprune.trace import trace_model

ORIGINAL = "original"
SHARES = (50, 70, 80, 90)
SAMPLES = {"cifar10_resnet20": 1000, "imagenet_mobilenet_v2": 100, "kws_dscnn": 200, "minilm_l6_v2": 128}
OTHER_SAMPLES = 200


@dataclass(frozen=True)
class Way:
    """A row of the table."""

    name: str
    method: str
    repair: str
    scope: str = "local"

    @property
    def naive(self) -> bool:
        return self.repair == "none"


WAYS = (
    Way("naive", "magnitude", "none"),
    Way("magnitude, least squares", "magnitude", "least-squares"),
    Way("wanda, least squares", "wanda", "least-squares"),
    Way("net-trim, least squares", "net-trim", "least-squares"),
    Way("obs, least squares", "obs", "least-squares"),
    Way("obs, reconstruction", "obs", "reconstruct"),
    Way("obs, reconstruction, global", "obs", "reconstruct", "global"),
)
PATTERNS = ("unstructured", "4x1", "2:4")
CELLS: Mapping[str, Mapping[str, Sequence[int]]] = {
    "kws_dscnn": {**{way.name: SHARES for way in WAYS}, "obs, reconstruction, global": (80,)},
    "cifar10_resnet20": {**{way.name: SHARES for way in WAYS}, "obs, reconstruction, global": (80,)},
    "cifar10_resnet56": {"naive": SHARES, "obs, least squares": (50, 80), "obs, reconstruction": (50, 80)},
    "imagenet_mobilenet_v2": {**{way.name: SHARES for way in WAYS[:-2]}, "obs, reconstruction": (50, 80)},
    "det_yolox_nano": {"naive": SHARES, "obs, least squares": (50, 80), "obs, reconstruction": (50,)},
    "sr_imdn_x2": {"naive": SHARES, "obs, least squares": (50, 80), "obs, reconstruction": (50,)},
    "minilm_l6_v2": {
        "naive": SHARES,
        "magnitude, least squares": SHARES,
        "wanda, least squares": SHARES,
        "obs, least squares": SHARES,
    },
}
"""Shares in percent by model and row: methods are compared where that is cheap, elsewhere what says something."""

HEAD = ["model", "pattern", "method and repair", *(f"{share} %" for share in SHARES)]
HEADER = """# Accuracy of sparse models

Made by `make sparsity-accuracy`; do not edit. Trained models, scored on labelled data that onnxprune never saw, after
a share of the weights of every layer but the depthwise ones was set to zero. No training, no labels: only unlabelled
samples. `naive` is the smallest weights of every layer, without samples and without repair. Least squares
refits layer by layer what stays; reconstruction then adjusts all weights together, and is what `onnxprune sparsify
--data` does by default (with `obs`). `global` takes more from layers that lose less by it. 2:4 is 50 %. Every layer is
masked here, also those where no kernel is faster. Of large models only some cells were measured. Samples: 1,000 for
CIFAR, 200 for KWS, 128 for MiniLM, 100 for MobileNetV2, 24 for YOLOX, 12 for IMDN.

{machine}
"""


def sparse(model: Path, data: Path | None, out: Path, way: Way, pattern: str, share: float) -> tuple[float, float]:
    """Write the model with zeros; the share of zeros in its masked layers, and the seconds it took."""
    start = time.perf_counter()
    traced = trace_model(load(model))
    request = MaskRequest(share, parse_pattern(pattern), way.method, way.scope, way.repair)
    with threadpool_limits(1, user_api="blas"):  # as the command does
        found = masked(traced, request, open_samples(str(data), traced) if data else None)
    seconds = time.perf_counter() - start
    write(found.model, out, force=True)
    return found.sparsity, seconds


def cell(evaluation: Evaluation, name: str, way: Way | None, pattern: str, share: int, folder: Path) -> Row:
    """Measure one cell; without a way the original."""
    samples = SAMPLES.get(name, OTHER_SAMPLES)
    model, data, out = (folder / f"{name}{end}" for end in (".onnx", ".npz", ".sparse.onnx"))
    if not data.exists():
        evaluation.original(name, model)
        evaluation.calib(name, samples, data)
    zeros, seconds = 0.0, 0.0
    if way is None:
        out = model
    else:
        zeros, seconds = sparse(model, None if way.naive else data, out, way, pattern, share / 100)
    row = {**evaluation.score(name, out), "sparsity": zeros, "seconds": seconds, "samples": samples}
    what = ORIGINAL if way is None else f"{way.name} {pattern} {share} %"
    print(f"{name}  {what}: {row['value']:.2f} ({seconds:.0f} s)", flush=True)
    return row


def shares(name: str, way: Way, pattern: str, asked: Sequence[int]) -> list[int]:
    """What of a row is measured, of what was asked for."""
    known = CELLS.get(name, {entry.name: SHARES for entry in WAYS}).get(way.name, ())
    fixed = parse_pattern(pattern).share
    if fixed is not None:
        return [round(100 * fixed)] if known and way.scope != "global" else []
    return [share for share in known if share in asked]


def measure(evaluation: Evaluation, name: str, given: argparse.Namespace) -> list[list[str]]:
    """All lines of one model, measured or kept from before."""
    lines = []
    with tempfile.TemporaryDirectory(prefix="onnxprune-sparsity-") as text:
        folder = Path(text)

        def row(way: Way | None, pattern: str, share: int) -> Row:
            parts = [name, ORIGINAL] if way is None else [name, pattern, way.name, str(share)]
            stem = "-".join(parts).replace(", ", "-").replace(" ", "-").replace(":", "of")
            return kept(given.results / f"{stem}.json", lambda: cell(evaluation, name, way, pattern, share, folder))

        original = row(None, "", 0)
        unit = UNITS.get(original["metric"], original["metric"])
        lines.append([name, "", f"{ORIGINAL} ({unit})", *[f"{original['value']:.1f}"] * len(SHARES)])
        for pattern in given.patterns.split(","):
            for way in (way for way in WAYS if given.methods is None or way.method in given.methods.split(",")):
                found = {s: row(way, pattern, s) for s in shares(name, way, pattern, given.shares)}
                if not found:
                    continue
                values = [f"{found[share]['value']:.1f}" if share in found else "" for share in SHARES]
                lines.append([name, pattern, way.name, *values])
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the accuracy that real models keep with most weights zero.")
    parser.add_argument("--eval", default="", help="the evaluation folder")
    parser.add_argument("--models", default=",".join(CELLS), help="names, separated by commas")
    parser.add_argument("--patterns", default=",".join(PATTERNS))
    parser.add_argument("--methods", help="names, separated by commas; all without")
    parser.add_argument("--shares", default=",".join(map(str, SHARES)), help="percent, some of %(default)s")
    parser.add_argument("--results", type=Path, default=Path("out/sparsity"))
    parser.add_argument("--report", type=Path)
    given = parser.parse_args()
    given.shares = [int(share) for share in given.shares.split(",")]
    evaluation = Evaluation(Path(given.eval))
    if not (given.eval and evaluation.present()):
        print(absent(given.eval))
        return
    lines = [line for name in given.models.split(",") for line in measure(evaluation, name, given)]
    show("Accuracy with zeros", HEAD, lines)
    if given.report:
        given.report.write_text(f"{HEADER.format(machine=machine())}\n{markdown(HEAD, lines)}\n")


if __name__ == "__main__":
    main()
