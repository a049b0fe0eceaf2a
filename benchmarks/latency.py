"""Whether `--target latency=` gives what was asked, and what a multiply-accumulate less is worth: `make bench-latency`.

usage: python benchmarks/latency.py FOLDER [--report FILE] [NAME ...]

FOLDER holds NAME.onnx files (benchmarks/zoo_models.py exports architectures with random weights: speed needs no more).
Each is shrunk by weights alone, once to half of its latency and once to half of its MACs, and then timed in turn with
the original by `bench`, in processes that know nothing of the first measurement. Results are kept, so that an
interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

from evaluation import Row, machine, markdown
from macs import cost

import onnxprune

TARGETS = ("latency=50%", "macs=50%")
WITHIN, SHARE = 0.1, 0.8
SECONDS = 6.0


def measured(path: Path, target: str, threads: int) -> Row:
    """One model at one target."""
    with tempfile.TemporaryDirectory(prefix="onnxprune-") as folder:
        out = Path(folder) / path.name
        start = time.perf_counter()
        try:
            result = onnxprune.shrink(path, out, target=target, criterion="l1", repair="none", threads=threads)
        except onnxprune.OnnxPruneError as error:
            return {"error": error.message}
        seconds = time.perf_counter() - start
        told = result.target
        timed = onnxprune.bench(path, out, threads=threads, seconds=SECONDS).settings[0].comparisons[0]
        return {
            "macs": cost(path)[0],
            "macs_left": cost(out)[0] / cost(path)[0],
            "ratio": [timed.ratio.value, timed.ratio.low, timed.ratio.high],
            "told": None if told is None or told.measured is None else told.measured / told.before,
            "seconds": seconds,
        }


def row(name: str, found: dict[str, Row]) -> list[str]:
    cells = [name]
    timed, counted = (found[target] for target in TARGETS)
    if "error" in timed:
        cells += [timed["error"], "", "", ""]
    else:
        ratio, low, high = timed["ratio"]
        cells += [f"{timed['told']:.3f}", f"{ratio:.3f} ({low:.3f}-{high:.3f})", f"{off(timed):+.1%}"]
        cells += [f"{timed['seconds']:.0f} s"]
    if "error" in counted:
        return [*cells, counted["error"], "", ""]
    ratio, low, high = counted["ratio"]
    cells += [f"{1 / counted['macs_left']:.2f}x", f"{1 / ratio:.2f}x ({1 / high:.2f}-{1 / low:.2f})"]
    return [*cells, f"{worth(counted):.0%}"]


def off(timed: Row) -> float:
    """The speed-up by what was asked for, less one: 2x asked and 1.9x found are -5 %."""
    return float(0.5 / timed["ratio"][0] - 1)


def worth(counted: Row) -> float:
    """The speed-up by the reduction of the MACs."""
    return float(counted["macs_left"] / counted["ratio"][0])


def page(found: dict[str, dict[str, Row]], threads: int) -> str:
    timed = [r["latency=50%"] for r in found.values() if "error" not in r["latency=50%"]]
    good = sum(abs(off(r)) <= WITHIN for r in timed)
    worths = [worth(r["macs=50%"]) for r in found.values() if "error" not in r["macs=50%"]]
    head = ["model", "latency=50%: told", "found by bench (95 % CI)", "speed-up off by", "took"]
    head += ["macs=50%: MACs", "faster (95 % CI)", "of the MACs"]
    return "\n".join(
        [
            "# Latency: asked and found",
            "",
            "Made by `make bench-latency`; do not edit. Architectures of torchvision with random weights, batch 1,",
            f"threads: {threads}. `shrink MODEL --target latency=50% --criterion l1 --repair none`",
            "says (*told*) what the result takes by what the original takes; `bench` then measured it again, from the",
            "files, in processes of its own. On the right `--target macs=50%` with the same options: MACs before by",
            "after, and the speed-up that came of it.",
            "",
            machine(),
            "",
            f"**{good} of {len(timed)} within {WITHIN:.0%} of the speed-up that was asked for; MACs:",
            f"{sum(w >= SHARE for w in worths)} of {len(worths)} gain at least {SHARE:.0%} of it in speed.**",
            "",
            markdown(head, [row(name, rows) for name, rows in sorted(found.items())]),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", type=Path, default=Path("out/latency-results"))
    parser.add_argument("--report", type=Path)
    options = parser.parse_intermixed_args()
    options.results.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[str, Row]] = {}
    for path in sorted(options.folder.glob("*.onnx"), key=lambda file: file.stat().st_size):
        if options.names and path.stem not in options.names:
            continue
        kept = options.results / f"{path.stem}-{options.threads}.json"
        if not kept.exists():
            rows = {target: measured(path, target, options.threads) for target in TARGETS}
            kept.write_text(json.dumps(rows, indent=1) + "\n")
        found[path.stem] = json.loads(kept.read_text())
        print(*row(path.stem, found[path.stem]), f"load {os.getloadavg()[0]:.1f}", sep="  ", flush=True)
    if options.report:
        options.report.write_text(page(found, options.threads), "utf-8")


if __name__ == "__main__":
    main()
