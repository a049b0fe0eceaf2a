"""The process of one point: `shrink` as everybody calls it, and what came of it as JSON beside the job.

It ends with the process that started it: that one holds the other side of our standard input.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import onnxprune
from onnxprune.capture.samples import open_samples, traced_for
from onnxprune.data.specs import input_specs
from onnxprune.errors import OnnxPruneError
from onnxprune.measure.fidelity import fidelity
from onnxprune.model.load import Model, load
from onnxprune.results import ShrinkResult
from onnxprune.sweeping.record import measured, outcome_document
from onnxprune.sweeping.results import FINISHED, NOTHING, Failure, Outcome
from onnxprune.sweeping.samples import opened


def main() -> None:
    path = Path(sys.argv[1])
    signal.signal(signal.SIGTERM, _interrupt)
    threading.Thread(target=_follow, daemon=True).start()
    job = json.loads(path.read_text("utf-8"))
    try:
        reply = computed(job)
    except KeyboardInterrupt:
        sys.exit(130)
    except OnnxPruneError as error:
        reply = {"failure": _failure(type(error).__name__, error.message, error.hint, error.exit_code)}
    except MemoryError:
        reply = {"failure": _failure("MemoryError", "there is not enough memory", "Try --jobs 1.", 3)}
    path.with_name("result.json").write_text(json.dumps(reply), "utf-8")


def computed(job: dict[str, Any]) -> dict[str, Any]:
    """Raises an OnnxPruneError."""
    start = time.perf_counter()
    model = load(job["model"])
    data = None if job["data"] is None else opened(Path(job["data"]), input_specs(model))
    if job.get("quantize") is not None:
        return {"outcome": outcome_document(_quantized(job, model, data, start))}
    result = onnxprune.shrink(model, job["out"], data=data, samples=job["samples"], **job["options"])
    return {"outcome": outcome_document(_outcome(result, time.perf_counter() - start))}


def _quantized(job: dict[str, Any], original: Model, data: Any, start: float) -> Outcome:
    """A result in int8, judged against the original. Raises an OnnxPruneError."""
    source, options = dict(job["quantize"]), job["options"]
    made = onnxprune.quantize(source.pop("model"), job["out"], data=data, samples=job["samples"], **options)
    common = {"plan": made.plan.digest, "notes": made.notes, **source}
    if made.after is None:
        failure = Failure("NothingToQuantize", "no layer can compute with integers", None, 0)
        return Outcome(NOTHING, time.perf_counter() - start, **common, failure=failure)
    traced, given = traced_for(original, data, None, job["samples"], options["seed"])
    samples = open_samples(given, traced, max_memory=options["max_memory"], seed=options["seed"])
    found = fidelity(original, Path(job["out"]), samples.batches[-samples.held_out :], threads=options["threads"])
    return Outcome(FINISHED, time.perf_counter() - start, **common, model=made.after, **measured(found))


def _outcome(result: ShrinkResult, seconds: float) -> Outcome:
    common: dict[str, Any] = {
        "seconds": seconds,
        "plan": result.plan.digest,
        "removed": result.plan.removed_count,
        "reached_ratio": result.reached_ratio,
        "notes": result.notes,
    }
    if result.after is None:
        met = result.target is not None and result.target.before <= result.target.limit
        noun = "block" if result.plan.units == "blocks" else "channel"
        why = f"the original meets {result.target.asked} already" if met and result.target else f"no {noun} can leave"
        if not met and None in [part.reason for part in result.groups] + [block.reason for block in result.blocks]:
            why = f"less than one {noun} was asked"
        failure = Failure("NothingRemoved", why, "onnxprune inspect shows what can be removed.", 0)
        return Outcome(NOTHING, **common, failure=failure)
    return Outcome(FINISHED, **common, model=result.after, **measured(result.fidelity))


def _failure(kind: str, message: str, hint: str | None, exit_code: int) -> dict[str, Any]:
    return {"type": kind, "message": message, "hint": hint, "exit_code": exit_code}


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _follow() -> None:
    """End when nobody holds the other side of standard input any more."""
    while True:
        try:
            if not os.read(0, 1):
                break
        except OSError:
            break
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
