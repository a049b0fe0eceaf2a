"""What default widths gain in time at a target in MACs: `make bench-gains MODELS=folder`.

usage: python benchmarks/gains.py FOLDER ... [--report FILE] [--threads N] [--results FOLDER]

Every NAME.onnx of the folders is shrunk with `--target macs=75%` and `macs=50%`, all other options as they are by
default without samples, but for the repair, which no width depends on; then the result is timed in turn with the
original in ONNX Runtime. Weights may be random: speed needs no more. Results are kept, so that an interrupted run goes
on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

from evaluation import Row, machine, markdown
from speed import faster

import onnxprune

TARGETS = ("macs=75%", "macs=50%")
BARS = {"macs=75%": 1.2, "macs=50%": 1.65}


def measured(path: Path, target: str, threads: int) -> Row:
    """One model at one target: (MACs left, times as fast, and the quartiles of the paired ratios)."""
    with tempfile.TemporaryDirectory(prefix="onnxprune-") as folder:
        out = Path(folder) / path.name
        try:
            result = onnxprune.shrink(path, out, target=target, repair="none", verify=False)
        except onnxprune.OnnxPruneError as error:
            return {"error": error.message.splitlines()[0]}
        if result.after is None:
            return {"error": "nothing was removed"}
        speed, low, high, seconds = faster(path, out, threads)
        return {
            "macs_left": result.after.macs / max(result.before.macs, 1),
            "faster": speed,
            "quartiles": [low, high],
            "seconds": seconds,
        }


def cells(row: Row, target: str) -> list[str]:
    if "error" in row:
        return [str(row["error"])[:80], "", ""]
    low, high = row["quartiles"]
    met = "yes" if row["faster"] >= BARS[target] else "no"
    return [f"{row['macs_left']:.1%}", f"{row['faster']:.2f}x ({low:.2f}-{high:.2f})", met]


def page(found: dict[str, dict[str, Row]], threads: int) -> str:
    sums = []
    for target in TARGETS:
        rows = [row[target] for row in found.values() if "error" not in row[target]]
        met = sum(row["faster"] >= BARS[target] for row in rows)
        sums.append(f"{met} of {len(rows)} are at least {BARS[target]}x as fast at `{target}`")
    head = ["model", "ms", *(f"{t}: {what}" for t in TARGETS for what in ("left", "faster (quartiles)", "met"))]
    lines = []
    for name, by_target in sorted(found.items()):
        first: Row = next((row for row in by_target.values() if "seconds" in row), {})
        time = f"{first['seconds'] * 1e3:.3g}" if first else ""
        lines.append([name, time, *(cell for target in TARGETS for cell in cells(by_target[target], target))])
    return "\n".join(
        [
            "# Less work, less time",
            "",
            "Made by `make bench-gains`; do not edit. `shrink MODEL --target macs=75%` and `macs=50%` with default",
            "widths and no samples, timed in turn with the original in ONNX Runtime, batch 1. Quartiles are those of",
            f"the ratios of runs next to each other. Threads: {threads}.",
            "",
            machine(),
            "",
            f"**{'; '.join(sums)}.**",
            "",
            markdown(head, lines),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", type=Path, default=Path("out/gains-results"))
    parser.add_argument("--report", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    options = parser.parse_intermixed_args()
    options.results.mkdir(parents=True, exist_ok=True)
    files = sorted(
        (file for folder in options.folders for file in folder.glob("*.onnx")), key=lambda f: f.stat().st_size
    )
    found: dict[str, dict[str, Row]] = {}
    for path in files:
        name = f"{path.parent.name}/{path.stem}"
        if options.only and path.stem not in options.only:
            continue
        kept = options.results / f"{name.replace('/', '-')}-{options.threads}.json"
        if not kept.exists():
            rows = {target: measured(path, target, options.threads) for target in TARGETS}
            kept.write_text(json.dumps(rows, indent=1) + "\n")
        found[name] = json.loads(kept.read_text())
        row = [cell for target in TARGETS for cell in cells(found[name][target], target)]
        print(name, *row, f"load {os.getloadavg()[0]:.1f}", sep="  ", flush=True)
        if options.report:
            options.report.write_text(page(found, options.threads), "utf-8")


if __name__ == "__main__":
    main()
