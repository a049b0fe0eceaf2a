"""`shrink --min-agreement` and `--max-error`: a gate for a given amount, a search without one, without labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from cli_schema import check
from cli_support import ROOT, Call, Document

import onnxprune
from onnxprune.errors import GateError, UsageError
from tests.builders import Net
from tests.small import small_network

CALIB = str(ROOT / "models" / "digits_calib.npz")
DATA = ("--data", CALIB, "--samples", "100", "--repair", "none", "--multiple-of", "1")


@pytest.fixture(autouse=True)
def small(folder: Path) -> None:
    """A network that is cut in a moment."""
    small_network(folder / "small.onnx")


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def plan_options(path: Path) -> dict[str, object]:
    text = next(one.value for one in onnx.load(path).metadata_props if one.key == "onnxprune.plan")
    found: dict[str, object] = json.loads(text)["options"]
    return found


def test_a_search_for_the_most_that_agrees(call: Call, document: Document, folder: Path) -> None:
    """What is written keeps the bound on held-out samples; more, which was tried, does not."""
    found = document("shrink", "small.onnx", *DATA, "--min-agreement", "90%")
    check(found)
    bounds, trials = found["bounds"], found["bounds"]["trials"]
    assert bounds["min_agreement_ratio"] == 0.9 and bounds["max_error_relative"] is None and found["metric"] is None
    assert found["fidelity"]["agreement_ratio"] >= 0.9 and found["written"]
    broken = [t for t in trials if t["broken"]]
    assert broken and all("--min-agreement asks for 90 %" in t["broken"] for t in broken)
    assert all(t["agreement_ratio"] < 0.9 for t in broken)
    kept = [t for t in trials if not t["broken"]]
    best = max(kept, key=lambda t: t["asked_ratio"])
    assert best["agreement_ratio"] == found["fidelity"]["agreement_ratio"]
    assert best["asked_ratio"] < min(t["asked_ratio"] for t in broken)
    assert plan_options(folder / "small.pruned.onnx")["min_agreement"] == 0.9
    text = call("shrink", "small.onnx", *DATA, "--min-agreement", "90%", "--force", "--report", "r.html").stdout
    assert f"the most of {len(trials)} trials that --min-agreement allows" in text
    assert "asked for: agreement of 90 % or more" in text
    assert "bound that was broken" in (folder / "r.html").read_text()


def test_a_search_by_error(document: Document, folder: Path) -> None:
    found = document("shrink", "small.onnx", *DATA, "--max-error", "0.4")
    assert 0.02 < found["fidelity"]["worst_error_relative"] <= 0.4
    stricter = document("shrink", "small.onnx", *DATA, "--max-error", "0.05", "-o", "s.onnx")
    assert stricter["after"]["macs_count"] > found["after"]["macs_count"]
    options = plan_options(folder / "s.onnx")
    assert options["max_error"] == 0.05 and "min_agreement" not in options
    onnxprune.verify("small.onnx", "s.onnx")


def test_a_bound_on_what_is_asked_for(document: Document, folder: Path) -> None:
    before = files(folder)
    for amount in (("--ratio", "0.7"), ("--target", "macs=20%"), ("--ratio", "0.7", "--dry-run")):
        failed = document("shrink", "small.onnx", *amount, *DATA, "--max-error", "0.0001", code=1)
        assert failed["error"]["type"] == "GateError"
        assert "too far from the original: output error" in failed["error"]["message"]
    assert files(folder) == before
    found = document("shrink", "small.onnx", "--ratio", "0.3", *DATA, "--min-agreement", "50%", "--max-error", "1")
    assert found["written"] and found["bounds"]["trials"] == [] and found["asked_ratio"] == 0.3


def test_together_with_a_metric(folder: Path) -> None:
    """Both have to be kept: the metric says that nothing may be lost of what the bounds allow."""

    def first_layer(path: str) -> float:
        """How wide it is."""
        return float(onnx.load(path).graph.initializer[0].dims[0])

    loose = {"data": CALIB, "samples": 100, "repair": "none", "min_agreement": 0.5, "multiple_of": 1}
    found = onnxprune.shrink("small.onnx", "a.onnx", metric=first_layer, max_drop=0.0, **loose)
    assert found.bounds is not None and found.metric is not None
    assert any("first_layer falls by" in (t.reason or "") for t in found.bounds.trials)
    assert found.metric.after == found.metric.before
    assert len(found.metric.trials) == len(found.bounds.trials) == found.searched[0]
    assert found.searched[1] == "--max-drop and --min-agreement"


def test_what_cannot_be(call: Call, folder: Path) -> None:
    said = call("shrink", "small.onnx", "--min-agreement", "99%", code=2).stderr
    assert "measured on samples, and there are none" in said
    assert "above 0 and up to 1" in call("shrink", "small.onnx", *DATA, "--max-error", "0", code=2).stderr
    assert "above 0 and up to 1" in call("shrink", "small.onnx", *DATA, "--min-agreement", "2", code=2).stderr
    sweep = call("sweep", "small.onnx", "--max-error", "0.1", "--data", CALIB, code=2).stderr
    assert "--max-error has no effect without --sparsity" in sweep
    with pytest.raises(UsageError, match="max_error= without sparsity= bounds the outputs"):
        onnxprune.shrink("small.onnx", max_error=0.1)


def test_of_what_is_no_classes(folder: Path) -> None:
    """There is nothing that could agree: no removal is little enough, and it says why."""
    net = Net(seed=0)
    net.output(net.conv(net.relu(net.conv(net.input(3, 8, 8, name="x"), 16, 3)), 4, 3))
    onnx.save(net.model(), "image.onnx")
    x = np.random.default_rng(0).standard_normal((60, 3, 8, 8)).astype(np.float32)
    options = {"data": {"x": x}, "repair": "none", "multiple_of": 1}
    with pytest.raises(GateError, match=r"however little is removed.*there is no agreement of classes"):
        onnxprune.shrink("image.onnx", min_agreement=0.5, **options)
    found = onnxprune.shrink("image.onnx", max_error=0.6, **options)
    session = [onnxruntime.InferenceSession(path) for path in ("image.onnx", "image.pruned.onnx")]
    a, b = (one.run(None, {"x": x})[0] for one in session)
    assert found.fidelity is not None and found.fidelity.worst_error is not None
    assert 0 < np.linalg.norm(a - b) / np.linalg.norm(a) < 1
    assert found.fidelity.worst_error <= 0.6


def test_with_zeros_it_is_of_layers(folder: Path) -> None:
    """As before: `--max-error` of sparse weights says which layers stay dense."""
    options = {"data": CALIB, "samples": 100, "repair": "least-squares", "ratio": 0.0}
    found = onnxprune.shrink("small.onnx", sparsity=0.9, max_error=1e-6, **options)
    assert found.bounds is None and found.sparsity is not None
    assert any("--max-error" in (layer.reason or "") for layer in found.sparsity.layers)
