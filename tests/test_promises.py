"""Promises of README.md that concern the program as a whole."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnxprune
from onnxprune.cut import cut
from onnxprune.errors import VerificationError
from onnxprune.model.metadata import metadata

ROOT = Path(__file__).resolve().parents[1]
DIGITS = ROOT / "models" / "digits.onnx"


def test_a_wrong_cut_is_refused_and_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One wrong weight row in the cut, as a mistake of ours would leave it, and no file appears."""

    def wrong(traced: Any, keep: Any) -> Any:
        model = cut(traced, keep)
        name, tensor = next((n, t) for n, t in model.tensors.items() if n.startswith("stage1") and len(t.shape) == 4)
        swapped = np.array(tensor.array())[::-1]
        return model.replace(model.proto, {**model.tensors, name: tensor.with_array(np.ascontiguousarray(swapped))})

    monkeypatch.setattr("onnxprune.shrinking.planning.cut", wrong)
    with pytest.raises(VerificationError):
        onnxprune.shrink(DIGITS, tmp_path / "out.onnx", ratio=0.3)
    assert list(tmp_path.iterdir()) == []


def test_same_bytes_for_any_hash_seed_and_thread_count(tmp_path: Path) -> None:
    files = []
    for seed, threads in (("0", "1"), ("1", "2")):
        out = tmp_path / seed / "out.onnx"
        out.parent.mkdir()
        command = [
            sys.executable,
            "-m",
            "onnxprune",
            "-q",
            "shrink",
            str(DIGITS),
            "-o",
            str(out),
            "--threads",
            threads,
            "--no-bench",
        ]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run(command, check=True, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL)
        files.append(out.read_bytes())
    assert files[0] == files[1]


def test_shrinking_again_adds_to_the_history(tmp_path: Path) -> None:
    first, second = tmp_path / "first.onnx", tmp_path / "second.onnx"
    a = onnxprune.shrink(DIGITS, first, ratio=0.1)
    b = onnxprune.shrink(first, second, ratio=0.1)
    assert a.after is not None and b.after is not None
    assert a.before.parameters > a.after.parameters == b.before.parameters > b.after.parameters
    history = json.loads(metadata(onnxprune.load(second).proto)["onnxprune.history"])
    assert [entry["source_sha256"] for entry in history] == [a.before.sha256, a.after.sha256]
    onnxprune.verify(first, second)
    with pytest.raises(onnxprune.OnnxPruneError):
        onnxprune.verify(DIGITS, second)


def test_no_network_and_no_pickle() -> None:
    """By what the package imports and says: no module that opens connections, no unpickling."""
    forbidden = {"socket", "ssl", "urllib", "http", "ftplib", "smtplib", "requests", "pickle", "shelve", "marshal"}
    for path in sorted((ROOT / "onnxprune").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        imported |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        assert not {name.split(".")[0] for name in imported} & forbidden, path
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant) and node.value.value is False, path
