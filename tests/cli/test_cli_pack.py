"""`onnxprune pack` and `unpack` as users call them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cli_support import Call, Document

from onnxprune.options.declare import choices
from onnxprune.options.others import PackOptions
from onnxprune.packing import recipe


def test_there_and_back(call: Call, folder: Path) -> None:
    before = (folder / "digits.onnx").read_bytes()
    out = call("pack", "digits.onnx", "--bits", "5").stdout
    assert re.search(r"^digits\.onnx  916 kB -> \d+ kB  1[5-9](\.\d)? %$", out, re.M)
    assert "not known: --data or --metric" in out and out.endswith("wrote digits.onnxpack\n")
    out = call("unpack", "digits.onnxpack").stdout
    assert "the model with its shared weights" in out and "wrote digits.unpacked.onnx" in out
    assert (folder / "digits.onnx").read_bytes() == before
    call("diff", "digits.onnx", "digits.unpacked.onnx")


def test_lossless(call: Call, folder: Path) -> None:
    out = call("pack", "digits.onnx", "--weights", "exact", "-o", "small").stdout
    assert "decoded again: identical to the original" in out and "not known" not in out
    out = call("unpack", "small", "-o", "back.onnx").stdout
    assert "identical to the model that was packed" in out
    assert (folder / "back.onnx").read_bytes() == (folder / "digits.onnx").read_bytes()


def test_verbose_lists_weights_and_quiet_says_little(call: Call) -> None:
    table = call("-v", "pack", "digits.onnx", "--bits", "4").stdout
    assert re.search(r"classifier\.weight +fully connected +10x160 +16 shared values", table)
    assert "it is: it has only" not in call("pack", "digits.onnx", "--bits", "4", "--force").stdout
    assert call("-q", "pack", "digits.onnx", "--bits", "4", "--force").stdout == "wrote digits.onnxpack\n"
    assert (
        "| part | size | of the original |"
        in call("pack", "digits.onnx", "--bits", "4", "--force", "--format", "markdown").stdout
    )


def test_the_gate(call: Call, folder: Path) -> None:
    (folder / "score.py").write_text(
        "import onnx\nfrom onnx import numpy_helper as h\n"
        "def values(path):\n"
        "    w = {t.name: t for t in onnx.load(path).graph.initializer}['classifier.weight']\n"
        "    return len(set(h.to_array(w).ravel().tolist()))\n"
    )
    failed = call("pack", "digits.onnx", "--bits", "2", "--metric", "score.py:values", "--max-drop", "9", code=1)
    assert "falls by" in failed.stderr and "--bits" in failed.stderr
    assert not (folder / "digits.onnxpack").exists()
    call("pack", "digits.onnx", "--bits", "2", "--metric", "score.py:values")
    assert (folder / "digits.onnxpack").exists()


@pytest.mark.parametrize(
    "command", [("inspect",), ("bench",), ("shrink",), ("check",), ("pack",), ("verify", "digits.onnx")]
)
def test_other_commands_say_how_to_go_on(call: Call, command: tuple[str, ...]) -> None:
    call("-q", "pack", "digits.onnx", "--bits", "1")
    extra = ("--max-size", "1MB") if command == ("check",) else ()
    found = call(*command, "digits.onnxpack", *extra, code=None)
    assert found.exit_code != 0
    assert "onnxprune unpack" in found.stderr + found.stdout


def test_damage_is_told(call: Call, folder: Path) -> None:
    call("-q", "pack", "digits.onnx", "--bits", "1")
    content = bytearray((folder / "digits.onnxpack").read_bytes())
    content[2000] ^= 1
    (folder / "bad").write_bytes(content)
    failed = call("unpack", "bad", "-o", "out.onnx", code=3)
    assert "damaged" in failed.stderr and not (folder / "out.onnx").exists()
    refused = call("unpack", "digits.onnxpack", "--max-size", "100kB", code=3)
    assert "--max-size" in refused.stderr


def test_the_error_bound(document: Document) -> None:
    found = document("pack", "digits.onnx", "--max-error", "5%")
    shared = [tensor for tensor in found["tensors"] if tensor["stored_as"] == "shared"]
    assert shared and all(tensor["error_ratio"] <= 0.05 for tensor in shared)
    assert {tensor["entries_count"] for tensor in shared} <= {32, 64}


def test_what_help_lists_is_what_there_is() -> None:
    declared = tuple(choices(PackOptions, name) for name in ("weights", "clusters"))
    assert declared == (recipe.WEIGHTS, recipe.CLUSTERS)
