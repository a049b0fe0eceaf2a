"""`onnxprune sparsify` and `shrink --sparsity` as people call them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import click
import onnx
import pytest
from click.testing import CliRunner, Result

import onnxprune
from onnxprune.cli.main import application
from onnxprune.cli.sparsify import command
from onnxprune.model.metadata import metadata
from onnxprune.options.declare import choices
from onnxprune.options.lists import METHODS
from onnxprune.options.repairing import ZeroForm
from onnxprune.sparsifying.masks import METHODS as REGISTERED
from onnxprune.sparsifying.request import EMITS as KNOWN
from tests.builders import Net
from tests.report.html.page_parser import Page
from tests.sparse.sessions import needs_library
from tests.sparsifying.conftest import MODELS
from tests.untimed import untimed


def call(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(application, untimed(arguments), prog_name="onnxprune")
    assert result.exit_code == code, (result.exit_code, result.output)
    return result


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(MODELS / "digits.onnx", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_lists_of_the_help_are_the_registry() -> None:
    assert dict(REGISTERED) == METHODS and choices(ZeroForm, "emit") == KNOWN
    text = call("sparsify", "--help").stdout
    assert all(name in text for name in (*METHODS, *KNOWN))


def test_every_option_is_one_of_the_api() -> None:
    """By the same names: jobs are threads there, output is out. Lines of a log are of the command alone."""
    renamed = {"jobs": "threads", "output": "out"}
    options = {p.name.rstrip("_") for p in command.params if isinstance(p, click.Option) and p.name}
    known = set(onnxprune.sparsify.__kwdefaults__ or {}) | {"out"}
    assert {renamed.get(name, name) for name in options} - {"format", "log_file"} == known - {"progress"}


def test_a_file_a_page_and_a_report(folder: Path) -> None:
    text = call("sparsify", "digits.onnx", "--sparsity", "80%", "--pattern", "8x1", "--report", "r.html").stdout
    assert "8x1, magnitude, local" in text and "wrote digits.sparse.onnx" in text
    assert "1 layer stays dense: it is depthwise" in text and "weights not zero" in text
    page = Page((folder / "r.html").read_text("utf-8"))
    page.check()
    assert list(page.sections) == ["before-after", "sparsity", "run", "reproduce"]
    assert "stage2.conv2.conv" in page.sections["sparsity"] and "SparseConv" in page.sections["sparsity"]
    assert "onnxprune sparsify digits.onnx --sparsity 0.8 --pattern 8x1" in page.sections["reproduce"]
    assert "onnxprune verify digits.onnx digits.sparse.onnx" in page.sections["reproduce"]
    assert str(folder) not in page.source
    said = call("verify", "digits.onnx", "digits.sparse.onnx").stdout
    assert "with the zeros of plan" in said and "80 % of the weights of 12 layers are zero" in said
    assert "use --force" in call("sparsify", "digits.onnx", "--sparsity", "0.8", code=2).stderr.lower()


def test_a_dry_run_lists_layers(folder: Path) -> None:
    text = call("sparsify", "digits.onnx", "--sparsity", "0.5", "--dry-run").stdout
    assert "stage1.conv1.conv" in text and "dry run: no model was written" in text
    assert [path.name for path in folder.iterdir()] == ["digits.onnx"]


def test_the_page_of_shrink_has_the_layers(folder: Path) -> None:
    call("shrink", "digits.onnx", "--ratio", "0.2", "--sparsity", "0.5", "--report", "r.html", "-o", "o.onnx")
    page = Page((folder / "r.html").read_text("utf-8"))
    page.check()
    assert "12 layers of 13 became sparse" in page.sections["sparsity"]
    assert "--sparsity 0.5" in page.sections["reproduce"]


def test_shrink_of_nothing_but_zeros(folder: Path) -> None:
    found = json.loads(
        call("shrink", "digits.onnx", "--ratio", "0", "--sparsity", "0.5", "-o", "o.onnx", "--format", "json").stdout
    )
    assert found["plan"]["removed_count"] == 0 and found["proof"] is None and found["repair"] is None
    assert found["sparsity"]["proof"]["sensitive"] and found["written"] == [str(folder / "o.onnx")]
    call("verify", "digits.onnx", "o.onnx")


def test_a_plan_is_applied_and_weights_become_sparse_anew(folder: Path) -> None:
    """Plans say which channels leave; masks are in files only."""
    digits = ("shrink", "digits.onnx", "--ratio", "0.2", "--sparsity", "0.5")
    planned = call(*digits, "--dry-run", "--save-plan", "p.json").stdout
    assert "not in a dry run" in planned
    call(*digits, "-o", "a.onnx", "--save-plan", "q.json")
    call("shrink", "digits.onnx", "--plan", "q.json", "--sparsity", "0.5", "-o", "b.onnx")
    a, b = (onnxprune.inspect(path).model for path in ("a.onnx", "b.onnx"))
    assert (a.macs, a.parameters) == (b.macs, b.parameters)
    said = call("shrink", "digits.onnx", "--plan", "q.json", "-o", "c.onnx").stdout
    assert "the plan also made weights zero, and this run did not" in said
    assert onnxprune.verify("digits.onnx", "c.onnx").sparse is None
    assert '"sparsity"' not in metadata(onnx.load("c.onnx"))["onnxprune.plan"]
    assert "this run did not" not in call(*digits[:4], "-o", "d.onnx").stdout


REFUSED = {
    "no sparsity": ((), "--sparsity is missing"),
    "all of them": (("--sparsity", "1"), "less than 1"),
    "no pattern": (("--sparsity", "0.5", "--pattern", "4y1"), "not a pattern"),
    "another share": (("--sparsity", "0.8", "--pattern", "2:4"), "means a sparsity of 0.5"),
    "a method with samples": (("--sparsity", "0.5", "--method", "wanda"), "calibration data"),
    "no method": (("--sparsity", "0.5", "--method", "magnitud"), "did you mean magnitude"),
    "repair without samples": (("--sparsity", "0.5", "--repair", "reconstruct"), "calibration data"),
    "a limit without samples": (("--sparsity", "0.5", "--max-error", "0.1"), "calibration data"),
    "samples of nothing": (("--sparsity", "0.5", "--samples", "3"), "without --data"),
    "one step of two": (("--sparsity", "0.5", "--schedule", "one-shot", "--steps", "2"), "one step"),
    "scope of what is fixed": (("--pattern", "2:4", "--scope", "global"), "--scope global has no effect"),
    "auto without operators": (("--sparsity", "0.5", "--pattern", "auto", "--emit", "dense-zeros"), "--emit"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_contradicts_itself(folder: Path, name: str) -> None:
    arguments, words = REFUSED[name]
    assert words in call("sparsify", "digits.onnx", *arguments, code=2).stderr
    assert [path.name for path in folder.iterdir()] == ["digits.onnx"]


@pytest.mark.parametrize(
    "option", [("--method", "magnitude"), ("--lock",), ("--max-error", "1"), ("--emit", "dense-zeros")]
)
def test_options_of_zeros_need_sparsity(folder: Path, option: tuple[str, ...]) -> None:
    assert "without --sparsity" in call("shrink", "digits.onnx", *option, code=2).stderr


def test_targets_that_zeros_would_change(folder: Path) -> None:
    said = call("shrink", "digits.onnx", "--target", "size=100kB", "--sparsity", "0.5", code=2).stderr
    assert "removing channels" in said


@needs_library
def test_auto_is_measured_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sparse in one of the blocks, or dense with a reason; what was measured is kept, so a second run does the same."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    net = Net()
    net.output(net.gemm(net.relu(net.gemm(net.input(512), 1024, name="wide")), 8, name="narrow"))
    onnx.save(net.model(), "m.onnx")
    results = [onnxprune.sparsify("m.onnx", f"{k}.onnx", sparsity=0.95, pattern="auto") for k in range(2)]
    first, second = (result.sparsity for result in results)
    assert first.layers == second.layers and first.pattern == "auto"
    for layer in first.layers:
        assert layer.pattern in ("unstructured", "2x1", "4x1", "8x1") if layer.sparse else layer.reason
    if first.sparse_layers:
        assert Path("0.onnx").read_bytes() == Path("1.onnx").read_bytes()
        onnxprune.verify("m.onnx", "0.onnx")
