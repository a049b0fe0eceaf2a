"""A run that is killed goes on where it was, and gives the bytes of one that was not. Real processes, real signals.

What was found is written whenever there is something (ONNXPRUNE_KEEP_SECONDS=0), as it would be in a long run.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from cli_support import DIGITS

from tests.small import small_network

CALIB = DIGITS.with_name("digits_calib.npz")
DATA = ("--data", "d.npz", "--no-bench")
CASES = {
    "shrink": ("--target", "macs=60%", "--multiple-of", "1", *DATA),
    "sparsify": ("--sparsity", "60%", "--pattern", "unstructured", *DATA),
    "quantize": ("--scheme", "static", *DATA),
    "compress": ("--target", "size=60%", "--without", "int8", "--without", "blocks", *DATA),
}
STAGES = {
    "shrink": ("tracing: ", "planning: ", "cutting: ", "layer by layer: ", "step 60 of", "step 660 of", "verifying: "),
    "sparsify": ("choosing weights: ", "step 300 of"),
    "quantize": ("measuring ranges: ", "step 300 of"),
    "compress": ("layer by layer: ", "step 60 of", "repaired briefly"),
}
FOLDER = "out.onnx.onnxprune-run"


@pytest.fixture(autouse=True)
def small(folder: Path) -> None:
    """A model and its samples in the working directory."""
    (folder / "digits.onnx").unlink()
    small_network(folder / "small.onnx")
    with np.load(CALIB) as found:
        np.savez(folder / "d.npz", image=found["image"][:60])


def started(*arguments: str, every: str = "0") -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "onnxprune", "-v", *arguments, "-o", "out.onnx", "--threads", "1"]
    environment = {**os.environ, "ONNXPRUNE_KEEP_SECONDS": every}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def ended(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    out, errors = process.communicate()
    assert process.returncode == code, (process.returncode, errors[-3000:])
    return out, errors


def stopped(pattern: str, *arguments: str, number: signal.Signals = signal.SIGKILL) -> str:
    """Kill the program once a line says that it is there; what else it says."""
    process = started(*arguments)
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if re.search(pattern, line):
            process.send_signal(number)
            break
    else:
        raise AssertionError("".join(said))
    return process.communicate()[1]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("command", CASES)
def test_killed_at_every_stage_it_gives_the_same_bytes(folder: Path, command: str) -> None:
    """Killed again and again, each time further on; nothing but the result is there at the end."""
    ended(started(command, "small.onnx", *CASES[command], every="1000"))
    whole = digest(folder / "out.onnx")
    (folder / "out.onnx").unlink()
    for pattern in STAGES[command]:
        stopped(pattern, command, "small.onnx", *CASES[command])
        assert not (folder / "out.onnx").exists()
    assert (folder / FOLDER / "run.json").exists()
    _, said = ended(started(command, "small.onnx", *CASES[command]))
    assert "goes on with what an earlier run found" in said
    assert digest(folder / "out.onnx") == whole
    assert {path.name for path in folder.iterdir()} == {"small.onnx", "d.npz", "out.onnx"}


def test_steps_go_on_where_they_were(folder: Path) -> None:
    arguments = ("shrink", "small.onnx", *CASES["shrink"])
    stopped("step 300 of", *arguments)
    _, said = ended(started(*arguments))
    found = re.search(r"goes on after step (\d+) of (\d+)", said)
    assert found and int(found[1]) >= 299 and "step 240 of" not in said and "step 660 of" in said


def test_another_run_is_refused_with_the_reason(folder: Path) -> None:
    """Other options, other samples, another model; what goes on is said, and --fresh begins anew."""
    arguments = ("shrink", "small.onnx", *CASES["shrink"])
    stopped("step 60 of", *arguments)
    kept = {path.name: path.read_bytes() for path in (folder / FOLDER).iterdir()}
    other = ("shrink", "small.onnx", "--target", "macs=50%", "--multiple-of", "1", *DATA)
    _, said = ended(started(*other), code=2)
    assert f"'{FOLDER}' holds what another run found: --target was macs=60%, now macs=50%." in said
    assert "give --fresh, or delete the folder" in said
    manifest = folder / FOLDER / "run.json"
    manifest.write_bytes(kept["run.json"].replace(b'"provider": "cpu"', b'"provider": "cuda"'))
    assert "holds what another run found: --provider was cuda, now cpu." in ended(started(*arguments), code=2)[1]
    manifest.write_bytes(kept["run.json"])
    shutil.copy("d.npz", "mine.npz")
    with np.load("d.npz") as found:
        np.savez("d.npz", image=found["image"][::-1])
    assert "found: data was another one." in ended(started(*arguments), code=2)[1]
    shutil.move("mine.npz", "d.npz")
    shutil.copy("small.onnx", "mine.onnx")
    another = onnx.load("small.onnx")
    another.doc_string = "another"
    onnx.save(another, "small.onnx")
    assert "model was another one" in ended(started(*arguments), code=2)[1]
    shutil.move("mine.onnx", "small.onnx")
    assert {path.name: path.read_bytes() for path in (folder / FOLDER).iterdir()} == kept
    _, said = ended(started(*other, "--fresh"))
    assert "goes on" not in said and not (folder / FOLDER).exists()


def test_what_is_no_such_folder_stays(folder: Path) -> None:
    (folder / FOLDER).mkdir()
    (folder / FOLDER / "mine.txt").write_text("mine")
    for fresh in ((), ("--fresh",)):
        _, said = ended(started("shrink", "small.onnx", *CASES["shrink"], *fresh), code=2)
        assert "holds something else" in said
    assert (folder / FOLDER / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize(("number", "stays"), [(signal.SIGTERM, True), (signal.SIGINT, False)])
def test_who_ends_it_on_purpose_leaves_nothing(folder: Path, number: signal.Signals, stays: bool) -> None:
    """But a machine that shuts down does: that is no will of the user."""
    discard = ("--on-interrupt", "discard")
    stopped("step 60 of", "shrink", "small.onnx", *CASES["shrink"], *discard, number=number)
    assert (folder / FOLDER).exists() == stays


def test_failures_and_short_runs_leave_nothing(folder: Path) -> None:
    (folder / "score.py").write_text("def score(path):\n    return 0.0 if 'small' not in str(path) else 1.0\n")
    gate = ("--metric", "score.py:score", "--max-drop", "0.1")
    ended(started("shrink", "small.onnx", *CASES["shrink"], *gate), code=1)
    assert not (folder / FOLDER).exists()
    process = started("shrink", "small.onnx", *CASES["shrink"], every="1000")
    assert process.stderr is not None
    for _ in process.stderr:
        assert not (folder / FOLDER).exists()
    ended(process)


def test_how_often_is_a_number(folder: Path) -> None:
    _, said = ended(started("shrink", "small.onnx", *CASES["shrink"], every="often"), code=2)
    assert "ONNXPRUNE_KEEP_SECONDS is a number of seconds, found 'often'" in said


def test_the_folder_says_of_which_run_it_is(folder: Path) -> None:
    stopped("step 60 of", "shrink", "small.onnx", *CASES["shrink"])
    found = json.loads((folder / FOLDER / "run.json").read_text())
    assert found["schema"] == "onnxprune.run/1" and found["command"] == "shrink"
    assert found["options"]["target"] == "macs=60%" and set(found["versions"]) >= {"onnxprune", "onnxruntime"}
    assert "data" in found and "d.npz" not in json.dumps(found)
