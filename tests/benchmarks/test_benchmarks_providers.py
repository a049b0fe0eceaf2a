"""benchmarks/providers.py from end to end: the CPU beside itself, and what is said of a provider that is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from onnxprune.results.providers import DISTRIBUTIONS, installed, short_provider

ROOT = Path(__file__).resolve().parents[2]
QUICK = ("--model", str(ROOT / "models" / "digits.onnx"), "--images", "24", "--steps", "3", "--rounds", "1")
MISSING = next(name for name in DISTRIBUTIONS if name not in map(short_provider, installed()))


def test_the_cpu_is_itself_and_what_is_missing_is_said(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "providers.py"), "cpu", "cpu", MISSING, *QUICK]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 1, found.stderr
    assert f"{MISSING}: --provider '{MISSING}' is not installed" in found.stderr
    assert f"pip install {DISTRIBUTIONS[MISSING]}" in found.stderr
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in found.stdout.splitlines()[2:]]
    assert [row[0] for row in rows] == ["cpu", "cpu"]
    for row in rows:
        assert row[3] == row[6] == "0.0e+00"
        assert float(row[1]) > 0 and float(row[4]) > 0 and row[2][-1] == row[5][-1] == "x"
