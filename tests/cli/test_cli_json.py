"""Every JSON document is what docs/json-schema.md says, and every number in it carries its unit in its key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from cli_schema import check, schemas
from cli_support import Call, Document

from onnxprune.report.documents import dumps
from tests.small import small_network

pytestmark = pytest.mark.usefixtures("brief")
UNITS = re.compile(
    r"(^|_)(bytes|s|count|indices|ratio|cosine|relative|absolute|steps|shape|version|code)$",
)

DATA = ("--data", "random", "--samples", "20")
REFITTED = (*DATA, "--repair", "least-squares")
ZEROS_ALONE = ("--without", "int8", "--without", "channels", "--without", "blocks")
CALLS = {
    "compress": ("compress", "digits.onnx", "--target", "size=90%", "--data", "random", "--samples", "20"),
    "compress a cut": ("compress", "small_net.onnx", "--target", "size=35%", *DATA, "-o", "c.onnx"),
    "compress --sparse": (
        "compress",
        "small_net.onnx",
        "--target",
        "size=60%",
        "--sparse",
        *DATA,
        "-o",
        "z.onnx",
        *ZEROS_ALONE,
    ),
    "compress nothing": ("compress", "digits.onnx", "--target", "size=100%", "--data", "random", "--samples", "20"),
    "shrink": ("shrink", "digits.onnx"),
    "shrink --bench": ("shrink", "digits.onnx", "--ratio", "0.1", "--multiple-of", "1", "--bench", *REFITTED),
    "shrink --dry-run": ("shrink", "digits.onnx", "--dry-run"),
    "shrink --ratio 0": ("shrink", "digits.onnx", "--ratio", "0"),
    "shrink --data": ("shrink", "digits.onnx", *DATA),
    "shrink --plan": ("shrink", "digits.onnx", "--plan", "p.json"),
    "shrink --sparsity": ("shrink", "digits.onnx", "--sparsity", "0.5"),
    "quantize": ("quantize", "digits.onnx"),
    "quantize --data": ("quantize", "digits.onnx", "--repair", "none", "--scheme", "static", *DATA),
    "quantize --dry-run": ("quantize", "digits.onnx", "--weights", "int4", "--dry-run"),
    "sparsify": ("sparsify", "digits.onnx", "--sparsity", "0.5"),
    "sparsify --dry-run": ("sparsify", "digits.onnx", "--pattern", "2:4", "--dry-run"),
    "sparsify --data": ("sparsify", "digits.onnx", "--sparsity", "0.5", *REFITTED),
    "verify a sparse file": ("verify", "digits.onnx", "sparse.onnx"),
    "verify small weights": ("verify", "digits.onnx", "int4.onnx"),
    "inspect": ("inspect", "digits.onnx"),
    "inspect --quantization": ("inspect", "digits.onnx", "--quantization", *DATA),
    "inspect --groups": ("inspect", "digits.onnx", "--groups"),
    "inspect --layers": ("inspect", "digits.onnx", "--layers"),
    "inspect --units blocks": ("inspect", "digits.onnx", "--units", "blocks"),
    "shrink --units blocks": ("shrink", "digits.onnx", "--units", "blocks", "--target", "macs=60%"),
    "inspect --why": ("inspect", "digits.onnx", "--why", "classifier"),
    "pack": ("pack", "digits.onnx", "--bits", "4"),
    "pack --data": ("pack", "digits.onnx", "--weights", "int8", "--data", "random", "--samples", "20"),
    "unpack": ("unpack", "digits.onnxpack"),
    "verify": ("verify", "digits.onnx", "small.onnx"),
    "diff": ("diff", "digits.onnx", "small.onnx"),
    "bench": ("bench", "digits.onnx", "--runs", "6"),
    "check": ("check", "digits.onnx", "--max-size", "1MB", "--max-macs", "300M"),
    "sweep": ("sweep", "digits.onnx", "--ratios", "0.5", "--repair", "none", "--data", "random", "--runs", "6"),
    "env": ("env",),
}
FAILURES = {
    "no such file": (("inspect", "no.onnx"), 2, "UsageError"),
    "no argument": (("shrink",), 2, "UsageError"),
    "no such option": (("inspect", "digits.onnx", "--nonsense"), 2, "UsageError"),
    "wrong value": (("shrink", "digits.onnx", "--ratio", "x"), 2, "UsageError"),
    "no such command": (("nonsense",), 2, "UsageError"),
    "not a model": (("inspect", "text.onnx"), 3, "ModelError"),
    "a folder": (("shrink", "."), 3, "ModelError"),
    "not a plan": (("shrink", "digits.onnx", "--plan", "text.onnx"), 3, "PlanError"),
    "cannot be timed": (("bench", "digits.onnx", "text.onnx"), 3, "ModelError"),
    "nothing to compare": (("bench", "digits.onnx", "--fail-above", "5%"), 2, "UsageError"),
    "output exists": (("shrink", "digits.onnx", "-o", "text.onnx"), 2, "OutputError"),
    "not a packed model": (("unpack", "digits.onnx"), 3, "ModelError"),
    "never pruned": (("verify", "digits.onnx", "digits.onnx"), 3, None),
}


def _units(value: Any, key: str, where: str) -> None:
    """Numbers in lists belong to the key of the list."""
    if isinstance(value, dict):
        for name, item in value.items():
            _units(item, name, f"{where}.{name}")
    elif isinstance(value, list):
        for item in value:
            _units(item, key, where)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        assert UNITS.search(key), f"{where} has no unit in its key"


@pytest.mark.parametrize("name", CALLS)
def test_documents(call: Call, document: Document, name: str) -> None:
    if "p.json" in CALLS[name]:
        call("shrink", "digits.onnx", "--dry-run", "--save-plan", "p.json")
    if "sparse.onnx" in CALLS[name]:
        call("sparsify", "digits.onnx", "--sparsity", "0.5", "-o", "sparse.onnx")
    if "int4.onnx" in CALLS[name]:
        call("quantize", "digits.onnx", "--weights", "int4", "-o", "int4.onnx")
    if "small_net.onnx" in CALLS[name]:
        small_network(Path("small_net.onnx"))
    if "digits.onnxpack" in CALLS[name]:
        call("pack", "digits.onnx", "--weights", "exact")
    if "small.onnx" in CALLS[name]:
        call("shrink", "digits.onnx", "-o", "small.onnx")
    found = document(*CALLS[name])
    check(found)
    _units(found, "", "$")


@pytest.mark.parametrize("name", FAILURES)
def test_failures(call: Call, document: Document, folder: Path, name: str) -> None:
    """One document on stdout, the same in words on stderr, and the exit code in both."""
    (folder / "text.onnx").write_text("not a model at all, but a sentence of some length")
    arguments, code, kind = FAILURES[name]
    found = document(*arguments, code=code)
    check(found)
    assert found["error"]["exit_code"] == code
    assert kind is None or found["error"]["type"] == kind
    stderr = call(*arguments, "--format=json", code=code).stderr
    assert stderr.startswith(f"Error: {found['error']['message']}")
    text = call(*arguments, code=code)
    assert text.stdout == "" and text.stderr == stderr


def test_every_schema_is_printed_by_something() -> None:
    names = {f"onnxprune.{name.split()[0]}/1" for name in CALLS}
    others = {
        f"onnxprune.{name}/1" for name in ("why", "survey", "error", "shared", "measured", "sweep-parts", "sweep-point")
    }
    assert names | others == set(schemas())


def test_the_validator_can_fail() -> None:
    wrong = {"schema": "onnxprune.error/1", "error": {"type": "x", "message": "m", "hint": None, "exit_code": 5}}
    with pytest.raises(AssertionError):
        check(wrong)
    with pytest.raises(AssertionError, match="no unit"):
        _units({"time": 3.0}, "", "$")


def test_numbers_and_texts_that_json_does_not_know() -> None:
    assert dumps({"a_s": float("nan"), "b": "\udcff"}) == '{\n  "a_s": null,\n  "b": "\\\\udcff"\n}\n'
