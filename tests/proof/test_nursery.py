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
    monkeypatch.setenv("OMP_NUM_THREADS", "2" if os.environ.get("OMP_NUM_THREADS") == "1" else "1")
    assert work(job(tmp_path, []), tmp_path, 60).code == 0
    assert nursery._current[0] is not before


INTERRUPTED = """
import os, signal, sys, threading, time
from pathlib import Path
from onnxprune.proof import nursery
job, folder = Path(sys.argv[1]), Path(sys.argv[2])
for after in (0.01, 0.05, 0.15, 0.4):  # while it starts, and while it waits for a job that nobody gives
    os.path.exists(job) or os.mkfifo(job)
    try:
        threading.Timer(after, os.kill, [os.getpid(), signal.SIGINT]).start()
        nursery.work(job, folder, 60)
        print("not interrupted")
    except KeyboardInterrupt:
        pass
    job.unlink()
    job.write_text('{"tasks": [], "threads": 1}')
    print(nursery.work(job, folder, 60).code)
    job.unlink()
"""


def test_after_an_interrupt_all_is_as_before(tmp_path: Path) -> None:
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path / "job.json"), str(tmp_path)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["0"] * 4, shown.stderr


def test_workers_end_with_whom_they_work_for(tmp_path: Path) -> None:
    """Even if that one was killed while they wait."""
    os.mkfifo(tmp_path / "job.json")
    code = (
        "import sys; from pathlib import Path; from onnxprune.proof import nursery\n"
        "print(nursery._nursery(nursery._environment())._process.pid, flush=True)\n"
        "nursery.work(Path(sys.argv[1]), Path(sys.argv[2]), 600)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "job.json"), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        group = int(process.stdout.readline())
        while not _members(group) - {group}:
            time.sleep(0.02)
        process.kill()
    while _members(group):
        time.sleep(0.02)


def _members(group: int) -> set[int]:
    """Processes of a group that are not dead."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, own = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            except OSError:
                continue
            if int(own) == group and state != "Z":
                found.add(int(entry.name))
    return found


def test_a_working_directory_that_is_gone_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.syspath_prepend("relative")
    assert work(job(tmp_path, []), tmp_path, 60).code == 0
    monkeypatch.chdir(tmp_path)


SEEN = """
import os, sys
def hook(event, found):
    if event == "open" and str(found[0]).endswith("job.json"):
        file = os.open(f"{found[0]}.seen", os.O_CREAT | os.O_WRONLY)
        os.write(file, os.environ["TMPDIR"].encode())
        os.close(file)
sys.addaudithook(hook)
"""


def test_another_temporary_folder_needs_no_other_nursery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker has it all the same."""
    (tmp_path / "sitecustomize.py").write_text(SEEN)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.setenv("TMPDIR", str(folder))
        assert work(job(folder, []), folder, 60).code == 0
        assert (folder / "job.json.seen").read_text() == str(folder)
        found.append(nursery._current[0])
    assert found[0] is found[1]
