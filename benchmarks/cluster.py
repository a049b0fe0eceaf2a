"""How long the choice of `shrink` takes here, and with one and two local workers of a Dask cluster, each on one core.

    python benchmarks/cluster.py MODEL DATA [--units blocks] [--target macs=50%] [--workers 1,2] [--rounds 3]

Prints a table in Markdown, of the stages of a dry run in which workers help: the median of the rounds and their range;
and what was computed one after the other: processor time of this machine and of the busiest worker together, which is
what it would take on a machine that does nothing else. The plans must be the same.
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
    seconds: dict[int, list[tuple[float, float]]] = {case: [] for case in cases}
    plans: set[str] = set()
    for _ in range(asked.rounds):
        for case in cases:
            with cluster(case) as (address, workers):
                before, own = [computed(one) for one in workers], time.process_time()
                took, digest = chosen(asked.model, options, address)
                own = time.process_time() - own
                others = [computed(one) - start for one, start in zip(workers, before, strict=True)]
            seconds[case].append((took, own + max(others, default=0.0)))
            plans.add(digest)
    assert len(plans) == 1, plans
    print(f"{asked.model.name}, {asked.units}, {asked.target}; {cpu()}, ONNX Runtime {version('onnxruntime')}\n")
    print("| computed by | time | range | one after the other | times as fast |\n| --- | --- | --- | --- | --- |")
    for case in cases:
        times = np.array(seconds[case])
        name = f"{case} worker{'s' if case > 1 else ''}, 1 core each" if case else "this machine, 1 thread"
        took, work = np.median(times, axis=0)
        gain = np.median([one for _, one in seconds[0]]) / work
        print(
            f"| {name} | {took:.1f} s | {times[:, 0].min():.1f} - {times[:, 0].max():.1f} | {work:.1f} s | {gain:.2f} |"
        )


def computed(worker: subprocess.Popen[bytes]) -> float:
    """Processor seconds of a worker and of the processes that it started, once these have ended."""
    threads = Path(f"/proc/{worker.pid}/task")
    while any(path.read_text().strip() for path in threads.glob("*/children")):
        time.sleep(0.1)
    fields = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def chosen(model: Path, options: dict[str, Any], address: str | None) -> tuple[float, str]:
    """Seconds of the choice, and the digest of the plan."""
    result = onnxprune.shrink(model, "o.onnx", dry_run=True, threads=1, scheduler=address, bench=False, **options)
    assert not any(note.startswith("--scheduler") for note in result.notes), result.notes
    return sum(result.seconds.get(stage, 0.0) for stage in STAGES), result.plan.digest


@contextlib.contextmanager
def cluster(workers: int) -> Iterator[tuple[str | None, list[subprocess.Popen[bytes]]]]:
    """The address of a scheduler with so many workers, each on a core of its own, and these; None without any."""
    if not workers:
        yield None, []
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
            yield address, processes[1:]
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
