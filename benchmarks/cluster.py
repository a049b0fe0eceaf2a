"""How long the choice of `shrink` takes here, and with one and two local workers of a Dask cluster, each on one core.

    python benchmarks/cluster.py MODEL DATA [--units blocks] [--target macs=50%] [--workers 1,2] [--rounds 3]

Prints a table in Markdown: the median of the rounds and their range, of the stages in which workers help, measure and
plan of a dry run. The plans must be the same.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import onnxprune
from onnxprune.results.system import cpu, version

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("capture", "plan")
"""Those that workers help with; connecting and sending is in the first."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", nargs="+")
    parser.add_argument("--units", default="channels")
    parser.add_argument("--target", default="macs=50%")
    parser.add_argument("--samples", type=int)
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    options = {"units": asked.units, "target": asked.target, "samples": asked.samples, "data": asked.data}
    cases = [0, *map(int, asked.workers.split(","))]
    seconds: dict[int, list[float]] = {case: [] for case in cases}
    plans: set[str] = set()
    for _ in range(asked.rounds):
        for case in cases:
            with cluster(case) as address:
                spent, digest = chosen(asked.model, options, address)
            seconds[case].append(spent)
            plans.add(digest)
    assert len(plans) == 1, plans
    print(f"{asked.model.name}, {asked.units}, {asked.target}; {cpu()}, ONNX Runtime {version('onnxruntime')}\n")
    print("| computed by | choice | range | times as fast |\n| --- | --- | --- | --- |")
    for case in cases:
        middle, ends = np.median(seconds[case]), (min(seconds[case]), max(seconds[case]))
        name = f"{case} worker{'s' if case > 1 else ''}, 1 core each" if case else "this machine, 1 thread"
        gain = np.median(seconds[0]) / middle
        print(f"| {name} | {middle:.1f} s | {ends[0]:.1f} - {ends[1]:.1f} | {gain:.2f} |")


def chosen(model: Path, options: dict[str, Any], address: str | None) -> tuple[float, str]:
    """Seconds of the choice, and the digest of the plan."""
    result = onnxprune.shrink(model, "o.onnx", dry_run=True, threads=1, scheduler=address, bench=False, **options)
    assert not any(note.startswith("--scheduler") for note in result.notes), result.notes
    return sum(result.seconds.get(stage, 0.0) for stage in STAGES), result.plan.digest


@contextlib.contextmanager
def cluster(workers: int) -> Iterator[str | None]:
    """The address of a scheduler with so many workers, each on a core of its own; None without any."""
    if not workers:
        yield None
        return
    import distributed

    processes: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        file = folder / "scheduler.json"
        start = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard", "--port", "0"]
        try:
            processes.append(_started([*start, "--host", "127.0.0.1", "--scheduler-file", str(file)], folder, None))
            address = ""
            while not address:
                with contextlib.suppress(OSError, ValueError, KeyError):
                    address = json.loads(file.read_text())["address"]
                time.sleep(0.05)
            for core in sorted(os.sched_getaffinity(0))[:workers]:
                command = [
                    sys.executable,
                    "-m",
                    "distributed.cli.dask_worker",
                    address,
                    "--nthreads",
                    "1",
                    "--no-nanny",
                ]
                command += ["--no-dashboard", "--local-directory", str(folder / str(core))]
                processes.append(_started(command, folder, core))
            with distributed.Client(address, set_as_default=False) as client:
                client.wait_for_workers(workers)
            yield address
        finally:
            for process in reversed(processes):
                process.kill()
                process.wait()


def _started(command: list[str], folder: Path, core: int | None) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=folder,
    )
    if core is not None:
        os.sched_setaffinity(process.pid, {core})
    return process


if __name__ == "__main__":
    main()
