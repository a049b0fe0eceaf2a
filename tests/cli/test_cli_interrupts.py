"""Ctrl-C during repair: the first one takes the best so far, the second one nothing. Real processes, real signals."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_support import DIGITS

import onnxprune
from tests.small import small_network

CALIB = str(DIGITS.with_name("digits_calib.npz"))
DATA = ("--data", CALIB, "--samples", "100", "--no-bench")
STEP = r"step \d+ of \d+"
CASES = {
    "shrink": ("--ratio", "0.4", "--multiple-of", "1", *DATA),
    "sparsify": ("--sparsity", "80%", "--pattern", "unstructured", *DATA),
    "quantize": ("--scheme", "static", *DATA),
}


@pytest.fixture(autouse=True)
def small(folder: Path) -> None:
    """One model in the working directory."""
    (folder / "digits.onnx").unlink()
    small_network(folder / "small.onnx")


class Process:
    """The program with -v, whose lines on stderr say where it is."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "onnxprune", "-v", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "ONNXPRUNE_KEEP_SECONDS": "100000"},  # however slow the machine is
        )
        self.said: list[str] = []

    def wait_for(self, pattern: str) -> None:
        """Read on until a line says so. Fails if none does."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.said.append(line)
            if re.search(pattern, line):
                return
        raise AssertionError("".join(self.said))

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> None:
        self._process.send_signal(number)

    def end(self) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        out, errors = self._process.communicate()
        return self._process.returncode, out, "".join(self.said) + errors


@pytest.mark.parametrize("command", CASES)
def test_the_first_one_writes_the_best_so_far(folder: Path, command: str) -> None:
    process = Process(command, "small.onnx", *CASES[command], "-o", "out.onnx")
    process.wait_for(STEP)
    process.interrupt()
    code, out, errors = process.end()
    assert code == 130 and errors.endswith("  done\n"), errors
    last = out.splitlines()[-1]
    found = re.fullmatch(
        r"interrupted: repair was ended after (\d+) of (\d+) steps \(([\d.]+) %\); the result is the best that was "
        r"there, proven like any other",
        last,
    )
    assert found and 0 < int(found[1]) < int(found[2]), last
    assert float(found[3]) == pytest.approx(100 * int(found[1]) / int(found[2]), rel=0.01)
    assert {path.name for path in folder.iterdir()} == {"small.onnx", "out.onnx"}
    assert onnxprune.verify("small.onnx", "out.onnx") is not None


def test_what_is_there_is_better_than_the_cut(folder: Path) -> None:
    """JSON has how far repair came, and the error before and after."""
    shutil.copy(DIGITS, folder / "small.onnx")
    process = Process("shrink", "small.onnx", "--target", "macs=40%", *DATA, "--format", "json")
    process.wait_for(STEP)
    process.interrupt()
    code, out, _ = process.end()
    document = json.loads(out)
    cut, rebuilt = document["interrupted"], document["repair"]["reconstruction"]
    assert code == 130 and cut["what"] == "repair" and 0 < cut["done_count"] < cut["of_count"]
    assert rebuilt["steps_count"] == cut["done_count"]
    assert rebuilt["error_after_relative"] < rebuilt["error_before_relative"]
    assert document["proof"] is not None and [Path(path).name for path in document["written"]] == ["small.pruned.onnx"]


def test_during_the_refit_of_layers(folder: Path) -> None:
    """They are finished, and no step follows."""
    process = Process("shrink", "small.onnx", *CASES["shrink"])
    process.wait_for("repairing layer by layer: b, ")
    process.interrupt()
    code, out, _ = process.end()
    assert code == 130 and re.search(r"repair was ended after 0 of \d+ steps", out.splitlines()[-1])
    assert "the run was ended before its first step" in out and (folder / "small.pruned.onnx").exists()


@pytest.mark.parametrize("how", ["discard", "SIGTERM", "dry run", "search"])
def test_nothing_is_written_otherwise(folder: Path, how: str) -> None:
    """A trial of a search says nothing of what is allowed if it is cut short, and a dry run writes nothing."""
    more = {"discard": ("--on-interrupt", "discard"), "search": ("--max-error", "0.9"), "dry run": ("--dry-run",)}
    command = "sparsify" if how == "dry run" else "shrink"
    amount = DATA if how == "search" else CASES[command]
    process = Process(command, "small.onnx", *amount, *more.get(how, ()))
    process.wait_for(STEP)
    process.interrupt(signal.SIGTERM if how == "SIGTERM" else signal.SIGINT)
    code, out, errors = process.end()
    assert (code, out) == (130, "") and errors.endswith("  interrupted\nInterrupted.\n"), errors
    assert {path.name for path in folder.iterdir()} == {"small.onnx"}


def test_before_repair_there_is_nothing_to_write(folder: Path) -> None:
    process = Process("shrink", "small.onnx", *CASES["shrink"])
    process.wait_for("tracing: ")
    process.interrupt()
    code, out, _ = process.end()
    assert (code, out) == (130, "") and [path.name for path in folder.iterdir()] == ["small.onnx"]


COMPRESS = ("compress", "small.onnx", "--target", "size=60%", "--without", "int8", *DATA, "--format", "json")
TRIED = "channels, repaired briefly"


def test_the_last_repair_of_compress_is_taken_as_it_is(folder: Path) -> None:
    process = Process(*COMPRESS, "--without", "blocks")
    process.wait_for(TRIED)
    process.wait_for(STEP)
    process.interrupt()
    code, out, errors = process.end()
    document = json.loads(out)
    assert code == 130, errors
    assert document["interrupted"]["what"] == "repair" and document["interrupted"]["done_count"] > 0
    assert document["target"]["measured_bytes"] <= document["target"]["limit_bytes"]
    assert onnxprune.verify("small.onnx", "small.compressed.onnx") is not None


def test_of_the_trials_of_compress_the_best_is_taken(folder: Path) -> None:
    """What is tried when Ctrl-C comes is given up; what was tried before is written as it was then."""
    process = Process(*COMPRESS)
    process.wait_for(TRIED)
    process.wait_for(STEP)
    process.interrupt()
    code, out, errors = process.end()
    document = json.loads(out)
    assert code == 130, errors
    assert document["interrupted"] == {"what": "trials", "done_count": 1, "of_count": 3}
    (taken,) = [point for point in document["points"] if point["taken"]]
    assert taken["levers"] == ["channels"] and taken["repaired"] == "briefly"
    assert onnxprune.verify("small.onnx", "small.compressed.onnx") is not None


def test_before_anything_was_tried_compress_has_nothing(folder: Path) -> None:
    process = Process(*COMPRESS)
    process.wait_for(STEP)
    process.interrupt()
    code, out, _ = process.end()
    assert code == 130 and json.loads(out)["error"]["type"] == "Interrupted"
    assert {path.name for path in folder.iterdir()} == {"small.onnx"}


SCRIPT = """
import os, signal, sys, onnxprune

stage, at, how = sys.argv[1], sys.argv[2].split(","), sys.argv[3:]

def tell(step):
    if step.stage == stage and step.total and str(step.done) in at:
        os.kill(os.getpid(), signal.SIGINT)

try:
    options = {"on_interrupt": how[0]} if how else {}
    options |= dict(ratio=0.4, multiple_of=1, data="d.npz", samples=100)
    found = onnxprune.shrink("small.onnx", "out.onnx", progress=tell, **options)
    print(found.interrupted.what, found.interrupted.done)
except KeyboardInterrupt:
    print("stopped", sorted(os.listdir()))
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


@pytest.mark.parametrize(
    ("stage", "at", "how", "expected"),
    [
        ("rebuild", "20", (), "stopped ['d.npz', 'small.onnx']"),
        ("rebuild", "20", ("discard",), "stopped ['d.npz', 'small.onnx']"),
        ("rebuild", "20", ("write",), "repair 20"),
        ("repair", "2", ("write",), "repair 0"),
        ("repair", "1,2", ("write",), "stopped ['d.npz', 'small.onnx']"),
    ],
)
def test_functions_leave_it_to_python_unless_they_are_asked(
    folder: Path, stage: str, at: str, how: tuple[str, ...], expected: str
) -> None:
    """A script gets its KeyboardInterrupt; with `on_interrupt="write"` the result, which says so, and at the second
    Ctrl-C its KeyboardInterrupt again.
    """
    shutil.copy(CALIB, folder / "d.npz")
    command = [sys.executable, "-c", SCRIPT, stage, at, *how]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout == f"{expected}\nTrue\n"
