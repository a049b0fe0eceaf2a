"""Is `onnxprune bench` honest? Verdicts on a model against itself, and against one with 10 % more work, many times.

usage: python benchmarks/bench_honesty.py [--runs 100] [--seconds 5] [--busy auto|N] [--out FOLDER] [--report FILE]

With `--busy auto` the script keeps every core busy with a process of its own, unless the machine is busy already (a
load of one process per core). One result a file in FOLDER; an interrupted run goes on. Both cases run side by side.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnxprune.benching.bench import request, run
from onnxprune.benching.results import Estimate
from onnxprune.benching.statistics import verdict
from onnxprune.options.others import BenchOptions
from onnxprune.results.system import environment

ROOT = Path(__file__).resolve().parents[1]
LAYERS = 20
CHANNELS, SIZE = 32, 16
SPIN = "import time\nwhile True: sum(range(10000))"
HEADER = """# Is `onnxprune bench` honest?

Made by `make bench-honesty`; do not edit. Each row is {runs} runs of `bench` as it is by default ({seconds:g} s of
timing; one process instead of three for load time and memory, which no verdict uses). A model against itself must be
called "same", one with 10 % more work (22 convolutions instead of 20, all alike) "slower".

Machine: {cores} CPU cores, {machine}, {system}; Python {python}, ONNX Runtime {runtime}. {busy}
Both rows were measured side by side, with priority {nice} (0 is normal, 19 the lowest).
"""


def chain(path: Path, layers: int) -> None:
    """Equal convolutions with activations, one after the other: the work is proportional to their number."""
    rng = np.random.default_rng(0)
    nodes, weights, value = [], [], "x"
    for k in range(layers):
        weight = rng.standard_normal((CHANNELS, CHANNELS, 3, 3)) / math.sqrt(CHANNELS * 9)
        weights.append(numpy_helper.from_array(weight.astype(np.float32), f"w{k}"))
        nodes.append(helper.make_node("Conv", [value, f"w{k}"], [f"c{k}"], pads=[1] * 4, name=f"conv{k}"))
        value = "y" if k == layers - 1 else f"r{k}"
        nodes.append(helper.make_node("Relu", [f"c{k}"], [value], name=f"relu{k}"))
    shape: list[str | int | None] = ["N", CHANNELS, SIZE, SIZE]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def one(a: Path, b: Path, seconds: float, seed: int) -> dict[str, Any]:
    """The verdict of one run, and how busy the machine was."""
    machine = environment()
    asked = request([a, b], machine, BenchOptions(seconds=seconds, seed=seed))
    found = run(replace(asked, probes=1), machine, None).settings[0]
    comparison = found.comparisons[0]
    return {
        "ratio": comparison.ratio.value,
        "low": comparison.ratio.low,
        "high": comparison.ratio.high,
        "rounds": found.rounds,
        "load": os.getloadavg()[0],
    }


def case(name: str, a: Path, b: Path, runs: int, seconds: float, folder: Path) -> list[dict[str, Any]]:
    """All runs of one row; those that are there already are not repeated."""
    found = []
    for seed in range(runs):
        path = folder / f"{name}.{seed}.json"
        if not path.exists():
            path.write_text(json.dumps(one(a, b, seconds, seed)))
        found.append(json.loads(path.read_text()))
        if (seed + 1) % 10 == 0:
            print(f"{name}: {seed + 1} of {runs}: {counts(found)}", flush=True)
    return found


def verdicts_of(found: list[dict[str, Any]]) -> list[str]:
    """From the intervals."""
    return [verdict(Estimate(entry["ratio"], entry["low"], entry["high"])) for entry in found]


def counts(found: list[dict[str, Any]]) -> str:
    verdicts = verdicts_of(found)
    return ", ".join(f"{verdicts.count(v)} {v}" for v in ("faster", "same", "slower", "undecided"))


@contextlib.contextmanager
def busy(asked: str, cores: int) -> Iterator[str]:
    """Keep the machine busy; how, in words."""
    count = int(asked) if asked != "auto" else 0 if os.getloadavg()[0] >= cores else cores
    processes = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(count)]
    try:
        yield f"{count} processes of the script kept the cores busy." if count else "Other programs kept it busy."
    finally:
        for process in processes:
            process.kill()
            process.wait()


def row(title: str, found: list[dict[str, Any]]) -> list[str]:
    """Verdicts, ratios, and how wide the intervals are."""
    ratios = sorted(entry["ratio"] for entry in found)
    half = statistics.median(math.sqrt(entry["high"] / entry["low"]) - 1 for entry in found)
    verdicts = verdicts_of(found)
    loads = sorted(entry["load"] for entry in found)
    return [
        title,
        *(str(verdicts.count(v)) for v in ("faster", "same", "slower", "undecided")),
        f"{statistics.median(ratios):.3f} ({ratios[0]:.3f}-{ratios[-1]:.3f})",
        f"{100 * half:.2f} %",
        f"{statistics.median(loads):.1f} ({loads[0]:.1f}-{loads[-1]:.1f})",
    ]


def report(rows: list[list[str]], runs: int, seconds: float, how: str) -> str:
    head = [
        "",
        "faster",
        "same",
        "slower",
        "undecided",
        "time ratio, median (range)",
        "half of the interval, median",
        "load",
    ]
    lines = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
    lines += [f"| {' | '.join(line)} |" for line in rows]
    text = HEADER.format(
        runs=runs,
        seconds=seconds,
        cores=environment().cores,
        machine=platform.machine(),
        system=platform.system(),
        python=platform.python_version(),
        runtime=version("onnxruntime"),
        busy=how,
        nice=os.nice(0),
    )
    note = "Load: processes that run or want to, mean of the minute before the end of a run."
    return text + "\n" + "\n".join(lines) + f"\n\n{note}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Check the verdicts of onnxprune bench.")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--busy", default="auto")
    parser.add_argument("--out", type=Path, default=Path("out/honesty"))
    parser.add_argument("--report", type=Path)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    models = {layers: given.out / f"chain{layers}.onnx" for layers in (LAYERS, LAYERS * 11 // 10)}
    for layers, path in models.items():
        chain(path, layers)
    digits, (plain, more) = ROOT / "models" / "digits.onnx", models.values()
    cases = {
        "self": ("digits.onnx against itself", digits, digits),
        "slower": ("a chain of convolutions against one with 10 % more", plain, more),
    }
    results: dict[str, list[dict[str, Any]]] = {}

    def work(name: str) -> None:
        _, a, b = cases[name]
        results[name] = case(name, a, b, given.runs, given.seconds, given.out)

    with busy(given.busy, environment().cores) as how:
        threads = [threading.Thread(target=work, args=(name,)) for name in cases]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    text = report([row(title, results[name]) for name, (title, _, _) in cases.items()], given.runs, given.seconds, how)
    print(text)
    if given.report:
        given.report.write_text(text)


if __name__ == "__main__":
    main()
