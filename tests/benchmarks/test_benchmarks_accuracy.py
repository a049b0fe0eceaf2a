"""benchmarks/accuracy.py from end to end, on an evaluation folder that serves the example model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EVALUATE = """
import json, shutil, sys
from pathlib import Path
import numpy as np
import onnxruntime as ort

MODELS = Path({models!r})
command, *given = sys.argv[1:]
if command == "names":
    print("digits")
elif command == "original":
    shutil.copyfile(MODELS / "digits.onnx", given[1])
elif command == "calib":
    np.savez(given[2], image=np.load(MODELS / "digits_calib.npz")["image"][: int(given[1])])
else:
    data = np.load(MODELS / "digits_test.npz")
    logits = ort.InferenceSession(given[1]).run(None, {{"image": data["image"]}})[0]
    value = float((logits.argmax(1) == data["label"]).mean() * 100)
    print(json.dumps({{"name": given[0], "metric": "top1_percent", "value": value, "n": len(logits)}}))
"""


def run(script: str, folder: Path, *options: str) -> str:
    """What the benchmark prints, run in `folder`."""
    command = [sys.executable, str(ROOT / "benchmarks" / script), *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    folder = tmp_path / "evaluation"
    folder.mkdir()
    (folder / "evaluate.py").write_text(EVALUATE.format(models=str(ROOT / "models")))
    return folder


def test_the_table(tmp_path: Path, evaluation: Path) -> None:
    given = ("--eval", str(evaluation), "--targets", "macs=75%", "--samples", "20", "--report", "accuracy.md")
    first = run("accuracy.py", tmp_path, *given)
    assert "digits  naive macs=75%" in first
    page = (tmp_path / "accuracy.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| digits")]
    assert [row[1] for row in rows] == ["original", "naive macs=75%", "macs=75%"]
    left = [float(row[2].rstrip("%")) for row in rows]
    assert left[0] == 100 and all(60 < share <= 75 for share in left[1:])
    original, naive, kept = (float(row[3].split()[0]) for row in rows)
    assert original > 98 and kept > 95 and naive < kept

    # what was measured is kept: a second run measures nothing and shows the same
    files = sorted((tmp_path / "out" / "eval").iterdir())
    assert [json.loads(file.read_text())["samples"] for file in files] == [20, 20, 20]
    assert "digits  naive" not in run("accuracy.py", tmp_path, *given)
    assert (tmp_path / "accuracy.md").read_text() == page


@pytest.mark.parametrize("folder", ["", "nowhere"])
def test_no_folder_is_said_and_is_no_error(tmp_path: Path, folder: str) -> None:
    printed = run("accuracy.py", tmp_path, "--eval", folder, "--report", "accuracy.md")
    assert printed.startswith("No evaluation: ") and "make EVAL=folder" in printed
    assert not (tmp_path / "accuracy.md").exists()
