"""docs/pack.md: its examples print what it shows, its table lists the options that there are."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

from onnxprune.cli.pack import command
from onnxprune.packing.recipe import CLUSTERS, DEFAULT_BITS, WEIGHTS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "pack.md").read_text("utf-8")


def _stable(text: str) -> str:
    """Without what depends on the machine: times, digests, and the last digit of sizes (of another zlib)."""
    text = re.sub(r"\b[0-9a-f]{16,64}\b|[\d.]+ (ms|s)\b", "#", text)
    return re.sub(r"[ \t]+", " ", re.sub(r"(\d+\.?\d)\d?( [kM]?B| %)", r"\1\2", text))


def test_examples(tmp_path: Path) -> None:
    """If they should print something else now: make docs."""
    spec = importlib.util.spec_from_file_location("pack_docs", ROOT / "scripts" / "docs.py")
    assert spec is not None and spec.loader is not None
    docs = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = docs
    spec.loader.exec_module(docs)
    found = docs.examples(PAGE)
    assert len(found) == 2
    for example, printed in zip(found, docs.outputs(found, tmp_path), strict=True):
        assert _stable(printed) == _stable(example.output), example.command


def test_options() -> None:
    rows = re.findall(r"^\| `--([a-z-]+) ([^ `]+)`", PAGE, re.M)
    known = {option.name.replace("_", "-") for option in command.params if option.name}
    assert {name for name, _ in rows} <= known
    assert {value for name, value in rows if name == "weights"} == set(WEIGHTS) - {"shared"}
    assert {value for name, value in rows if name == "clusters"} == set(CLUSTERS) - {"exact"}
    bits = "/".join(map(str, dict.fromkeys(DEFAULT_BITS.values())))
    assert f"| `--bits {bits}` (default) |" in PAGE
