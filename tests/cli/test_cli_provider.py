"""`--provider`: what runs the samples; here, of which machine is not known, that is the CPU."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from cli_support import DIGITS, Call, Document

from onnxprune.results.providers import CPU, DISTRIBUTIONS, installed, short_provider

MISSING = next(name for name in DISTRIBUTIONS if name not in map(short_provider, installed()))
DATA = ("--data", str(DIGITS.with_name("digits_calib.npz")), "--samples", "40")
COMMANDS = {
    "shrink": ("--target", "macs=60%", "--effort", "0.1"),
    "sparsify": ("--sparsity", "60%", "--effort", "0.1"),
    "quantize": ("--scheme", "static", "--effort", "0.1"),
    "compress": ("--target", "size=60%", "--effort", "0.1"),
    "sweep": ("--targets", "macs=60%"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_one_that_is_missing_is_said_with_the_package_that_has_it(call: Call, folder: Path, command: str) -> None:
    before = sorted(folder.iterdir())
    said = call(command, "digits.onnx", *COMMANDS[command], *DATA, "--provider", MISSING, code=2).stderr
    assert f"Error: --provider '{MISSING}' is not installed: this ONNX Runtime was built without it." in said
    assert f"pip install {DISTRIBUTIONS[MISSING]}" in said and "Installed: cpu" in said
    said = call(command, "digits.onnx", *COMMANDS[command], *DATA, "--provider", "cpuu", code=2).stderr
    assert "'cpuu' is not installed" in said and "Did you mean 'cpu'?" in said
    said = call(command, "digits.onnx", "--provider", "cpu", code=2).stderr
    assert "--provider has no effect without --data" in said
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("command", ["shrink", "quantize"])
def test_provider(call: Call, folder: Path, command: str) -> None:
    """The CPU is the default, by any of its names, and nothing of it is recorded."""
    digests = set()
    for number, more in enumerate(((), ("--provider", "cpu"), ("--provider", CPU))):
        call(command, "digits.onnx", *COMMANDS[command], *DATA, "--no-bench", "-o", f"{number}.onnx", *more)
        digests.add(hashlib.sha256((folder / f"{number}.onnx").read_bytes()).hexdigest())
    assert len(digests) == 1


def test_a_file_may_set_it_for_runs_with_samples(call: Call, folder: Path) -> None:
    (folder / "onnxprune.toml").write_text("provider = 'cpu'\n")
    call("shrink", "digits.onnx", "--no-bench")
    (folder / "onnxprune.toml").write_text(f"[shrink]\nprovider = '{MISSING}'\n")
    assert "is not installed" in call("shrink", "digits.onnx", "--force", code=2).stderr


def test_points_of_a_sweep_are_those_of_a_provider(call: Call, document: Document, folder: Path) -> None:
    """What was computed on another one is not taken for the same."""
    given = ("sweep", "digits.onnx", *COMMANDS["sweep"], *DATA, "--repair", "none", "--no-bench")
    document(*given)
    assert all(point["reused"] for point in document(*given, "--provider", "cpu")["points"])
    path = folder / "digits.sweep" / "sweep.json"
    found = json.loads(path.read_text())
    found["options"]["provider"] = "cuda"
    path.write_text(json.dumps(found))
    assert "--provider was cuda, now cpu" in call(*given, code=2).stderr
