"""Running models in a subprocess (worker.py)."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onnxprune.errors import VerificationError
from onnxprune.proof.nursery import TooLong, work

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
    try:
        ended = work(job, folder, TIMEOUT_S)
    except TooLong as error:
        raise VerificationError(f"the models did not run within {TIMEOUT_S} s") from error
    if ended.code:
        raise VerificationError(
            f"ONNX Runtime ended with {_status(ended.code)} while the models ran: " + ended.errors.strip()[-500:]
        )
    runs: list[Run] = json.loads(job.with_suffix(".result").read_text())["runs"]
    return runs


def _status(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
