"""Runs models in a process of its own: nothing else disturbs the clock, its memory is the model's, and a crash of the
runtime becomes a message.

python -m onnxprune.benching.worker JOB.json   reads the job, writes JOB.result (JSON) and, for times, JOB.npz.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from onnxprune.measure.timing import timed_session


def peak_memory() -> int | None:
    """The largest resident memory of this process in bytes; None if the system does not tell.

    Not from getrusage on Linux: that counts what the parent had when it started this process.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        text = Path("/proc/self/status").read_text("ascii", "replace")
        return int(text.split("VmHWM:")[1].split()[0]) * 1024
    from onnxprune.results.system import peak_memory_bytes  # here, because what a probe imports counts

    return peak_memory_bytes()


def read_feeds(paths: list[str]) -> list[dict[str, Any]]:
    """One feed a file."""
    found = []
    for path in paths:
        with np.load(path, allow_pickle=False) as data:
            found.append({name[1:]: data[name] for name in data.files})  # "x" in front: any name is allowed so
    return found


def _session(job: dict[str, Any], path: str, library: bool, profile: Path | None = None) -> Any:
    return timed_session(Path(path), job["threads"], profile=profile, provider=job["provider"], library=library)


def probe(job: dict[str, Any]) -> dict[str, Any]:
    """Load one model, run it a few times: seconds, bytes, or what went wrong, and when."""
    import onnxruntime  # noqa: F401  (its own memory is not the model's)

    result: dict[str, Any] = {"stage": "load", "runtime_bytes": peak_memory()}
    model = job["model"]
    feed = read_feeds(model["feeds"][:1])[0]
    try:
        start = time.perf_counter()
        session = _session(job, model["path"], model["library"])
        result["load_s"] = time.perf_counter() - start
        result["stage"] = "run"
        times = []
        for _ in range(3):
            start = time.perf_counter()
            session.run(None, feed)
            times.append(time.perf_counter() - start)
    except Exception as error:  # onnxruntime raises many types
        result["error"] = str(error)[:2000] or type(error).__name__
        return result
    result["first_run_s"], result["later_run_s"] = times[0], min(times[1:])
    result["peak_bytes"] = peak_memory()
    return result


def timing(job: dict[str, Any], arrays: Path) -> dict[str, Any]:
    """Interleaved times of all models (see rounds.py); they go to a file."""
    from onnxprune.benching.rounds import measure

    kept: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for model in job["models"]:
        key = tuple(model["feeds"])
        kept[key] = kept.get(key) or read_feeds(model["feeds"])

    def subject(model: dict[str, Any]) -> Any:
        session = _session(job, model["path"], model["library"])
        feeds = kept[tuple(model["feeds"])]
        return lambda number: session.run(None, feeds[number % len(feeds)])

    order = np.random.default_rng(job["seed"])

    def renew() -> list[Any]:
        """Sessions, made in random order: the one that is made last is a little faster as a rule."""
        made = {int(k): subject(job["models"][k]) for k in order.permutation(len(job["models"]))}
        return [made[k] for k in range(len(made))]

    count = max(len(feeds) for feeds in kept.values())
    found = measure(renew, count, seconds=job["seconds"], rounds=job["runs"], seed=job["seed"])
    np.savez(arrays, times=found.times, waited=found.waited, cpu=found.cpu, blocks=found.blocks)
    return {
        "samples": found.samples,
        "inferences": found.inferences,
        "warmup": found.warmup,
        "stable": found.stable,
        "sessions": found.sessions,
    }


def profile(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The runtime's own profile of all models, run in turn; one file of events each, in their order."""
    sessions = []
    for number, model in enumerate(job["models"]):
        session = _session(job, model["path"], model["library"], profile=folder / f"profile{number}")
        sessions.append((session, read_feeds(model["feeds"][:1])[0]))
    start, runs = time.perf_counter(), 0
    rng = np.random.default_rng(job["seed"])
    while runs < job["skip"] + 10 or (runs < job["runs"] and time.perf_counter() - start < job["seconds"]):
        for k in rng.permutation(len(sessions)):
            session, feed = sessions[k]
            session.run(None, feed)
        runs += 1
    return {"files": [session.end_profiling() for session, _ in sessions], "runs": runs}


def main() -> None:
    path = Path(sys.argv[1])
    job = json.loads(path.read_text("utf-8"))
    if job["kind"] == "probe":
        result = probe(job)
    else:
        try:
            result = timing(job, path.with_suffix(".npz")) if job["kind"] == "time" else profile(job, path.parent)
        except Exception as error:  # onnxruntime raises many types
            result = {"error": str(error)[:2000] or type(error).__name__}
    path.with_suffix(".result").write_text(json.dumps(result), "utf-8")


if __name__ == "__main__":
    main()
