"""A small network with data, points that take little time, and a Dask cluster of processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import distributed
import numpy as np
import onnx

from tests.builders import Net
from tests.processes import running

ROOT = Path(__file__).parents[2]
SEED = 5
WORKER = "onnxprune.sweeping.worker"  # the process of a point
MANY = tuple(round(0.05 * k, 2) for k in range(4, 17))
"""Ratios of so many points that a run is not at its end when it is noticed that the first is done."""


def small_model(path: Path, *, weights_beside: bool = False) -> None:
    """Two convolutions and a classifier of four classes, 3 x 6 x 6 inputs."""
    net = Net()
    first = net.relu(net.conv(net.input(3, 6, 6, name="x"), 12, 3, name="a"))
    second = net.relu(net.conv(first, 16, 3, name="b"))
    net.output(net.gemm(net.op("Flatten", net.op("GlobalAveragePool", second)), 4, name="z"))
    onnx.save(
        net.model(),
        str(path),
        save_as_external_data=weights_beside,
        location=f"{path.name}.data",
        size_threshold=0,
    )


def small_data(path: Path, samples: int = 40) -> None:
    np.savez(path, x=np.random.default_rng(SEED).standard_normal((samples, 3, 6, 6)).astype(np.float32))


@dataclass
class Cluster:
    """A scheduler, and workers of one thread each, all of them processes."""

    address: str
    folder: Path
    processes: list[subprocess.Popen[bytes]]

    def worker(self, number: int) -> subprocess.Popen[bytes]:
        """The process of a worker."""
        return self.processes[1 + number]

    def start_worker(self, *paths: Path) -> None:
        """Another one; `paths` come first where it looks for packages."""
        command = ["dask_worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
        local = self.folder / f"local{len(self.processes)}"
        self.processes.append(_start(self.folder, [*command, "--local-directory", str(local)], paths))


@contextlib.contextmanager
def cluster(folder: Path, workers: int = 2) -> Iterator[Cluster]:
    """A cluster on this machine, while it is needed."""
    folder.mkdir()
    file = folder / "scheduler.json"
    options = ["--port", "0", "--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(file)]
    found = Cluster("", folder, [_start(folder, ["dask_scheduler", *options])])
    try:
        while not found.address:
            assert found.processes[0].poll() is None, (folder / "log").read_text()
            with contextlib.suppress(OSError, ValueError, KeyError):
                found.address = json.loads(file.read_text())["address"]
            time.sleep(0.05)
        for _ in range(workers):
            found.start_worker()
        if workers:
            with distributed.Client(found.address, set_as_default=False) as client:
                client.wait_for_workers(workers)
        yield found
    finally:
        for process in reversed(found.processes):
            process.send_signal(signal.SIGKILL)
            process.wait()


def computing() -> dict[int, int]:
    """The processes of points: their numbers, and those of who started them."""
    return running(WORKER)


def _start(folder: Path, command: list[str], paths: Sequence[Path] = ()) -> subprocess.Popen[bytes]:
    with open(folder / "log", "ab") as log:
        module = f"distributed.cli.{command[0]}"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*paths, ROOT)))}
        return subprocess.Popen(
            [sys.executable, "-m", module, *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            cwd=folder,
        )
