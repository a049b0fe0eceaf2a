"""docs/sparse.md: its examples run and do what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from onnxprune import native

ROOT = Path(__file__).resolve().parents[2]


def test_the_examples_of_the_page_work() -> None:
    first, second = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "sparse.md").read_text("utf-8"), re.S)
    done = subprocess.run([sys.executable, "-c", first + second], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    operators, declined = done.stdout.splitlines()
    assert "SparseConv" in operators
    assert declined == "{}"


def test_the_page_names_all_source_files() -> None:
    page = (ROOT / "docs" / "sparse.md").read_text("utf-8")
    listed = page[page.index("| file in") :]
    for path in (native.build.SOURCES).iterdir():
        stem = path.name.split(".")[0]
        known = f"`{stem}." in listed or path.suffix == ".inc" or stem.startswith("kernels_") or stem == "exports"
        assert known, path.name
