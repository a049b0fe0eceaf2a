"""Shrink a folder of exported architectures, with proof, and write what came out as docs/zoo.md.

usage: python benchmarks/zoo.py FOLDER [--results FOLDER] [--report FILE] [--fresh] [NAME ...]

FOLDER holds one folder per exporter (`script`, `dynamo`), each with NAME.onnx files: benchmarks/zoo_models.py makes
them. Every file is shrunk in a process of its own. Results are kept in --results, so that an interrupted run goes on
where it was; --fresh starts over.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

EXPORTERS = {"script": "TorchScript exporter", "dynamo": "dynamo exporter (`torch.export`)"}
RATIO, CRITERION, LIMIT, TIMEOUT_S = 0.5, "l1", 0.35, 1200
Row = dict[str, Any]


def shrink_one(path: Path) -> Row:
    """Shrink one file and count; runs in a process of its own."""
    from macs import cost

    import onnxprune

    with tempfile.TemporaryDirectory(prefix="zoo-") as folder:
        out = Path(folder) / path.name
        start = time.perf_counter()
        result = onnxprune.shrink(path, out, ratio=RATIO, criterion=CRITERION)
        seconds = time.perf_counter() - start
        if result.after is None or result.proof is None:
            return {"nodes": result.before.nodes, "error": "nothing was removed"}
        macs, parameters = cost(path)
        macs_after, parameters_after = cost(out)
    proof = result.proof
    return {
        "nodes": result.before.nodes,
        "macs": macs,
        "macs_left": macs_after / macs,
        "parameters_left": parameters_after / parameters,
        "difference": proof.worst_relative,
        "tolerance": proof.tolerance_relative,
        "cases": len(proof.cases),
        "compared": proof.compared_elements,
        "notes": list(proof.notes),
        "seconds": seconds,
    }


def in_process(path: Path) -> Row:
    """`shrink_one` in a child, so that a crash or a time-out is a row of the table."""
    command = [sys.executable, __file__, "--one", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return {"error": f"not done after {TIMEOUT_S} s"}
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return {"error": lines[-1] if lines else f"exit code {done.returncode}"}
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row


def run(folder: Path, results: Path, names: list[str], fresh: bool) -> None:
    """One JSON file per model in `results`; what is there already is kept unless `fresh`."""
    files = [f for exporter in EXPORTERS for f in sorted((folder / exporter).glob("*.onnx"))]
    if not files:
        sys.exit(f"no {folder}/script/*.onnx or {folder}/dynamo/*.onnx")
    for path in sorted(files, key=lambda f: f.stat().st_size):
        kept = results / f"{path.parent.name}-{path.stem}.json"
        if (names and path.stem not in names) or (kept.exists() and not fresh):
            continue
        row = {"exporter": path.parent.name, "model": path.stem, **in_process(path)}
        kept.write_text(json.dumps(row, indent=1) + "\n")
        print(_line(row), flush=True)


def report(rows: list[Row]) -> str:
    """The Markdown page."""
    good = [r for r in rows if "error" not in r]
    reached = sum(r["macs_left"] <= LIMIT for r in good)
    parts = [
        "# The zoo: torchvision architectures, two exporters",
        "",
        "Made by `make zoo`; do not edit. Random weights and random BatchNorm statistics, so this shows what can be",
        "cut and that the cut is right; it says nothing about accuracy. Every file was shrunk with",
        f"`--ratio {RATIO} --criterion {CRITERION}` and proven before it was written. Half of the channels everywhere",
        "is about a quarter of the MACs (multiply-accumulates of Conv, ConvTranspose, Gemm and MatMul, counted by",
        "`benchmarks/macs.py` at batch size 1). *Difference* is the largest one the proof saw, relative to the largest",
        f"output; *time* is wall time on {os.cpu_count()} CPU cores, proof and write included, other programs running.",
        "",
        f"**{len(good)} of {len(rows)} files shrunk and proven; {reached} of them to {LIMIT} of the MACs or less.**",
    ]
    for exporter, title in EXPORTERS.items():
        mine = [r for r in rows if r["exporter"] == exporter]
        if mine:
            parts += ["", *_section(title, mine)]
    return "\n".join(parts) + "\n"


def _section(title: str, rows: list[Row]) -> list[str]:
    good, bad = [r for r in rows if "error" not in r], [r for r in rows if "error" in r]
    parts = [
        f"## {title[0].upper()}{title[1:]}",
        "",
        "| model | nodes | MACs before | MACs left | parameters left | difference | time |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for r in sorted(good, key=lambda r: str(r["model"])):
        parts.append(
            f"| {r['model']} | {r['nodes']} | {r['macs'] / 1e9:.2f} G | {r['macs_left']:.2f} "
            f"| {r['parameters_left']:.2f} | {r['difference']:.0e} | {r['seconds']:.1f} s |"
        )
    if good:
        left = statistics.median(r["macs_left"] for r in good)
        kept = statistics.median(r["parameters_left"] for r in good)
        worst, total = max(r["difference"] for r in good), sum(r["seconds"] for r in good)
        cells = f"*median {left:.2f}* | *median {kept:.2f}* | *{worst:.0e}* | *{total:.0f} s*"
        parts.append(f"| *{len(good)} models* | | | {cells} |")
    above = [f"{r['model']} ({r['macs_left']:.3f})" for r in good if r["macs_left"] > LIMIT]
    parts += ["", f"{len(good) - len(above)} at or below {LIMIT}. Above: {', '.join(above) or 'none'}."]
    if bad:
        parts += ["", "| not shrunk | reason |", "| --- | --- |"]
        parts += [f"| {r['model']} | {str(r['error']).replace('|', '/')[:300]} |" for r in bad]
    return parts


def _line(row: Row) -> str:
    name = f"{row['exporter']:7} {row['model']:32}"
    if "error" in row:
        return f"{name} FAIL {row['error'][:200]}"
    return f"{name} MACs left {row['macs_left']:.3f}  difference {row['difference']:.0e}  {row['seconds']:.1f} s"


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        with contextlib.redirect_stdout(sys.stderr):
            row = shrink_one(Path(sys.argv[2]))
        print(json.dumps(row))
        return
    parser = argparse.ArgumentParser(description="Shrink exported architectures and report.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--results", type=Path, default=Path("out/zoo-results"))
    parser.add_argument("--report", type=Path, default=Path("docs/zoo.md"))
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("names", nargs="*")
    given = parser.parse_intermixed_args()
    given.results.mkdir(parents=True, exist_ok=True)
    run(given.folder, given.results, given.names, given.fresh)
    rows = [json.loads(f.read_text()) for f in sorted(given.results.glob("*.json"))]
    given.report.write_text(report(rows))


if __name__ == "__main__":
    main()
