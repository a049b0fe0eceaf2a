"""What no input tells apart is written only if that is allowed, and the last line says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_support import Call, Document

from tests.proof.networks import behind_rounding, hidden_arm


@pytest.fixture
def model(folder: Path) -> Path:
    path = folder / "m.onnx"
    path.write_bytes(hidden_arm().SerializeToString())
    return path


def test_shrink_and_verify(model: Path, call: Call, document: Document) -> None:
    asked = ["shrink", model, "-o", "out.onnx", "--ratio", "0.5"]
    refused = call(*asked, code=4)
    assert "unproven: whatever leaves 'dead1', 'dead0'" in refused.stderr and "--allow-unproven" in refused.stderr
    assert not model.with_name("out.onnx").exists()
    found = document(*asked, "--allow-unproven")
    proof = found["proof"]
    assert found["summary"]["proof"] == "unproven"
    assert (proof["status"], proof["sensitive"], proof["not_told_apart"]) == ("unproven", False, ["dead1", "dead0"])
    shown = call(*asked, "--allow-unproven", "--force").stdout
    assert shown.splitlines()[-1].startswith("unproven: whatever leaves 'dead1', 'dead0'")
    again = call("verify", model, "out.onnx", code=4)
    assert again.stdout.splitlines()[-1].startswith("unproven:") and "--data" in again.stderr


def test_sparsify(model: Path, call: Call) -> None:
    model.write_bytes(behind_rounding().SerializeToString())
    asked = ["sparsify", model, "-o", "out.onnx", "--sparsity", "0.5"]
    assert "unproven" in call(*asked, code=4).stderr
    shown = call(*asked, "--allow-unproven").stdout
    assert shown.splitlines()[-1].startswith("unproven: whatever leaves")
    assert call("verify", model, "out.onnx", code=4).stdout.splitlines()[-1].startswith("unproven:")
