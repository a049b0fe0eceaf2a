"""Compare all criteria on real models: same target, same samples, with and without repair.

usage: python benchmarks/criteria.py [--eval FOLDER] [--models A,B] [--samples N] [--results FOLDER] [--report FILE]

The embedded digits model is always there; others come from an evaluation folder (see evaluation.py). Each cell is
`onnxprune shrink MODEL --criterion X --target macs=70% --scope local --multiple-of 1 --data SAMPLES --repair ...`,
without the proof, which changes no weight. Results are kept in --results, so that an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Final, Literal

import numpy as np
import onnxruntime as ort
from evaluation import UNITS, Evaluation, Row, absent, kept, machine, markdown, show

import onnxprune
from onnxprune.choose.criteria import family, needs_data
from onnxprune.choose.score import activations, consumers, criteria, network

ROOT = Path(__file__).resolve().parents[1]
DIGITS = "digits"
MODELS = (DIGITS, "kws_dscnn", "cifar10_resnet20")
Repair = Literal["none", "least-squares"]
TARGET: Final = "macs=70%"
SCOPE: Final = "local"
REPAIRS: tuple[Repair, ...] = ("none", "least-squares")
SEEDS = (0, 1, 2)
ORIGINAL, READING = "original", "## Reading"
FAMILIES = ("weights", "activations", "network", "consumers")
HEADER = """# Criteria compared

Made by `make criteria`; the tables are measured, do not edit them. Every criterion removes channels until 70 % of the
MACs are left (`--target {target} --scope {scope} --multiple-of 1`: the same share from every group, so that only the
*choice* of the channels within a layer differs), with {samples} unlabelled samples at most. Two columns a model: as cut
(`--repair none`) and with the readers refitted (`--repair least-squares`). `random` is the baseline: mean of
{seeds} seeds, and half the distance between the best and the worst of them.

{machine}
"""


def names() -> list[str]:
    """All criteria, by family; the baseline last."""
    known = [entry.name for entry in criteria()] + [entry.name for entry in activations.criteria()]
    known += [entry.name for entry in network.criteria()] + [entry.name for entry in consumers.criteria()]
    known.remove("random")
    return [*sorted(known, key=lambda n: (FAMILIES.index(family(n)), n)), "random"]


def score_digits(model: Path) -> Row:
    """Accuracy on the test images beside the model."""
    with np.load(ROOT / "models" / "digits_test.npz") as file:
        images, labels = file["image"], file["label"]
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    logits = np.asarray(session.run(None, {"image": images})[0])
    return {"metric": "top1_percent", "value": float((logits.argmax(1) == labels).mean() * 100), "n": len(labels)}


def sources(name: str, evaluation: Evaluation, samples: int, folder: Path) -> tuple[Path, Path]:
    """The original model and its samples, as files in `folder`, made when they are not there."""
    model, data = folder / f"{name}.onnx", folder / f"{name}.npz"
    if name == DIGITS and not data.exists():
        shutil.copyfile(ROOT / "models" / "digits.onnx", model)
        with np.load(ROOT / "models" / "digits_calib.npz") as file:
            np.savez(data, image=file["image"][:samples])
    elif not data.exists():
        evaluation.original(name, model)
        evaluation.calib(name, samples, data)
    return model, data


def score(name: str, evaluation: Evaluation, model: Path) -> Row:
    """metric, value and n of a model file."""
    return score_digits(model) if name == DIGITS else evaluation.score(name, model)


def measure(model: Path, data: Path, criterion: str, repair: Repair, seed: int) -> tuple[Path, float]:
    """Shrink; the path of the result, beside the model, and the share of the MACs that is left."""
    out = model.with_suffix(".cut.onnx")
    result = onnxprune.shrink(
        model,
        out,
        criterion=criterion,
        target=TARGET,
        scope=SCOPE,
        multiple_of=1,
        repair=repair,
        data=data if repair != "none" or needs_data(criterion) else None,
        seed=seed,
        verify=False,
        force=True,
    )
    assert result.after is not None
    return out, result.after.macs / result.before.macs


def cells(
    name: str, evaluation: Evaluation, samples: int, results: Path, folder: Path
) -> dict[tuple[str, str], list[Row]]:
    """Per criterion and repair the measured rows, one a seed; the original under ("original", "none")."""

    def once(criterion: str, repair: Repair, seed: int) -> Row:
        model, data = sources(name, evaluation, samples, folder)
        left = 1.0
        if criterion != ORIGINAL:
            model, left = measure(model, data, criterion, repair, seed)
        row = {**score(name, evaluation, model), "macs_left": left}
        print(f"{name}  {criterion}  {repair}  seed {seed}: {row['value']:.2f}", flush=True)
        return row

    found: dict[tuple[str, str], list[Row]] = {}
    every: list[tuple[str, Repair]] = [(criterion, repair) for criterion in names() for repair in REPAIRS]
    for criterion, repair in [(ORIGINAL, REPAIRS[0]), *every]:
        found[criterion, repair] = [
            kept(
                results / f"{name}-{criterion}-{repair}-{seed}-{samples}.json",
                lambda c=criterion, r=repair, s=seed: once(c, r, s),  # type: ignore[misc]
            )
            for seed in (SEEDS if criterion == "random" else SEEDS[:1])
        ]
    return found


def cell(rows: list[Row]) -> str:
    """One value, or the mean of several and half their range."""
    values = [row["value"] for row in rows]
    text = f"{statistics.mean(values):.1f}"
    return text if len(values) == 1 else f"{text} ± {(max(values) - min(values)) / 2:.1f}"


def rows(measured: dict[str, dict[tuple[str, str], list[Row]]]) -> tuple[list[str], list[list[str]]]:
    """Head and lines of the table."""
    head = ["criterion", "looks at"]
    original = ["original", ""]
    for name, found in measured.items():
        unit = UNITS.get(found[ORIGINAL, "none"][0]["metric"], found[ORIGINAL, "none"][0]["metric"])
        head += [f"{name}, {unit}: none", "least squares"]
        original += [cell(found[ORIGINAL, "none"]), ""]
    lines = [
        [criterion, family(criterion), *(cell(found[criterion, r]) for found in measured.values() for r in REPAIRS)]
        for criterion in names()
    ]
    return head, [original, *lines]


def reading(report: Path) -> str:
    """What a person wrote below the tables, which a new run keeps."""
    text = report.read_text() if report.exists() else ""
    return READING + text.partition(READING)[2] if READING in text else ""


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare all criteria.")
    parser.add_argument("--eval", default="", help="the evaluation folder")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--results", type=Path, default=Path("out/criteria"))
    parser.add_argument("--report", type=Path)
    given = parser.parse_args()
    evaluation, wanted = Evaluation(Path(given.eval)), given.models.split(",")
    if not (given.eval and evaluation.present()):
        print(absent(given.eval))
        wanted, given.report = [name for name in wanted if name == DIGITS], None  # no report with half a table
    with tempfile.TemporaryDirectory(prefix="onnxprune-criteria-") as folder:
        measured = {n: cells(n, evaluation, given.samples, given.results, Path(folder)) for n in wanted}
    if not measured:
        return
    head, lines = rows(measured)
    show(f"Criteria at {TARGET}, {SCOPE}", head, lines)
    if given.report:
        header = HEADER.format(target=TARGET, scope=SCOPE, samples=given.samples, seeds=len(SEEDS), machine=machine())
        given.report.write_text(f"{header}\n{markdown(head, lines)}\n\n{reading(given.report)}".rstrip() + "\n")


if __name__ == "__main__":
    main()
