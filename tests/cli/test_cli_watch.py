"""How far a run is: on a terminal, in a pipe, with -v, and in the file of --log-file."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cli_support import DIGITS, Call, Spawn

from tests.small import small_network

CALIB = str(DIGITS.with_name("digits_calib.npz"))
REPAIRED = ("--ratio", "0.3", "--multiple-of", "1", "--data", CALIB, "--samples", "100")
STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  "


@pytest.fixture
def small(folder: Path) -> str:
    small_network(folder / "small.onnx")
    return "small.onnx"


def shown(arguments: list[str], columns: int = 100) -> str:
    """What a terminal shows of stderr, its escapes taken out; a bar is drawn again in a line of its own."""
    parent, child = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns)}
    process = subprocess.Popen(
        [sys.executable, "-m", "onnxprune", *arguments], stdout=subprocess.DEVNULL, stderr=child, env=environment
    )
    os.close(child)
    found = b""
    while True:
        try:
            piece = os.read(parent, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        found += piece
    os.close(parent)
    assert process.wait() == 0
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", found.decode()).replace("\r", "\n")


def test_stages_stay_on_the_terminal_above_the_bar(small: str) -> None:
    lines = [line.strip() for line in shown(["shrink", small, *REPAIRED, "--no-bench"]).split("\n")]
    done = [line for line in lines if re.match(r"[a-z ]+: [\d.]+ (m?s|min)", line)]
    names = list(dict.fromkeys(line.partition(":")[0] for line in done))
    assert names[:2] == ["reading the model", "tracing"] and done[-1].startswith("writing: ")
    (rebuilt,) = [line for line in done if line.startswith("adjusting all weights together")]
    assert re.search(r", (\d+) of \1, held-out error [\d.]+ % -> [\d.]+ %", rebuilt)
    bars = [line for line in lines if line.startswith("adjusting all weights together ━") or "╸" in line]
    assert any(re.search(r"\d+ % *|\d+%", line) and "/s" in line and "held-out error" in line for line in bars), bars
    assert lines.index(rebuilt) < len(lines) - 1


def test_verbose_says_numbers(call: Call, small: str) -> None:
    said = call("-v", "shrink", small, *REPAIRED).stderr
    assert re.search(rf"^{STAMP}repairing layer by layer: b, held-out error [\d.]+ % -> ", said, re.M)
    steps = re.findall(r"step (\d+) of (\d+), held-out error ([\d.]+) %", said)
    assert len(steps) >= 10 and float(steps[-1][2]) < float(steps[0][2])
    assert all(re.match(STAMP, line) for line in said.splitlines()) and said.endswith("done\n")
    plain = call("shrink", small, *REPAIRED, "--force").stderr
    assert plain == "", "it is soon over"


def test_a_pipe_hears_of_stages_once_it_takes_long(call: Call, small: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here from the beginning. Commands that are soon over by nature say nothing at all."""
    monkeypatch.setattr("onnxprune.report.journal.PATIENCE_S", 0.0)
    result = call("shrink", small, *REPAIRED)
    lines = result.stderr.splitlines()
    assert all(re.match(STAMP, line) for line in lines) and lines[-1].endswith("  done")
    assert any("adjusting all weights together: " in line for line in lines) and "step 60 of" not in result.stderr
    assert result.stdout.startswith("small.onnx")
    assert call("inspect", small).stderr == ""
    failed = call("shrink", small, "--ratio", "0.2", code=2).stderr.splitlines()
    assert "  failed: " in failed[-3] and failed[-2].startswith("Error: ")


def test_numbers_of_other_commands(call: Call, small: str) -> None:
    target = ("--target", "macs=60%", "--multiple-of", "1", "--data", CALIB, "--samples", "60")
    said = call("-v", "shrink", small, *target, "--repair", "least-squares", "--scope", "global").stderr
    assert re.search(r"planning: [\w.]+, \d+ channels, error of the outputs: [\d.]+ % without \d+", said)
    few = ("--data", CALIB, "--samples", "60")
    said = call("-v", "sparsify", small, "--sparsity", "50%", "--pattern", "unstructured", *few).stderr
    assert re.search(r"choosing weights: \w, [\d.]+ % zero|choosing weights: \w+: [\d.]+ % zero, held-out error", said)
    said = call("-v", "quantize", small, "--scheme", "auto", *few, "--no-bench").stderr
    assert re.search(r"measuring what rounding does: \w+: error of the outputs [\d.]+ %", said)
    said = call("-v", "compress", small, "--target", "size=60%", *few, "--no-bench").stderr
    assert re.search(r": int8: [\d.]+ % left, output error [\d.]+ %", said)
    said = call("-v", "shrink", small, "--max-error", "0.5", *few, "--force").stderr
    assert re.search(r"macs=[\d.]+%: passes", said)


def test_a_log_file_has_the_lines_in_any_case(call: Call, small: str, folder: Path) -> None:
    log = folder / "run.log"
    assert call("-q", "shrink", small, *REPAIRED, "--log-file", "run.log").stderr == ""
    first = log.read_text().splitlines()
    assert all(re.match(STAMP, line) for line in first)
    assert re.match(rf"{STAMP}onnxprune shrink: process \d+$", first[0]) and first[-1].endswith("  done")
    assert any("adjusting all weights together: " in line for line in first)
    assert not any("held-out error" in line and "step" in line for line in first), "numbers are for -v"
    call("-v", "sparsify", small, "--sparsity", "50%", "--log-file", "run.log")
    call("sweep", small, "--ratios", "0.2", "--no-bench", "--log-file", "run.log")
    text = log.read_text()
    assert text.startswith("\n".join(first)) and "onnxprune sparsify: " in text and "sweeping: " in text
    assert call("shrink", small, "-o", "small.onnx", "--log-file", "run.log", code=2).stderr.startswith("Error: ")
    assert log.read_text().splitlines()[-1].split("  ", 1)[1].startswith("failed: ")


@pytest.mark.parametrize("command", ["shrink", "sparsify", "quantize", "compress", "sweep"])
def test_a_log_that_cannot_be_written_is_said_before_any_work(call: Call, folder: Path, command: str) -> None:
    """The model is not even opened."""
    (folder / "notes.txt").write_text("mine\n")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name, message in (
        ("nowhere/run.log", "cannot be opened: No such file"),
        (".", "is not a regular file"),
        ("digits.onnx", "names for something else"),
        ("notes.txt", "is no log of onnxprune"),
        ("missing.onnx", "names for something else"),
    ):
        model = "missing.onnx" if name == "missing.onnx" else "digits.onnx"
        failed = call(command, model, "--log-file", name, code=2)
        assert failed.stdout == "" and message in failed.stderr, failed.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_full_disk_under_the_log_stops_nothing(spawn: Spawn, small: str) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with open("/dev/full", "w") as full:
        result = spawn("-v", "shrink", small, "--ratio", "0.2", "--no-bench", stderr=full)
    assert "wrote small.pruned.onnx" in result.stdout
