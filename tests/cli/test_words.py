"""Names that are too long, numbers behind names, plurals, and options that are called otherwise elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from builders import Net
from cli_support import Call, Document

import onnxprune
from onnxprune.benching.results import Estimate
from onnxprune.report.figures import ratio_text
from onnxprune.results.wording import counted, of_several, readable, shortened

LONG = ";".join(f"functional_1/block_{k}/conv2d/Conv2D_kernel/Regularizer" for k in range(16))


def test_names_keep_what_tells_them_apart() -> None:
    one, other = shortened(f"{LONG}/first"), shortened(f"{LONG}/other")
    assert len(one) == 60 and one.endswith("/first") and one.startswith("functional_1/") and one != other
    assert shortened("short") == "short"


def test_paths_stay_whole(tmp_path: Path) -> None:
    path = tmp_path / ("long" * 20) / "model.onnx"
    text = f"the output {str(path)!r} exists; layer {LONG!r} does not"
    assert readable(text) == f"the output {str(path)!r} exists; layer {shortened(repr(LONG))} does not"


@pytest.fixture
def long_names(folder: Path) -> str:
    net = Net()
    value = net.relu(net.conv(net.input(8, 6, 6), 16, name=f"{LONG}/a"))
    net.output(net.conv(net.conv(value, 16, name=f"{LONG}/b"), 4, name=f"{LONG}/c"))
    onnx.save(net.model(), "long.onnx")
    return "long.onnx"


@pytest.mark.parametrize(
    "command",
    [
        ("shrink", "--ratio", "0.5", "--dry-run"),
        ("-v", "shrink", "--ratio", "0.5", "--force"),
        ("sparsify", "--sparsity", "0.5", "--dry-run"),
        ("inspect",),
        ("inspect", "--groups"),
        ("inspect", "--layers"),
        ("inspect", "--why", f"{LONG}/a"),
    ],
)
def test_no_report_has_long_names(long_names: str, call: Call, command: tuple[str, ...]) -> None:
    at = 2 if command[0] == "-v" else 1
    arguments = (*command[:at], long_names, *command[at:])
    for form in ("text", "markdown"):
        text = call(*arguments, "--format", form).stdout
        assert max(map(len, text.split())) <= 64 and max(map(len, text.splitlines())) < 400
        assert "/a" in text


def test_json_has_them_whole(long_names: str, document: Document) -> None:
    names = [group["name"] for group in document("inspect", long_names)["groups"]]
    assert f"{LONG}/a" in names


def test_errors_have_no_long_names(long_names: str, call: Call) -> None:
    wrong = call("inspect", long_names, "--why", f"{LONG}/x", code=2).stderr
    assert max(map(len, wrong.split())) <= 60 and "/x" in wrong


def test_the_number_behind_a_name_is_explained(folder: Path, call: Call) -> None:
    """Halves of one layer that go different ways are two groups."""
    net = Net()
    a, b = net.split(net.conv(net.input(8, 6, 6), 16, name="both"), 8, 8)
    net.output(net.conv(a, 4, name="y"), net.conv(b, 4, name="z"))
    onnx.save(net.model(), "halves.onnx")
    names = [group.name for group in onnxprune.inspect("halves.onnx").groups]
    text = call("inspect", "halves.onnx").stdout
    assert ("both#2" in names) == ("note: both#2: number 2, a group of the outputs of this layer" in text)
    assert "both#2" in names


def test_plurals() -> None:
    assert (counted(1, "stay"), counted(2, "stay")) == ("1 stays", "2 stay")
    assert of_several("its removal would cost more", 2) == "their removal would cost more"
    assert of_several("its removal would cost more", 1) == "its removal would cost more"
    assert of_several("it belongs to a graph output", 3) == "they belong to a graph output"
    assert of_several("excluded", 3) == "excluded"


@pytest.mark.parametrize("command", ["shrink", "sparsify", "verify", "pack", "bench", "check", "inspect", "diff"])
def test_jobs_are_no_threads(call: Call, command: str) -> None:
    said = call(command, "digits.onnx", "--jobs", "2", code=2).stderr
    assert "Threads of the runtime are --threads" in said and "sweep" in said


def test_jobs_in_a_file(call: Call, folder: Path) -> None:
    (folder / "onnxprune.toml").write_text("[shrink]\njobs = 2\n")
    assert "Threads of the runtime are 'threads'" in call("shrink", "digits.onnx", "--dry-run", code=2).stderr


def test_each_speaks_its_own_language(call: Call, folder: Path) -> None:
    call("shrink", "digits.onnx", "-o", "o.onnx")
    assert "Use --force to replace it." in call("shrink", "digits.onnx", "-o", "o.onnx", code=2).stderr
    with pytest.raises(onnxprune.OnnxPruneError) as error:
        onnxprune.shrink("digits.onnx", "o.onnx")
    assert "force=True" in str(error.value) and "--" not in str(error.value)


def test_an_interval_that_says_nothing_is_no_verdict() -> None:
    assert ratio_text(Estimate(37.9, 0.001, 69.4), "undecided") == "0.001 to 69 times the time (95 % CI)"
    assert "interval unknown" in ratio_text(Estimate(1.0, 0.0, np.inf), "undecided")
