"""How fast onnxprune itself is, and how much memory it takes.

usage: python benchmarks/bench_self.py [--report FILE] [--runs N] [--quick]

Prints tables, and with --report writes them as Markdown. --quick leaves out the largest models.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import bench_models
import bench_training

import onnxprune
from onnxprune.trace import trace_model

SHRINK = """
import sys, onnxprune
onnxprune.shrink(sys.argv[1], sys.argv[2], ratio=0.5, force=True, verify=sys.argv[3] == "proof")
"""
HEADER = """# Benchmarks of onnxprune itself

Made by `make bench-self`; do not edit. Medians of {runs} runs; memory is the highest of samples every 20 ms of the
proportional set size (shared pages counted once) of the process and its children, one run. Images a minute are by the
time of the processor, one run; the limit is one forward pass of the original and three of the cut network.

Machine: {cores} CPU cores, {machine}, {system}; Python {python}, onnx {onnx}, ONNX Runtime {runtime}. Wall time,
not isolated from other programs on the machine.
"""


def timed(work: Callable[[], object], runs: int) -> float:
    """Median wall time in seconds."""
    taken = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def table(title: str, head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    lines = [f"## {title}", "", f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
    text = "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])
    print(f"\n{text}", flush=True)
    return text


def tracing(folder: Path, sizes: list[int], runs: int) -> str:
    """Time to load and to trace a chain, by its number of nodes."""
    rows = []
    for nodes in sizes:
        path = folder / f"chain{nodes}.onnx"
        bench_models.chain(path, nodes)
        loading = timed(lambda path=path: onnxprune.load(path), runs)  # type: ignore[misc]
        model = onnxprune.load(path)
        tracing = timed(lambda model=model: trace_model(model), runs)  # type: ignore[misc]
        rows.append([f"{nodes:,}", f"{loading:.2f} s", f"{tracing:.2f} s", f"{tracing / nodes * 1e6:.0f} us"])
    return table("Tracing a chain of convolutions and ReLUs", ["nodes", "load", "trace", "trace per node"], rows)


def shrinking(folder: Path, runs: int) -> str:
    """Time of `shrink` for a ResNet-50, stage by stage."""
    path, out = folder / "resnet50.onnx", folder / "resnet50.pruned.onnx"
    bench_models.resnet50(path)
    rows = []
    for name, verify in (("with proof", True), ("without proof", False)):
        stages: dict[str, list[float]] = {}
        total = []
        for _ in range(runs):
            start = time.perf_counter()
            result = onnxprune.shrink(path, out, ratio=0.5, force=True, verify=verify)
            total.append(time.perf_counter() - start)
            for stage, seconds in result.seconds.items():
                stages.setdefault(stage, []).append(seconds)
        parts = ", ".join(f"{stage} {statistics.median(s):.2f}" for stage, s in stages.items())
        rows.append([name, parts, f"{statistics.median(total):.2f} s"])
    size = path.stat().st_size / 1e6
    return table(f"Shrinking a ResNet-50 ({size:.0f} MB) by half", ["", "stages (s)", "total"], rows)


def memory(folder: Path, layers: list[int]) -> str:
    """Peak memory of `shrink`, by size of the model."""
    rows = []
    for count in layers:
        path, out = folder / f"dense{count}.onnx", folder / f"dense{count}.pruned.onnx"
        make = "import sys, pathlib, bench_models; bench_models.dense(pathlib.Path(sys.argv[1]), int(sys.argv[2]))"
        subprocess.run([sys.executable, "-c", make, str(path), str(count)], check=True, cwd=Path(__file__).parent)
        size = path.stat().st_size
        for proof in ("proof", "none"):
            start = time.perf_counter()
            peak = peak_of([sys.executable, "-c", SHRINK, str(path), str(out), proof])
            seconds = time.perf_counter() - start
            name = f"{size / 1e6:,.0f} MB, {'with' if proof == 'proof' else 'without'} proof"
            rows.append([name, f"{peak / 1e6:,.0f} MB" if peak else "-", f"{peak / size:.1f} x", f"{seconds:.1f} s"])
        path.unlink()
    return table("Memory of shrinking dense layers by half", ["model", "peak", "of the file", "time"], rows)


def peak_of(command: list[str]) -> int:
    """Highest proportional set size in bytes of a command and its children; 0 where the system does not tell."""
    peak = 0
    with subprocess.Popen(command) as process:
        while process.poll() is None:
            peak = max(peak, _tree(process.pid))
            time.sleep(0.02)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return peak


def _tree(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(c) for task in tasks for c in (task / "children").read_text().split()]
    except (OSError, ValueError):  # gone meanwhile, or not Linux
        return 0
    own = next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
    return own * 1024 + sum(_tree(child) for child in children)


def training(folder: Path) -> str:
    """Images that reconstruction sees in a minute."""
    path = folder / "mobilenet.onnx"
    bench_models.mobilenet(path)
    return table("Reconstruction of a MobileNetV2, one thread", bench_training.HEAD, bench_training.rebuilding(path))


def starting(runs: int) -> str:
    """Time of `onnxprune --help` and of importing the package."""
    script = Path(sys.executable).parent / "onnxprune"
    commands = {
        "`onnxprune --help`": [str(script), "--help"],
        "`onnxprune shrink --help`": [str(script), "shrink", "--help"],
        '`python -c "import onnxprune"`': [sys.executable, "-c", "import onnxprune"],
        '`python -c ""`, for comparison': [sys.executable, "-c", ""],
    }
    rows = []
    for name, command in commands.items():
        seconds = timed(lambda c=command: subprocess.run(c, check=True, stdout=subprocess.DEVNULL), runs)  # type: ignore[misc]
        rows.append([name, f"{seconds * 1e3:.0f} ms"])
    return table("Starting", ["command", "time"], rows)


def header(runs: int) -> str:
    """What was measured where, without names."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return HEADER.format(
        runs=runs,
        cores=cores,
        machine=platform.machine(),
        system=platform.system(),
        python=platform.python_version(),
        onnx=version("onnx"),
        runtime=version("onnxruntime"),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure onnxprune itself.")
    parser.add_argument("--report", type=Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="onnxprune-bench-") as name:
        folder = Path(name)
        parts = [
            starting(2 * given.runs),
            tracing(folder, [1_000, 10_000] if given.quick else [1_000, 10_000, 100_000], given.runs),
            shrinking(folder, given.runs),
            training(folder),
            memory(folder, [6] if given.quick else [6, 60]),
        ]
    if given.report:
        given.report.write_text("\n\n".join([header(given.runs).rstrip(), *parts]) + "\n")


if __name__ == "__main__":
    main()
