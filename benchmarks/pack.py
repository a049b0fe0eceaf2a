"""What `onnxprune pack` saves on real models, and what it costs them.

usage: python benchmarks/pack.py [--eval FOLDER] [--models A,B] [--results FOLDER] [--report FILE]

The example model is always there; others come from an evaluation folder (see evaluation.py). Every line is one command,
`onnxprune pack MODEL` with the options shown, then `unpack`, and the score of what came out; what is identical to the
original is not scored again. `xz -1` is the file compressed as it is. The second table has the same models with the
smallest weights set to zero, for size only. Results are kept in --results, one JSON file a line.
"""

from __future__ import annotations

import argparse
import json
import lzma
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import MappingProxyType

import numpy as np
from criteria import DIGITS, score_digits
from evaluation import UNITS, Evaluation, Row, absent, kept, machine, markdown, show

from onnxprune.model.graph import build
from onnxprune.model.load import load
from onnxprune.model.save import write
from onnxprune.packing.kinds import Weight, weights

ROOT = Path(__file__).resolve().parents[1]
ORIGINAL, XZ = "original", "xz -1"
WAYS = (
    ORIGINAL,
    XZ,
    "--weights exact",
    "",
    "--bits 6",
    "--bits 5",
    "--bits 4",
    "--clusters linear",
    "--weights int8",
)
ZEROS = (0.5, 0.8, 0.9)
SPARSE = (DIGITS, "cifar10_resnet20")
HEAD = ["model", "options", "bytes", "of the original", "worst weight", "score"]
SPARSE_HEAD = ["model", "zeros", "pattern", "options", "bytes", "of the original"]
HEADER = """# Packed models

Made by `make bench-pack`; do not edit. Sizes are those of whole files. "Worst weight" is the largest relative error of
a weight tensor. Scores are on labelled data, of what `unpack` gives. How it works: [pack.md](pack.md).

{machine}

{table}

The same with the smallest weights set to zero, in every convolution and matrix (size only: nothing is said about the
accuracy of these).

{sparse}
"""


def command(*arguments: str) -> Row:
    """Run onnxprune; its document. RuntimeError, with what it said, if it fails."""
    script = Path(sys.executable).parent / "onnxprune"
    done = subprocess.run([str(script), *arguments, "--format", "json"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}: {' '.join(arguments)}\n{done.stderr}")
    found: Row = json.loads(done.stdout)
    return found


def cell(evaluation: Evaluation, name: str, way: str, results: Path, folder: Path) -> Row:
    """Measure one line of the first table."""
    model = original(evaluation, name, folder)
    size, error, identical = model.stat().st_size, 0.0, True
    packed, out = folder / "p.onnxpack", folder / "out" / "u.onnx"
    if way == XZ:
        size = len(lzma.compress(model.read_bytes(), preset=1))
    elif way != ORIGINAL:
        found = command("pack", str(model), "-o", str(packed), "--force", *way.split())
        size, identical = found["packed"]["size_bytes"], found["unpacked"]["identical"]
        error = max((tensor["error_ratio"] for tensor in found["tensors"]), default=0.0)
        out.parent.mkdir(exist_ok=True)
        command("unpack", str(packed), "-o", str(out), "--force")
    if way == ORIGINAL:
        scored = score(evaluation, name, model)
    elif identical:
        scored = json.loads(place(results, name, ORIGINAL).read_text())
    else:
        scored = score(evaluation, name, out)
    print(f"{name} {way}: {size} bytes, {scored['value']:.2f}", flush=True)
    whole = model.stat().st_size
    return {**{key: scored[key] for key in ("metric", "value", "n")}, "bytes": size, "whole": whole, "error": error}


def sparse_cell(evaluation: Evaluation, name: str, share: float, rows: int, way: str, folder: Path) -> Row:
    """Measure one line of the second table."""
    model = original(evaluation, name, folder)
    zeroed = folder / "zeroed.onnx"
    with_zeros(model, share, rows, zeroed)
    found = command("pack", str(zeroed), "-o", str(folder / "p.onnxpack"), "--force", *way.split())
    return {"bytes": found["packed"]["size_bytes"], "whole": model.stat().st_size}


def with_zeros(model: Path, share: float, rows: int, out: Path) -> None:
    """Set the smallest blocks of `rows` output channels by one weight to zero, the share of every weight."""
    source = load(model)
    tensors = dict(source.tensors)
    for name, use in weights(build(source)).items():
        if isinstance(use, Weight) and tensors[name].shape[use.axis] % rows == 0:
            turned = np.moveaxis(tensors[name].array(), use.axis, 0)
            blocks = turned.reshape(turned.shape[0] // rows, rows, -1)
            size = np.abs(blocks).sum(axis=1, keepdims=True)
            kept_blocks = np.where(size > np.quantile(size, share), blocks, np.float32(0))
            tensors[name] = tensors[name].with_array(np.moveaxis(kept_blocks.reshape(turned.shape), 0, use.axis))
    write(source.replace(source.proto, MappingProxyType(tensors)), out, force=True)


def original(evaluation: Evaluation, name: str, folder: Path) -> Path:
    model = folder / f"{name}.onnx"
    if not model.exists():
        if name == DIGITS:
            shutil.copyfile(ROOT / "models" / "digits.onnx", model)
        else:
            evaluation.original(name, model)
    return model


def score(evaluation: Evaluation, name: str, model: Path) -> Row:
    return score_digits(model) if name == DIGITS else evaluation.score(name, model)


def place(results: Path, *parts: str) -> Path:
    """Where the result of a line is kept."""
    return results / f"{'-'.join(part.replace(' ', '') or 'default' for part in parts)}.json"


def line(name: str, way: str, row: Row) -> list[str]:
    """A measured line as text, below HEAD."""
    options = {ORIGINAL: ORIGINAL, XZ: "(xz -1 of the file)", "": "(defaults)"}.get(way, f"`{way}`")
    error = "" if way in (ORIGINAL, XZ) else f"{row['error']:.2%}" if row["error"] else "0"
    unit = UNITS.get(row["metric"], row["metric"])
    return [name, options, f"{row['bytes']:,}", share(row), error, f"{row['value']:.2f} {unit}"]


def share(row: Row) -> str:
    return f"{row['bytes'] / row['whole']:.1%}"


def tables(evaluation: Evaluation, names: list[str], results: Path) -> tuple[list[list[str]], list[list[str]]]:
    """All lines of both tables, measured or kept from before."""
    lines, sparse = [], []
    with tempfile.TemporaryDirectory(prefix="onnxprune-pack-") as text:
        folder = Path(text)
        for name in names:
            for way in WAYS:
                row = kept(place(results, name, way), lambda n=name, w=way: cell(evaluation, n, w, results, folder))  # type: ignore[misc]
                lines.append(line(name, way, row))
        for name in (name for name in SPARSE if name in names):
            for part in ZEROS:
                for pattern, rows in (("unstructured", 1), ("4x1", 4)):
                    for way in ("", "--weights exact"):
                        row = kept(
                            place(results, name, pattern, str(part), way),
                            lambda n=name, p=part, r=rows, w=way: sparse_cell(evaluation, n, p, r, w, folder),  # type: ignore[misc]
                        )
                        shown = f"`{way}`" if way else "(defaults)"
                        sparse.append([name, f"{part:.0%}", pattern, shown, f"{row['bytes']:,}", share(row)])
    return lines, sparse


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure sizes and scores of packed models.")
    parser.add_argument("--eval", default="", help="the evaluation folder")
    parser.add_argument("--models", help="names, separated by commas; all without")
    parser.add_argument("--results", type=Path, default=Path("out/pack"))
    parser.add_argument("--report", type=Path)
    given = parser.parse_args()
    evaluation = Evaluation(Path(given.eval))
    there = bool(given.eval) and evaluation.present()
    if not there:
        print(absent(given.eval))
    names = given.models.split(",") if given.models else [DIGITS, *(evaluation.names() if there else ())]
    lines, sparse = tables(evaluation, names, given.results)
    show("Packed", HEAD, lines)
    show("With zeros", SPARSE_HEAD, sparse)
    if given.report:
        text = HEADER.format(machine=machine(), table=markdown(HEAD, lines), sparse=markdown(SPARSE_HEAD, sparse))
        given.report.write_text(text)


if __name__ == "__main__":
    main()
