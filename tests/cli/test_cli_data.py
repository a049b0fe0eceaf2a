"""`onnxprune shrink` with calibration data: samples in, a refitted model out, and every way to get it wrong."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from cli_schema import check
from cli_support import ROOT, Call, Document

import onnxprune
from onnxprune.report.render import plain
from onnxprune.report.shared import shortened
from onnxprune.report.shrink import report
from onnxprune.results import ReconstructionSummary, RepairSummary
from tests.small import small_network

SAMPLES = ROOT / "models" / "digits_calib.npz"
DATA = ("--data", "calib.npz")
QUICK = ("--data", "few.npz")
LAYERWISE = ("--repair", "least-squares")


@pytest.fixture(autouse=True)
def calibration(folder: Path) -> None:
    """calib.npz holds 500 images, few.npz 60."""
    shutil.copy(SAMPLES, folder / "calib.npz")
    with np.load(SAMPLES) as file:
        np.savez(folder / "few.npz", image=file["image"][:60])


def accuracy(path: Path) -> float:
    with np.load(ROOT / "models" / "digits_test.npz") as file:
        logits = onnxruntime.InferenceSession(path).run(None, {"image": file["image"]})[0]
        return float((np.asarray(logits).argmax(axis=1) == file["label"]).mean())


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"digits.onnx", "calib.npz", "few.npz"}


# ---- what it does ----------------------------------------------------------------------------------------------------
def test_data_keeps_the_accuracy(document: Document, folder: Path) -> None:
    """At half of the cost: as good as the original, where weights alone lose a tenth."""
    found = document("shrink", "digits.onnx", "--target", "macs=50%", *DATA)
    assert found["after"]["macs_count"] == found["target"]["planned_count"] <= found["target"]["limit_count"]
    assert found["target"]["planned_count"] > 0.9 * found["target"]["limit_count"], "and not far below"
    assert found["asked_ratio"] is None
    assert found["calibration"]["samples_count"] == 500 and found["calibration"]["held_out_count"] == 100
    repair = found["repair"]
    assert repair["method"] == "least squares and reconstruction" and repair["corrected_layers_count"] >= 3
    rebuilt = repair["reconstruction"]
    assert rebuilt["steps_count"] > 0 and rebuilt["not_done_because"] is None
    assert 0 < rebuilt["error_after_relative"] <= rebuilt["error_before_relative"] < 0.5
    assert all(layer["error_after_relative"] < layer["error_before_relative"] for layer in repair["layers"])
    assert repair["worst_layer"] in {layer["name"] for layer in repair["layers"]}
    document("shrink", "digits.onnx", "--target", "macs=50%", "-o", "naive.onnx")
    assert accuracy(folder / "digits.pruned.onnx") > 0.95 > 0.9 > accuracy(folder / "naive.onnx")


def test_the_repaired_file_is_proven_again(call: Call, document: Document, folder: Path) -> None:
    found = document("shrink", "digits.onnx", *QUICK, *LAYERWISE, "--ratio", "0.2")
    proof = document("verify", "digits.onnx", "digits.pruned.onnx")
    assert proof["plan"]["digest"] == found["plan"]["digest"]
    assert len(proof["refitted"]) > found["repair"]["corrected_layers_count"], "weights, and biases that were not there"


def test_the_report(call: Call) -> None:
    lines = call("shrink", "digits.onnx", "--target", "macs=60%", *QUICK).stdout.splitlines()
    stages = {line.split()[0]: line for line in lines[1:8]}
    kept = stages.pop("stem.conv,")
    assert kept.endswith("stay: their removal would cost more than it saves")
    assert list(stages) == ["traced", "captured", "planned", "repaired", "rebuilt", "verified"]
    assert "60 samples of few.npz, 12 held out" in stages["captured"]
    assert "macs=60% asked" in stages["planned"] and "% of the MACs left" in stages["planned"]
    assert "least squares, worst residual" in stages["repaired"]
    assert re.search(r"rebuilt +\d+ steps, held-out loss [\d.]+ % -> [\d.]+ %", stages["rebuilt"])
    verbose = call("-v", "shrink", "digits.onnx", "--target", "macs=60%", *QUICK, *LAYERWISE, "--force").stdout
    assert "after repair (held out)" in verbose
    table = call("shrink", "digits.onnx", *QUICK, "--samples", "8", "--force", "--format", "markdown").stdout
    assert "| captured | 8 samples of few.npz" in table
    assert "|  | not rebuilt: the samples are too few: 6 to fit and 2 to judge, and it takes 8 and 2 |" in table


def test_words_for_reconstruction(folder: Path) -> None:
    """What came of it, weights without a gradient included, in the unit of the measured output error; or why not."""
    bare = onnxprune.shrink(folder / "digits.onnx", ratio=0.2)

    def said(found: ReconstructionSummary) -> list[str]:
        repair = RepairSummary("least squares and reconstruction", 3, reconstruction=found)
        return [" ".join(line.split()) for line in plain(report(replace(bare, repair=repair))).splitlines()]

    lines = said(ReconstructionSummary(462, 0.12, 0.083, 2))
    assert "rebuilt 462 steps, held-out loss 12 % -> 8.3 %; 2 weights not: no gradient reaches them 0 ms" in lines
    assert any(line.startswith("repaired 3 layers, least squares ") for line in lines)
    lines = said(ReconstructionSummary(0, 0.0, 0.0, 0, "nothing to train"))
    assert "not rebuilt: nothing to train" in lines and not any("->" in line for line in lines)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--ratio", "0.3", "--scope", "global"),
        ("--target", "params=60%"),
        ("--target", "macs=60%", "--scope", "local"),
        ("--target", "macs=60%", "--criterion", "l1"),
        ("--ratio", "0.2", "--criterion", "l2", "--scope", "global"),
        ("--ratio", "0.2", "--criterion", "wanda"),
        ("--ratio", "0.2", "--criterion", "apoz"),
        ("--target", "macs=70%", "--criterion", "mean-activation"),
        ("--ratio", "0.2", "--criterion", "ablation"),
        ("--target", "macs=70%", "--criterion", "nisp"),
        ("--repair", "bias"),
        ("--repair", "none"),
        ("--repair", "scale-shift"),
        ("--repair", "reconstruct"),
    ],
    ids=" ".join,
)
def test_documents(document: Document, arguments: tuple[str, ...]) -> None:
    """Every way to choose with data gives what was asked, and a document that its schema describes."""
    repair = () if "--repair" in arguments else LAYERWISE
    found = document("shrink", "digits.onnx", *QUICK, *arguments, *repair, "--multiple-of", "4")
    check(found)
    if found["target"] is not None:
        assert 0 < found["target"]["planned_count"] <= found["target"]["limit_count"]
    else:
        assert found["reached_ratio"] == pytest.approx(found["asked_ratio"], abs=0.03)
    methods = {"bias": "bias correction", "none": None, "scale-shift": "scale and shift"}
    methods["reconstruct"] = "least squares and reconstruction"
    assert (found["repair"] and found["repair"]["method"]) == methods.get(arguments[-1], "least squares")
    rebuilt = None if found["repair"] is None else found["repair"]["reconstruction"]
    assert (rebuilt is not None) == (arguments[-1] == "reconstruct")


def test_a_target_without_data(document: Document) -> None:
    """The largest network of its kind that meets the target."""
    for scope in ("local", "global"):
        found = document("shrink", "digits.onnx", "--dry-run", "--target", "macs=50%", "--scope", scope)
        assert 0.45 < found["target"]["planned_count"] / found["target"]["before_count"] <= 0.5
    assert document("shrink", "digits.onnx", "--dry-run", "--target", "macs=100%")["plan"]["removed_count"] == 0
    found = document("shrink", "digits.onnx", "--dry-run", "--target", "params=100k", "--multiple-of", "1")
    assert 90_000 < found["target"]["planned_count"] <= 100_000


def test_preprocess(call: Call, document: Document, folder: Path) -> None:
    """Pixels as integers, and the steps that make them what the model takes."""
    with np.load(SAMPLES) as file:
        pixels = np.rint(file["image"][:60] * 255).astype(np.uint8)
    np.savez(folder / "pixels.npz", image=np.moveaxis(pixels, 1, -1))
    steps = ("--preprocess", "scale=1/255,layout=nchw")
    found = document("shrink", "digits.onnx", "--data", "pixels.npz", *steps, "--ratio", "0.2", *LAYERWISE)
    assert found["repair"]["method"] == "least squares"
    assert accuracy(folder / "digits.pruned.onnx") > 0.9
    assert "nothing to apply to" in call("shrink", "digits.onnx", *QUICK, *steps, "--dry-run", code=2).stderr


def test_samples(document: Document) -> None:
    found = document("shrink", "digits.onnx", *DATA, "--samples", "20", "--dry-run")
    assert found["calibration"]["samples_count"] == 20 and found["calibration"]["held_out_count"] == 4
    assert document("shrink", "digits.onnx", *DATA, "--samples", "1", "--dry-run")["notes"]


def test_max_memory(call: Call, document: Document) -> None:
    limited = document("shrink", "digits.onnx", *DATA, "--max-memory", "60MB", "--dry-run")
    assert 2 <= limited["calibration"]["samples_count"] < 500
    assert limited["calibration"]["estimated_bytes"] <= 60e6
    assert any("so as to stay below" in note for note in limited["notes"])
    too_little = call("shrink", "digits.onnx", *DATA, "--max-memory", "1kB", code=2).stderr
    assert "too little for this model" in too_little and "--max-memory" in too_little


def test_same_bytes(document: Document, folder: Path) -> None:
    """Twice the same call: the same file. Another seed holds other samples out."""
    small_network(folder / "small.onnx")
    files = []
    for number, arguments in enumerate(((), ("--threads", "1"), ("--seed", "1"))):
        found = document("shrink", "small.onnx", *QUICK, "--ratio", "0.2", "-o", f"{number}.onnx", *arguments)
        assert found["repair"]["reconstruction"]["steps_count"] > 0
        files.append((folder / f"{number}.onnx").read_bytes())
    assert files[0] == files[1] != files[2]


def test_no_names_of_files_in_the_result(call: Call, folder: Path) -> None:
    small_network(folder / "small.onnx")
    call("shrink", "small.onnx", "--data", folder / "few.npz", "--ratio", "0.2")
    metadata = {p.key: p.value for p in onnx.load(folder / "small.pruned.onnx").metadata_props}
    options = json.loads(metadata["onnxprune.plan"])["options"]
    assert (options["criterion"], options["repair"], options["samples"]) == ("obs", "reconstruct", 60)
    assert (options["target"], options["ratio"]) == (None, 0.2)
    assert "few" not in "".join(metadata.values()) and folder.name not in "".join(metadata.values())


def test_a_saved_plan_is_repaired_too(call: Call, document: Document, folder: Path) -> None:
    saved = ("-o", "direct.onnx", "--save-plan", "p.json")
    call("shrink", "digits.onnx", *QUICK, *LAYERWISE, "--target", "macs=60%", *saved)
    found = document("shrink", "digits.onnx", "--plan", "p.json", *QUICK, *LAYERWISE)
    assert found["repair"]["method"] == "least squares" and found["target"] is None
    assert (folder / "digits.pruned.onnx").read_bytes() == (folder / "direct.onnx").read_bytes()
    again = document("shrink", "digits.onnx", "--plan", "p.json", "--force")
    assert again["repair"]["method"] == "merging and bias correction"


def test_a_dry_run_writes_nothing(document: Document, folder: Path) -> None:
    found = document("shrink", "digits.onnx", *QUICK, "--target", "macs=60%", "--dry-run")
    assert found["repair"] is None and found["target"]["planned_count"] <= found["target"]["limit_count"]
    assert names(folder) == set()


def test_configuration(call: Call, document: Document, folder: Path) -> None:
    (folder / "onnxprune.toml").write_text('target = "macs=70%"\ndata = "few.npz"\nsamples = 30\nmax-memory = "1GB"\n')
    found = document("shrink", "digits.onnx", "--dry-run")
    assert found["target"]["asked"] == "macs=70%" and found["calibration"]["samples_count"] == 30
    (folder / "few.py").write_text("raise SystemExit('code ran')\n")
    (folder / "onnxprune.toml").write_text('data = ["few.py:samples"]\n')
    assert "names code" in call("shrink", "digits.onnx", "--dry-run", code=2).stderr


def test_random_data(document: Document, folder: Path) -> None:
    small_network(folder / "small.onnx")
    found = document("shrink", "small.onnx", "--data", "random", "--samples", "32", "--ratio", "0.1")
    assert found["calibration"]["source"] == "random" and found["repair"]["corrected_layers_count"] > 0


# ---- every way to get it wrong ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--ratio", "0.5", "--target", "macs=50%"), 2, "exclude each other"),
        (("--target", "speed=4ms"), 2, "not a target: 'speed=4ms'"),
        (("--target", "latency=4"), 2, "Give it with its unit"),
        (("--target", "size=1kB"), 2, "out of reach: removing all that may go leaves"),
        (("--multiple-of", "some"), 2, "nor auto"),
        (("--target", "macs=0%"), 2, "not a share that can be left"),
        (("--target", "macs=0.01%"), 2, "out of reach"),
        (("--target", "macs=0.01%", *QUICK), 2, "out of reach"),
        (("--target", "macs=0.01%", *QUICK, "--criterion", "l1"), 2, "out of reach"),
        (("--criterion", "obs"), 2, "judges channels by calibration data"),
        (("--criterion", "apoz"), 2, "judges channels by calibration data"),
        (("--criterion", "ablation"), 2, "judges channels by calibration data"),
        (("--criterion", "osb", *QUICK), 2, "did you mean obs?"),
        (("--repair", "least-squares"), 2, "needs calibration data"),
        (("--repair", "reconstruct"), 2, "needs calibration data"),
        (("--repair", "scale-shift"), 2, "needs calibration data"),
        (("--repair", "magic"), 2, "'--repair'"),
        (("--samples", "3"), 2, "--samples has no effect without --data"),
        (("--preprocess", "imagenet"), 2, "--preprocess has no effect without --data"),
        (("--max-memory", "1KB"), 2, "--max-memory has no effect without --data"),
        (("--normalise", "lamp"), 2, "--normalise lamp has no effect: with --scope local"),
        (("--normalise", "lamp", "--scope", "global", *QUICK), 2, "--normalise lamp has no effect: with --data"),
        (("--units", "heads"), 2, "no axis of this model is split into heads"),
        (("--samples", "0", *QUICK), 2, "'--samples'"),
        (("--max-memory", "lots", *QUICK), 2, "not a size"),
        (("--max-memory", "0", *QUICK), 2, "more than nothing"),
        (("--max-memory", "lots"), 2, "not a size"),
        (("--threads", "3000000000"), 2, "'--threads'"),
        (("--data", "nope.npz"), 2, "no such file or folder"),
        (("--data", "digits.onnx"), 2, "is not a .npz"),
        (("--data", "few.npz", "--data", "calib.npz"), 2, "must be NAME=FILE.npy each"),
        (("--data", "wrong.npz"), 3, "is not an input of the model"),
        (("--data", "nan.npz"), 3, "not a finite number"),
        (("--data", "small.npz"), 3, "small.npz"),
        (("--data", "broken.npz"), 3, "broken.npz"),
        (("--data", "code.py:samples"), 3, "out of samples"),
        ((*QUICK, "-o", "few.npz", "--force"), 2, "few.npz"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_errors(call: Call, folder: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    image = np.zeros((4, 1, 8, 8), np.float32)
    np.savez(folder / "wrong.npz", image=image, label=image)
    np.savez(folder / "nan.npz", image=np.full_like(image, np.nan))
    np.savez(folder / "small.npz", image=image[..., :5])
    (folder / "broken.npz").write_bytes(b"PK\x03\x04 broken")
    (folder / "code.py").write_text("def samples():\n    raise ValueError('out of samples')\n")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    result = call("shrink", "digits.onnx", *arguments, code=code)
    assert result.stdout == "" and result.stderr.startswith("Error: ") and message in result.stderr
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before, "nothing was written"


def test_a_plan_excludes_a_target(call: Call) -> None:
    call("shrink", "digits.onnx", "--dry-run", "--save-plan", "p.json")
    failed = call("shrink", "digits.onnx", "--plan", "p.json", "--target", "macs=50%", code=2)
    assert "--target has no effect with --plan" in failed.stderr


@pytest.mark.parametrize("stage", ["choose", "repair", "rebuild"])
def test_an_interrupt_leaves_nothing(call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    """Ctrl-C while samples run, and while weights are refitted (then the proven cut lies beside the target)."""
    import onnxprune

    def interrupted(step: Any) -> None:
        if step.stage == {"choose": "capture"}.get(stage, stage) and step.done == 2:
            raise KeyboardInterrupt

    original = onnxprune.shrink
    monkeypatch.setattr(onnxprune, "shrink", lambda *a, **o: original(*a, **{**o, "progress": interrupted}))
    assert call("shrink", "digits.onnx", *QUICK, code=130).stdout == ""
    assert names(folder) == set()


def test_long_names_stay_readable_and_unique_at_both_ends() -> None:
    long = "first/" + "x" * 200 + "/last"
    short = shortened(long)
    assert len(short) <= 60 and short.startswith("first/") and short.endswith("/last") and "..." in short
    assert shortened("conv1") == "conv1" and shortened("y" * 60) == "y" * 60
