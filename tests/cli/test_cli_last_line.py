"""The last line of a run: what was gained, what was lost, how sure that is, and what to do."""

from __future__ import annotations

import re
from pathlib import Path

import onnx
import pytest
from builders import Net
from cli_support import DIGITS, Call, Document

import onnxprune
from onnxprune import native

pytestmark = pytest.mark.usefixtures("brief")
QUICK = ("--data", str(DIGITS.with_name("digits_calib.npz")), "--samples", "60", "--repair", "least-squares")
SPEED = (
    r"(?:(?:but (?:slower|no faster): )?[\d.]+x (?:faster|the speed) \(95 % CI [\d.]+-[\d.]+|faster or slower cannot)"
)


def test_the_last_line_says_what_came_of_it(call: Call) -> None:
    lines = call("shrink", "digits.onnx", "--target", "macs=70%", *QUICK, "--bench").stdout.splitlines()
    assert lines[-2].startswith("wrote digits.pruned.onnx")
    assert re.match(rf"\d+ % less work, {SPEED}.*, agreement [\d.]+ % \(95 % CI [\d.]+-[\d.]+\)", lines[-1]), lines[-1]
    quiet = call("-q", "shrink", "digits.onnx", "--ratio", "0.2", "--force", "--bench").stdout.splitlines()
    assert len(quiet) == 2 and re.match(rf"\d+ % less work, {SPEED}", quiet[1])


def test_json_has_the_same_as_values(document: Document) -> None:
    found = document("shrink", "digits.onnx", "--target", "macs=70%", *QUICK, "--bench")
    said, timing = found["summary"], found["timing"]
    assert said["text"].startswith(f"{said['work_saved_ratio'] * 100:.0f} % less work")
    assert said["work_saved_ratio"] == 1 - found["after"]["macs_count"] / found["before"]["macs_count"]
    assert said["speedup_ratio"] == timing["speedup_ratio"] and said["verdict"] == timing["verdict"]
    low, high = timing["speedup_interval_ratio"]
    assert low <= timing["speedup_ratio"] <= high and timing["pairs_count"] >= 6
    assert said["agreement_ratio"] == found["fidelity"]["agreement_ratio"]
    assert "bench" in [stage["name"] for stage in found["stages"]]


def test_without_a_timing(document: Document, call: Call) -> None:
    found = document("shrink", "digits.onnx", "--ratio", "0.2", "--no-bench")
    assert found["timing"] is None and found["summary"]["speedup_ratio"] is None
    text = call("shrink", "digits.onnx", "--ratio", "0.2", "--no-bench", "--force").stdout
    assert "95 % CI" not in text and re.match(r"\d+ % less work\. What ", text.splitlines()[-1])


def test_the_file_of_options_may_leave_it_out(call: Call, folder: Path) -> None:
    (folder / "onnxprune.toml").write_text("[shrink]\nbench = false\n")
    text = call("shrink", "digits.onnx", "--threads", "1", "--bench").stdout
    assert "95 % CI" in text.splitlines()[-1], "the command line wins"
    (folder / "onnxprune.toml").write_text("bench = false\n[shrink]\n")
    from click.testing import CliRunner

    from onnxprune.cli.main import application

    result = CliRunner().invoke(application, ["shrink", "digits.onnx", "--force"], prog_name="onnxprune")
    assert result.exit_code == 0 and "95 % CI" not in result.stdout


@pytest.mark.parametrize(
    ("ratio", "words"),
    [("0.04", "unknown: give samples"), ("0.08", "unknown, likely harm: "), ("0.5", "likely ruinous at this ratio: ")],
)
def test_without_samples_nobody_knows(call: Call, ratio: str, words: str) -> None:
    for more in ((), ("--dry-run",)):
        line = call("shrink", "digits.onnx", "--ratio", ratio, "--multiple-of", "1", "--force", *more).stdout
        assert words in line.splitlines()[-1] and "--data" in line.splitlines()[-1]


def test_sparse_weights_without_samples(call: Call, document: Document) -> None:
    lines = call("sparsify", "digits.onnx", "--sparsity", "0.6", "--emit", "dense-zeros").stdout.splitlines()
    assert lines[-1].startswith("60 % fewer weights that are not zero, as much work. What this does")
    assert "likely ruinous" in lines[-1]
    found = document("sparsify", "digits.onnx", "--sparsity", "0.6", "--force", "--bench", "--threads", "1")
    assert found["timing"]["threads_count"] == 1 and found["summary"]["verdict"] == found["timing"]["verdict"]


def test_zeros_that_nothing_skips_are_no_work_saved(
    document: Document, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the library, operators run by the dense functions in the file."""
    monkeypatch.setattr(native, "_LIBRARY", folder / "none.so")
    found = document("sparsify", "digits.onnx", "--sparsity", "0.6", "-o", "s.onnx")
    assert found["sparsity"]["library_missing_because"]
    assert found["after"]["macs_count"] == found["before"]["macs_count"]
    assert found["summary"]["work_saved_ratio"] == 0 and "as much work" in found["summary"]["text"]
    dry = document("sparsify", "digits.onnx", "--sparsity", "0.6", "--dry-run")
    assert dry["planned"]["macs_count"] == dry["before"]["macs_count"]
    assert document("verify", "digits.onnx", "s.onnx")["pruned"]["macs_count"] == found["before"]["macs_count"]


def test_noise_is_no_sample(call: Call) -> None:
    data = ("--data", "random", "--samples", "40", "--repair", "none")
    line = call("shrink", "digits.onnx", "--ratio", "0.1", *data).stdout.splitlines()[-1]
    assert "Measured on noise, which says little" in line


def test_a_dry_run_says_what_would_be_left(call: Call, document: Document, folder: Path) -> None:
    for command in (("shrink", "digits.onnx", "--ratio", "0.3"), ("sparsify", "digits.onnx", "--sparsity", "0.6")):
        dry = document(*command, "--dry-run")
        done = document(*command, "--repair", "none", "-o", f"{command[0]}.onnx")
        assert dry["after"] is None and done["planned"] is None
        assert dry["planned"]["macs_count"] == done["after"]["macs_count"]
        assert dry["planned"]["parameters_count"] == done["after"]["parameters_count"]
        assert dry["planned"]["size_bytes"] == pytest.approx(done["after"]["size_bytes"], rel=0.02)
        text = call(*command, "--dry-run").stdout
        assert "would be" in text and "% less work" in text.splitlines()[-1]
    assert list(folder.glob("*.pruned.onnx")) == []


def test_a_model_that_cannot_be_timed_is_a_remark(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that times it finds no module of that name: as if it had crashed."""
    (folder / "sitecustomize.py").write_text(
        "import sys\nif 'onnxprune.benching.worker' in sys.orig_argv: sys.exit(9)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.syspath_prepend(str(folder))
    result = onnxprune.shrink("digits.onnx", ratio=0.2, bench=True)
    assert result.written and result.timing is None and result.failure() is None
    (note,) = [note for note in result.notes if note.startswith("the result was not timed: ")]
    assert "SystemExit: 9" in note


def test_what_takes_long_is_left_to_bench(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxprune.benching import short

    monkeypatch.setattr(short, "MOST_SECONDS", 1e-6)
    result = onnxprune.shrink("digits.onnx", ratio=0.2, bench=True)
    (note,) = [note for note in result.notes if note.startswith("the result was not timed: ")]
    assert "onnxprune bench digits.onnx digits.pruned.onnx" in note


def test_widths_that_kernels_round_up(folder: Path, document: Document) -> None:
    """36 of 48 channels: kernels of 16 take as long as for 48, those of 8 as for 40."""
    net = Net()
    value = net.input(48, 24, 24)
    for name in "abcd":
        value = net.relu(net.conv(value, 48, name=name))
    net.output(net.conv(value, 4, name="z"))
    onnx.save(net.model(), "wide.onnx")
    onnxprune.shrink("wide.onnx", "odd.onnx", ratio=0.25, multiple_of=12)
    found = onnxprune.bench("wide.onnx", "odd.onnx", runs=6, threads=1, profile=True)
    causes = {cause.kind: cause for cause in found.profile_comparisons[0].causes}
    if any("NCHWc" in layer.kernel for layer in found.profiles[1].layers):  # on x86
        assert causes["rounded"].count >= 3 and causes["rounded"].step in (8, 16)
    shown = document("bench", "wide.onnx", "odd.onnx", "--runs", "6", "--threads", "1", "--profile")["layers"][0]
    assert {cause["kind"] for cause in shown["causes"]} == set(causes)
