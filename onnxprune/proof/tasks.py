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


def run_tasks(folder: Path, tasks: Sequence[dict[str, Any]], threads: int = 0) -> list[dict[str, Any]]:
    """Run models in a subprocess; see worker.py. A crash raises VerificationError."""
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
    runs: list[dict[str, Any]] = json.loads(job.with_suffix(".result").read_text())["runs"]
    return runs


def _status(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
