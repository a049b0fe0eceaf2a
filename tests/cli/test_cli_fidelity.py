"""What `shrink` says of the result: agreement with the original on the samples that are held out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from cli_schema import check
from cli_support import ROOT, Call, Document
from onnx import helper

import onnxprune
from onnxprune.capture.samples import open_samples
from onnxprune.report.fidelity import advice, fidelity_lines
from onnxprune.results import Agreement, Fidelity, OutputFidelity
from onnxprune.trace import trace_model
from tests.small import small_network

SAMPLES = ROOT / "models" / "digits_calib.npz"
DATA = ("--data", SAMPLES, "--samples", 150)
QUICK = (*DATA, "--repair", "least-squares")


def logits(path: Path, image: Any) -> Any:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"image": image})[0]


def test_the_agreement_is_that_of_the_held_out_samples(document: Document, folder: Path) -> None:
    """The figures of the report, against the written file and the same split."""
    found = document("shrink", "digits.onnx", "--ratio", "0.6", *QUICK, "-o", "out.onnx")
    check(found)
    samples = open_samples(str(SAMPLES), trace_model(onnxprune.load(folder / "digits.onnx")), samples=150)
    image = np.concatenate([batch["image"] for batch in samples.batches[-samples.held_out :]])
    assert len(image) == 30 == found["calibration"]["held_out_count"] == found["fidelity"]["samples_count"]
    a, b = logits(folder / "digits.onnx", image), logits(folder / "out.onnx", image)
    share = float(np.mean(a.argmax(1) == b.argmax(1)))
    assert found["fidelity"]["agreement_ratio"] == pytest.approx(share)
    (output,) = found["fidelity"]["outputs"]
    assert output["name"] == "logits" and output["elements_count"] == a.size
    assert output["agreement"]["low_ratio"] <= share <= output["agreement"]["high_ratio"]
    error = np.linalg.norm(a - b) / np.linalg.norm(a)
    assert output["error_relative"] == pytest.approx(error, rel=1e-4) and error > 0
    assert "measure" in [stage["name"] for stage in found["stages"]]


@pytest.mark.parametrize("repair", ["none", "bias", "least-squares", "reconstruct"])
def test_every_repair_is_measured(document: Document, folder: Path, repair: str) -> None:
    small_network(folder / "small.onnx")
    model = "small.onnx" if repair == "reconstruct" else "digits.onnx"  # there bias correction makes it worse
    found = document("shrink", model, "--ratio", "0.2", "--repair", repair, *DATA)
    assert found["fidelity"]["samples_count"] == 30


def test_it_is_said_in_text_and_markdown(call: Call) -> None:
    line = r"measured\W+agreement \d+(\.\d)? % top-1 with the original, 30 held-out samples \(95 % CI [\d.]+-[\d.]+ %\)"
    arguments = ("shrink", "digits.onnx", "--ratio", "0.2", *QUICK, "--force")
    assert re.search(line, call(*arguments).stdout)
    assert re.search(line, call(*arguments, "--format", "markdown").stdout)


def test_a_poor_result_comes_with_advice(call: Call) -> None:
    poor = ("shrink", "digits.onnx", "--ratio", "0.7", "--criterion", "l1", "--repair", "none", *DATA)
    assert "The answers changed: on " in call(*poor).stdout.splitlines()[-1]
    assert "answers" not in call("shrink", "digits.onnx", "--ratio", "0.1", *QUICK, "--force").stdout


@pytest.mark.parametrize("arguments", [("--ratio", "0.2"), ("--dry-run", *DATA), ("--ratio", "0", *DATA)])
def test_nothing_is_said_without_samples_or_result(document: Document, arguments: tuple[object, ...]) -> None:
    assert document("shrink", "digits.onnx", *arguments)["fidelity"] is None


def test_outputs_without_classes(call: Call, folder: Path) -> None:
    """Feature maps as the output: an error, and why there is no agreement."""
    proto = onnx.load(folder / "digits.onnx")
    inner = next(node.output[0] for node in reversed(proto.graph.node) if node.op_type == "Conv")
    del proto.graph.output[:]
    proto.graph.output.append(helper.make_tensor_value_info(inner, 1, None))
    onnx.save(onnx.shape_inference.infer_shapes(proto), folder / "maps.onnx")
    out = call("shrink", "maps.onnx", "--ratio", "0.2", *QUICK).stdout
    assert re.search(
        r"measured  output error [\d.]+ % on 30 held-out samples .*\n +no agreement of classes: its samples have 3", out
    )


# ---- words for what digits do not show -----------------------------------------------------------------------------
def output(name: str, error: float | None, share: float | None, clashes: int = 0) -> OutputFidelity:
    agreement = None if share is None else Agreement(share, share / 2, (1 + share) / 2, 8)
    reason = None if agreement else "it holds one number per sample, which has no top class"
    return OutputFidelity(name, error, error, None, agreement, reason, 80, clashes, clashes)


def test_words_for_several_outputs() -> None:
    found = Fidelity(8, (output("a", 0.1, 0.75), output("b", 0.2, 0.5), output("c", 0.3, None)))
    assert fidelity_lines(found) == (
        "agreement 50 % top-1 with the original, 8 held-out samples (95 % CI 25.0-75.0 %) (the worst of 3 outputs)",
        "output error 30 % (the worst of 3 outputs)",
    )
    assert advice(found) == ()


def test_words_for_labels_and_for_values_that_are_not_finite() -> None:
    (line,) = fidelity_lines(Fidelity(8, (output("label", None, 0.75),)))
    assert line == "agreement 75 % of all values with the original, 8 held-out samples (95 % CI 37.5-87.5 %)"
    broken = Fidelity(8, (output("y", float("inf"), None, clashes=3),))
    assert fidelity_lines(broken) == (
        "output error inf % on 8 held-out samples",
        "no agreement of classes: it holds one number per sample, which has no top class",
    )
    assert advice(broken)[0] == "output 'y': 3 values NaN or infinite in one of the models only"
    assert advice(Fidelity(8, (output("y", 0.01, None),))) == ()
