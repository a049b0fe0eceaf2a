"""What a killed process has staged is removed by the run that goes on, and nothing else is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from onnxprune.model.abandoned import remove_abandoned
from onnxprune.model.load import load
from onnxprune.model.save import Staged
from tests.small import small_network

KILLED = """
import os, signal, sys
from pathlib import Path
from onnxprune.model.load import load
from onnxprune.model.save import Staged

staged = Staged(load(sys.argv[1]), Path(sys.argv[2]))
print(staged.folder.name, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(model: Path, target: Path) -> str:
    command = [sys.executable, "-c", KILLED, str(model), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    return done.stdout.strip()


def test_what_nobody_holds_is_removed(tmp_path: Path) -> None:
    model, target = small_network(tmp_path / "m.onnx"), tmp_path / "out.onnx"
    left, other = killed(model, target), killed(model, tmp_path / "other.onnx")
    with Staged(load(model), target) as staged:
        remove_abandoned(target)
        assert staged.path.exists(), "its process is there"
        assert {path.name for path in tmp_path.iterdir()} == {"m.onnx", other, staged.folder.name}
        staged.commit()
    assert left not in os.listdir(tmp_path) and target.exists()


def test_the_only_copy_of_an_older_file_stays(tmp_path: Path) -> None:
    model, target = small_network(tmp_path / "m.onnx"), tmp_path / "out.onnx"
    left = tmp_path / killed(model, target)
    (left / "out.onnx.old").write_bytes(b"old")
    remove_abandoned(target)
    assert (left / "out.onnx.old").read_bytes() == b"old"
