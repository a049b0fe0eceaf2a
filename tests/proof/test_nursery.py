"""Workers that are forked where everything is imported: each by itself, told apart by how it ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from onnxprune.proof import nursery
from onnxprune.proof.nursery import TooLong, work

pytestmark = pytest.mark.skipif(not nursery.CAN_FORK, reason="processes do not fork here: each job starts one")


def job(folder: Path, tasks: list[Any]) -> Path:
    path = folder / "job.json"
    path.write_text(json.dumps({"tasks": tasks, "threads": 1}))
    return path


def test_jobs_end_and_leave_nothing_behind(tmp_path: Path) -> None:
    for _ in range(2):
        assert work(job(tmp_path, []), tmp_path, 60).code == 0
    assert json.loads((tmp_path / "job.result").read_text()) == {"runs": []}
    assert "KeyError" in work(job(tmp_path, [{}]), tmp_path, 60).errors


def test_a_crash_is_told_as_that_of_a_process_would_be(tmp_path: Path) -> None:
    """And the next job does not notice."""
    hook = tmp_path / "sitecustomize.py"
    hook.write_text("import os, onnxprune.proof.onnx_checks as c\nc.refusals = lambda path: os.abort()\n")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from onnxprune.proof import nursery\n"
        "ended = [nursery.work(Path(sys.argv[2]), Path(sys.argv[1]), 60).code for _ in range(2)]\n"
        "print(*ended)"
    )
    command = [sys.executable, "-c", code, str(tmp_path), str(job(tmp_path, [{"name": "a", "check": "m.onnx"}]))]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert shown.split() == [str(-signal.SIGABRT)] * 2


def test_what_takes_too_long_is_ended(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "job.json")  # whoever reads it waits
    with pytest.raises(TooLong):
        work(tmp_path / "job.json", tmp_path, 0.2)
    os.unlink(tmp_path / "job.json")
    assert work(job(tmp_path, []), tmp_path, 60).code == 0


def test_two_threads_have_a_worker_each(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "job.json")
    ended: list[int] = []
    thread = threading.Thread(target=lambda: ended.append(work(tmp_path / "job.json", tmp_path, 60).code))
    thread.start()
    while not nursery._lock.locked():
        time.sleep(0.01)
    other = tmp_path / "other"
    other.mkdir()
    assert work(job(other, []), other, 60).code == 0 and not ended
    (tmp_path / "job.json").write_text('{"tasks": [], "threads": 1}')
    thread.join()
    assert ended == [0]


def test_another_environment_has_another_nursery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert work(job(tmp_path, []), tmp_path, 60).code == 0
    before = nursery._current[0]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert work(job(tmp_path, []), tmp_path, 60).code == 0
    assert nursery._current[0] is not before
