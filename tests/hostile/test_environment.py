"""Surroundings that try: interrupts at every stage, full disks, writers in a race, hash seeds, threads, warnings.

Every scenario is a process of its own, which uses the API as a script would.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.hostile.support import DIGITS, ROOT, cnn, info, listing, model_of, save

PREAMBLE = """
import os, resource, signal, sys, threading, time
from pathlib import Path
from onnxprune import shrink
from onnxprune.errors import OnnxPruneError
"""
SHRINK = PREAMBLE + "shrink(sys.argv[1], sys.argv[2], ratio=0.3, threads=int(sys.argv[3]))"


def python(script: str, *arguments: object, options: Sequence[str] = (), **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *options, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    out, errors = process.communicate()
    assert process.returncode == code, (process.returncode, errors[-3000:])
    assert code or not errors, errors[-3000:]
    return out


# ---- interrupts ------------------------------------------------------------------------------------------------
INTERRUPTED = (
    PREAMBLE
    + """
from tests.processes import wait_for_child

def later():
    wait_for_child("onnxprune.proof.worker")
    os.kill(os.getpid(), signal.SIGINT)

def run(at, running):
    seen = []
    def progress(step):
        seen.append(step.stage)
        if len(seen) == at + 1:
            if running:
                threading.Thread(target=later, daemon=True).start()
            else:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)
    try:
        shrink(sys.argv[1], sys.argv[2], ratio=0.3, threads=1, force=True, progress=progress)
    except KeyboardInterrupt:
        pass
    else:
        sys.exit(f"not interrupted at {at} {running}: {seen}")
    print(seen[-1], running, sorted(p.name for p in Path(sys.argv[2]).parent.iterdir()),
          Path(sys.argv[2]).read_bytes() == b"old")
    return seen[-1]

at, verifying = 0, None
stages = []
while "verify" not in stages or stages[-1] != "write":
    stages.append(run(at, False))
    at += 1
run(stages.index("verify"), True)
"""
)


def test_ctrl_c_at_every_stage_leaves_the_old_state(tmp_path: Path) -> None:
    """At the start of each stage, and while ONNX Runtime runs: the old output stands, and nothing else is there."""
    path, out = save(tmp_path, cnn()), tmp_path / "small.onnx"
    out.write_bytes(b"old")
    lines = finish(python(INTERRUPTED, path, out)).splitlines()
    assert {line.split()[0] for line in lines} >= {"load", "trace", "plan", "cut", "repair", "write", "verify"}
    assert all(line.endswith("['m.onnx', 'small.onnx'] True") for line in lines), lines


TERMINATED = (
    PREAMBLE
    + """
shrink(sys.argv[1], sys.argv[2], ratio=0.3, threads=1, force=True,
       progress=lambda step: os.kill(os.getpid(), int(sys.argv[4])) if step.stage == sys.argv[3] else None)
"""
)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("stage", ["plan", "verify"])
def test_a_killed_process_leaves_the_old_state(tmp_path: Path, stage: str, number: signal.Signals) -> None:
    """Nobody can clean up then: what remains is a hidden folder that says what it is."""
    path, out = save(tmp_path, cnn()), tmp_path / "small.onnx"
    out.write_bytes(b"old")
    process = python(TERMINATED, path, out, stage, int(number))
    finish(process, -number)
    assert out.read_bytes() == b"old"
    left = {p.name for p in tmp_path.iterdir()} - {"m.onnx", "small.onnx"}
    assert all(name.startswith(".small.onnx.") and name.endswith(".tmp") for name in left)
    assert bool(left) == (stage == "verify")


# ---- disks -----------------------------------------------------------------------------------------------------
LIMITED = (
    PREAMBLE
    + """
for limit in map(int, sys.argv[3:]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        result = shrink(sys.argv[1], sys.argv[2], ratio=0.3, threads=1, force=True)
        print("done")
    except OnnxPruneError as error:
        print(error.exit_code, type(error).__name__, str(error).splitlines()[0])
"""
)


@pytest.mark.parametrize("kind", ["digits", "large input"])
def test_a_full_disk_leaves_the_old_state(tmp_path: Path, kind: str) -> None:
    """A limit on file sizes stops the write, or the proof in its temporary folder: a message, and the old output."""
    path, out = tmp_path / "m.onnx", tmp_path / "small.onnx"
    if kind == "digits":
        path.write_bytes(DIGITS.read_bytes())
    else:
        proto = cnn()
        proto.graph.input[0].CopyFrom(info("x", [1, 3, 300, 300]))
        proto.graph.output[0].CopyFrom(info("y", [1, 4, 300, 300]))
        save(tmp_path, proto)
    out.write_bytes(b"old")
    size = path.stat().st_size
    limits = [0, 1, 1000, size // 4, size // 2, 2 * size]
    environment = {"TMPDIR": str(tmp_path / "scratch")}
    os.mkdir(environment["TMPDIR"])
    lines = finish(python(LIMITED, path, out, *limits, **environment)).splitlines()
    assert len(lines) == len(limits)
    assert all(line.split()[0] in ("2", "3", "4", "done") for line in lines), lines
    assert lines[0].split()[0] == "2"
    if "done" not in lines:
        assert out.read_bytes() == b"old"
    assert sorted(listing(tmp_path)) == ["m.onnx", "scratch", "small.onnx"]


# ---- races -----------------------------------------------------------------------------------------------------
RACE = (
    PREAMBLE
    + """
try:
    shrink(sys.argv[1], sys.argv[2], ratio=float(sys.argv[3]), threads=1, force=sys.argv[4] == "force")
except OnnxPruneError as error:
    print(type(error).__name__, error)
else:
    print("written")
"""
)


@pytest.mark.parametrize("force", ["force", "careful"])
def test_two_writers_of_one_output(tmp_path: Path, force: str) -> None:
    """With --force the file is one of the two, whole; without it, one of the two is told."""
    path, out = save(tmp_path, cnn()), tmp_path / "small.onnx"
    pair = [python(RACE, path, out, ratio, force) for ratio in (0.25, 0.5)]
    said = sorted(finish(process).split()[0] for process in pair)
    assert said == (["written", "written"] if force == "force" else ["OutputError", "written"])
    assert onnx.load(out).graph.initializer[0].dims[0] in (4, 6)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx", "small.onnx"]


# ---- the interpreter -------------------------------------------------------------------------------------------
def test_same_bytes_in_every_surrounding(tmp_path: Path) -> None:
    """Promise 7: hash seed, thread count, optimised interpreter and working directory make no difference; and there
    are no warnings.
    """
    surroundings: list[tuple[int, Sequence[str], dict[str, str]]] = [
        (1, [], {"PYTHONHASHSEED": "0"}),
        (2, [], {"PYTHONHASHSEED": "1"}),
        (1, ["-O"], {"PYTHONHASHSEED": "2", "LANG": "C", "LC_ALL": "C"}),
        (1, ["-W", "error"], {"PYTHONHASHSEED": "3", "OMP_NUM_THREADS": "2"}),
    ]
    digests = []
    for number, (threads, options, environment) in enumerate(surroundings):
        out = tmp_path / f"{number}.onnx"
        finish(python(SHRINK, DIGITS, out, threads, options=options, **environment))
        digests.append(hashlib.sha256(out.read_bytes()).hexdigest())
    assert len(set(digests)) == 1


def test_modules_in_the_working_directory_are_not_run(tmp_path: Path) -> None:
    """Promise 10: no code from beside the model, not even in the process that runs ONNX Runtime."""
    folder, script = tmp_path / "downloads", tmp_path / "script.py"
    folder.mkdir()
    for name in ("numpy", "json", "onnx", "onnxruntime", "pathlib", "onnxprune", "sitecustomize"):
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w').close()")
    save(folder, cnn())
    script.write_text(SHRINK)
    command = [sys.executable, str(script), "m.onnx", "small.onnx", "1"]
    done = subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert (folder / "small.onnx").is_file() and not (tmp_path / "executed").exists()


def test_limited_address_space(tmp_path: Path) -> None:
    """4 GB of addresses are enough for a small model on one thread; what is too little gives a message."""
    limited = PREAMBLE + "resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))\n"
    limited += "shrink(sys.argv[1], sys.argv[2], ratio=0.3, threads=1)"
    out = tmp_path / "small.onnx"
    finish(python(limited, DIGITS, out, OPENBLAS_NUM_THREADS="1"))
    assert out.is_file()


def test_memory_stays_below_twice_the_model(tmp_path: Path) -> None:
    """Promise 8: shrinking 300 MB, proof included, takes no more than twice that and 300 MB in the process."""
    width, depth = 5000, 3
    nodes = [helper.make_node("MatMul", [f"v{k}", f"w{k}"], [f"v{k + 1}"], name=f"layer{k}") for k in range(depth)]
    random = np.random.default_rng(0)
    tensors = {f"w{k}": random.random((width, width), np.float32) / 50 - 0.01 for k in range(depth)}
    proto = model_of(nodes, [info("v0", ["N", width])], [info(f"v{depth}", ["N", width])], tensors)
    path = save(tmp_path, proto)
    size = path.stat().st_size
    assert size > 290e6
    del tensors, proto
    script = SHRINK + "\nprint(*[s.split()[1] for s in open('/proc/self/status') if s.startswith('VmHWM')])"
    peak = int(finish(python(script, path, tmp_path / "small.onnx", 1))) * 1024  # ru_maxrss would count the parent's
    assert peak < 2 * size + 300e6, f"{peak / 1e6:.0f} MB for a model of {size / 1e6:.0f} MB"
