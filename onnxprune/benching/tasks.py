"""Running jobs in a process of their own (worker.py)."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from onnxprune.errors import ModelError


class Crashed(ModelError):
    """The process that ran the models did not come to an end of its own."""


def run_job(folder: Path, name: str, job: dict[str, Any]) -> dict[str, Any]:
    """Run a job; its result. Files that it makes are in `folder`, named after `name`. Raises Crashed."""
    path = folder / f"{name}.json"
    path.write_text(json.dumps(job), "utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "onnxprune.benching.worker", str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(os.path.abspath(p) for p in sys.path if p)},
        cwd=folder,  # Python looks for modules in the working directory first: not in the one of the user
    )
    try:
        _, errors = process.communicate()
    except BaseException:
        with contextlib.suppress(OSError):
            process.kill()
        process.communicate()
        raise
    if process.returncode:
        raise Crashed(f"ONNX Runtime ended with {_status(process.returncode)}: {_last(errors)}")
    result: dict[str, Any] = json.loads(path.with_suffix(".result").read_text("utf-8"))
    return result


def _status(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _last(errors: bytes) -> str:
    lines = errors.decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing"
