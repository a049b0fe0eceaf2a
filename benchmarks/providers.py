"""Capture and reconstruction on each execution provider: images a second, beside the CPU, and what differs.

usage: python benchmarks/providers.py [PROVIDER ...] [--model FILE] [--images N] [--steps N] [--rounds N] [--threads N]

Providers have the names of `onnxprune env`; without any, cpu and cuda. The CPU comes first, and what others give is
compared with it. Without --model it is a ResNet-50 with random weights. Inputs are noise: speed does not hang on them.

- capture: the mean size of every channel that a layer reads, over all images, as criteria are measured;
- reconstruction: steps in which all weights of a cut network are adjusted, as repair takes them, by their median;
- difference: of these sums, and of all weights after these steps, relative to the largest number of their tensor.

A provider that cannot be used is said with the reason, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bench_models
import numpy as np
from numpy.typing import NDArray

import onnxprune
from onnxprune.capture.activations import activations_of, gathered
from onnxprune.capture.samples import Samples, open_samples, traced_for
from onnxprune.capture.session import require_provider
from onnxprune.capture.statistics import Sizes
from onnxprune.cut.cut import cut
from onnxprune.cut.plan import keep_of
from onnxprune.errors import OnnxPruneError
from onnxprune.model.load import Model, load
from onnxprune.repair.lessons import Effort, lessons
from onnxprune.repair.reconstruct import reconstruct
from onnxprune.results.providers import CPU, Provider, Threads, installed, provider, short_provider
from onnxprune.trace.groups import Trace

Tensors = dict[str, NDArray[Any]]
WATCHED_S = 2.0
"""How long passes of capture are repeated; the fastest counts."""
EASY = 2
"""Steps before the clock starts: the first ones make what later ones have."""
HEAD = (
    "provider",
    "capture, images/s",
    "beside the CPU",
    "difference",
    "reconstruction, images/s",
    "beside the CPU",
    "difference",
)


@dataclass(frozen=True)
class Task:
    """A network with samples, and a cut of it."""

    trace: Trace
    samples: Samples
    keep: NDArray[np.bool_]
    smaller: Model

    @staticmethod
    def of(path: Path, images: int) -> Task:
        trace, given = traced_for(load(path), "random", None, images, 0)
        assert given is not None
        plan = onnxprune.shrink(path, None, ratio=0.3, repair="none", dry_run=True).plan
        keep = keep_of(plan, trace)
        return Task(trace, open_samples(given, trace, max_memory="32GB"), keep, cut(trace, keep))


@dataclass(frozen=True)
class Found:
    """Images a second, and what came of them."""

    speed: float
    values: Tensors


def captured(task: Task, threads: Threads) -> Found:
    reads = [one for some in activations_of(task.trace, task.trace.prunable) for one in some]
    seconds: list[float] = []
    while sum(seconds) < WATCHED_S or len(seconds) < 2:
        start = time.perf_counter()
        passed = gathered(task.trace, reads, task.samples.batches, Sizes, threads=threads)
        found = {read.key: seen.total / seen.count for read, seen in passed}
        seconds.append(time.perf_counter() - start)
    return Found(task.samples.count / min(seconds), found)


def rebuilt(task: Task, steps: int, threads: Threads) -> Found:
    how, samples = Effort(exactly=steps + EASY), task.samples
    given = lessons(task.trace, task.smaller, samples.batches, samples.held_out, samples.independent, None, how, None)
    if isinstance(given, str):
        sys.exit(f"nothing is reconstructed: {given}")
    marks: list[float] = []
    done = reconstruct(
        task.trace,
        task.keep,
        task.smaller,
        samples.batches,
        samples.held_out,
        independent=samples.independent,
        effort=how,
        threads=threads,
        progress=lambda number, total: marks.append(time.perf_counter()),
    )
    if not done.steps:
        sys.exit(f"nothing is reconstructed: {done.reason}")
    values = {name: tensor.array() for name, tensor in done.model.tensors.items()}
    return Found(given[0].batch / statistics.median(np.diff(marks[EASY - 1 :])), values)


def difference(found: Tensors, wanted: Tensors) -> float:
    """The largest of all tensors of floats, relative to the largest number of each."""
    pairs = [(found[name], array) for name, array in wanted.items() if array.dtype.kind == "f" and array.size]
    return max(float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)) for a, b in pairs)


def row(name: str, found: list[Found], wanted: list[Found]) -> str:
    cells = [name]
    for one, base in zip(found, wanted, strict=True):
        cells += [f"{one.speed:.1f}", f"{one.speed / base.speed:.2f}x", f"{difference(one.values, base.values):.1e}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description="Capture and reconstruction on each execution provider.")
    parser.add_argument("providers", nargs="*", default=["cpu", "cuda"], metavar="PROVIDER")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    given = parser.parse_args()
    missing = False
    with tempfile.TemporaryDirectory(prefix="onnxprune-bench-") as folder:
        path = given.model or Path(folder) / "resnet50.onnx"
        if given.model is None:
            bench_models.resnet50(path)
        task = Task.of(path, given.images)
        usable: list[tuple[str, Threads]] = []
        for asked in given.providers if given.providers[0] == "cpu" else ["cpu", *given.providers]:
            try:
                name = provider(asked, installed())
                threads: Threads = given.threads if name == CPU else Provider(name, given.threads)
                require_provider(threads)
                usable.append((short_provider(name), threads))
            except OnnxPruneError as error:
                missing = True
                print(f"{asked}: {error.message}\n  {error.hint or ''}", file=sys.stderr, flush=True)
        best: list[list[Found]] = [[] for _ in usable]
        for _ in range(given.rounds):  # in turn: what disturbs the machine meets all of them
            for k, (_, threads) in enumerate(usable):
                found = [captured(task, threads), rebuilt(task, given.steps, threads)]
                best[k] = [max(pair, key=lambda one: one.speed) for pair in zip(found, best[k] or found, strict=True)]
        print(f"| {' | '.join(HEAD)} |\n| --- |{' ---: |' * (len(HEAD) - 1)}")
        for (name, _), found in zip(usable, best, strict=True):
            print(row(name, found, best[0]))
    sys.exit(1 if missing else 0)


if __name__ == "__main__":
    main()
