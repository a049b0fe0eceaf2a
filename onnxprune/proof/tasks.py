"""Running models in a subprocess (worker.py)."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onnxprune.errors import VerificationError

TIMEOUT_S = 1800
Run = dict[str, Any]


def run_tasks(folder: Path, tasks: Sequence[dict[str, Any]], threads: int = 0) -> list[Run]:
    """Run models in a subprocess; see worker.py. A crash raises VerificationError.

    Sums of bytes are to be precise (session.x64quantprecision). Where the runtime refuses a model with that, and not
    without, all run without: then the `imprecise` of a run says why.
    """
    runs = _run(folder, tasks, threads)
    refused = next((run["load"] for run in runs if "load" in run), None)
    if refused is None:
        return runs
    again = _run(folder, [{**task, "precise": False} for task in tasks], threads)
    if sum("load" in run for run in again) >= sum("load" in run for run in runs):
        return runs
    return [{**run, "imprecise": refused} for run in again]


def imprecise(runs: Sequence[Run]) -> tuple[str, ...]:
    """What is to be said of runs without it."""
    if not any("imprecise" in run for run in runs):
        return ()
    return ("compared as ONNX Runtime runs it by default: it refuses the model with session.x64quantprecision",)


def _run(folder: Path, tasks: Sequence[dict[str, Any]], threads: int) -> list[Run]:
    job = folder / "job.json"
    job.write_text(json.dumps({"tasks": list(tasks), "threads": threads}))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(os.path.abspath(p) for p in sys.path if p)}
    process = subprocess.Popen(
        [sys.executable, "-m", "onnxprune.proof.worker", str(job)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=folder,  # Python looks for modules in the working directory first: not in the one of the user
    )
    try:
        _, errors = process.communicate(timeout=TIMEOUT_S)
    except BaseException as error:
        with contextlib.suppress(OSError):
            process.kill()
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise VerificationError(f"the models did not run within {TIMEOUT_S} s") from error
        raise
    if process.returncode:
        raise VerificationError(
            f"ONNX Runtime ended with {_status(process.returncode)} while the models ran: "
            + errors.decode(errors="replace").strip()[-500:]
        )
    runs: list[Run] = json.loads(job.with_suffix(".result").read_text())["runs"]
    return runs


def _status(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
