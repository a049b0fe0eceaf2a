"""What accuracy.py and criteria.py share: an evaluation folder, results that are kept, tables, the machine's header.

An evaluation folder has a program evaluate.py with four commands:

    evaluate.py names                       the models, one a line
    evaluate.py original NAME OUT.onnx      the original model
    evaluate.py calib NAME N OUT.npz        N unlabelled samples, disjoint from the scored ones, an array per input
    evaluate.py score NAME [MODEL.onnx]     a JSON line: metric, value (higher is better), n
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

Row = dict[str, Any]
UNITS = {"top1_percent": "top-1 %", "mAP50": "mAP50", "psnr_y_db": "PSNR dB", "spearman_x100": "Spearman x100"}


@dataclass(frozen=True)
class Evaluation:
    """The commands of a folder's evaluate.py, each a process of its own. Raises CalledProcessError."""

    folder: Path

    @property
    def program(self) -> Path:
        return self.folder / "evaluate.py"

    def present(self) -> bool:
        return self.program.is_file()

    def names(self) -> list[str]:
        return self._run("names").split()

    def original(self, name: str, out: Path) -> None:
        self._run("original", name, str(out))

    def calib(self, name: str, count: int, out: Path) -> None:
        self._run("calib", name, str(count), str(out))

    def score(self, name: str, model: Path) -> Row:
        """metric, value and n of a model file."""
        scored: Row = json.loads(self._run("score", name, str(model)).splitlines()[-1])
        return scored

    def _run(self, *arguments: str) -> str:
        command = [sys.executable, str(self.program), *arguments]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def absent(folder: str) -> str:
    """The line for a folder that is not there."""
    where = f"no evaluate.py in {folder!r}" if folder else "no folder given"
    return f"No evaluation: {where}. Give one with make EVAL=folder; benchmarks/README.md says what it holds."


def kept(path: Path, work: Callable[[], Row]) -> Row:
    """The result in `path`; where there is none yet, that of `work`, which is then written there at once."""
    if path.exists():
        found: Row = json.loads(path.read_text())
        return found
    row = work()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(row, indent=1) + "\n")
    partial.replace(path)
    return row


def machine() -> str:
    """What was measured where, without names and dates."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"Machine: {cores} CPU cores, {platform.machine()}, {platform.system()}; Python {platform.python_version()},\n"
        f"onnxprune {version('onnxprune')}, onnx {version('onnx')}, ONNX Runtime {version('onnxruntime')}."
    )


def show(title: str, head: list[str], rows: list[list[str]]) -> None:
    """Print a table; the first column is text, the others are numbers."""
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(head):
        table.add_column(column, justify="right" if index else "left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """The same as Markdown."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
