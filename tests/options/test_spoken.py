"""Errors name options as whoever reads them would write them: keywords in Python, flags on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import onnxprune
from onnxprune import OnnxPruneError
from onnxprune.cli.main import application
from onnxprune.data import open_data
from onnxprune.errors import UsageError
from onnxprune.options.commands import COMMANDS
from onnxprune.options.declare import FLAG, SWITCH, declared
from onnxprune.options.spoken import in_python

DIGITS = Path(__file__).resolve().parents[2] / "models" / "digits.onnx"


@pytest.mark.parametrize(
    ("line", "python"),
    [
        ("--ratio and --target exclude each other.", "ratio= and target= exclude each other."),
        ("no effect without --data.", "no effect without data=."),
        ("--max-memory must be more than nothing", "max_memory= must be more than nothing"),
        ("--max-memory 4 GB is too little", "max_memory='4 GB' is too little"),
        ("for example --max-memory 4GB, or", "for example max_memory='4GB', or"),
        ("--steps 3 and --sparsity 0.8.", "steps=3 and sparsity=0.8."),
        ("or take --repair none.", "or take repair='none'."),
        ("take --criterion l1", "take criterion='l1'"),
        ("Give --target macs=... or --ratio.", "Give target='macs=...' or ratio=."),
        ("--target params=50%.", "target='params=50%'."),
        ("--preprocess resize=N,crop=N.", "preprocess='resize=N,crop=N'."),
        ("--preprocess: unknown option", "preprocess=: unknown option"),
        ("--preprocess imagenet, or scale=1", "preprocess='imagenet', or scale=1"),
        ("--metric file.py:function says", "metric='file.py:function' says"),
        ("--samples N.", "samples=N."),
        ("--max-size = '10 apples': not a size", "max_size = '10 apples': not a size"),
        ("--only 'weight' is not a kind", "only='weight' is not a kind"),
        ("--exclude 'a' --exclude 'b'", "exclude=['a', 'b']"),
        ("--shape x: the model has 4 axes", "shape='x': the model has 4 axes"),
        ("--max-drop allows 0.1", "max_drop= allows 0.1"),
        ("write it all the same: --allow-unproven.", "write it all the same: allow_unproven=True."),
        ("Use --force to replace it.", "Use force=True to replace it."),
        ("--force is True or False, found 3", "force= is True or False, found 3"),
        ("no effect with --no-bench.", "no effect with bench=False."),
        ("--bench has no effect with --dry-run: it", "bench=True has no effect with dry_run=True: it"),
        ("another --output", "another out="),
        ("Give another folder with -o, or", "Give another folder with out=, or"),
        ("with --dry-run --save-plan, or", "with dry_run=True (`plan` of the result), or"),
        (
            "Names: onnxprune inspect MODEL --units heads --layers",
            "Names: onnxprune inspect MODEL --units heads --layers",
        ),
        ("a - b, --, --unheard-of 3, x--ratio", "a - b, --, --unheard-of 3, x--ratio"),
    ],
)
def test_words(line: str, python: str) -> None:
    assert in_python(line) == python
    assert str(UsageError(line)) == python and UsageError(line).message == line
    assert in_python(python) == python, "what is said already stays"


ALL = sorted({one.name for options in COMMANDS for one in declared(options) if one.spec.python})


@pytest.mark.parametrize("name", ALL)
def test_every_option_of_a_function_has_its_keyword(name: str) -> None:
    flag = any(one.name == name and one.kind in (FLAG, SWITCH) for o in COMMANDS for one in declared(o))
    assert in_python(f"--{name.replace('_', '-')}, or") == f"{name}={flag or ''}, or"


CASES: dict[str, tuple[str, dict[str, Any], list[str], str, str]] = {
    "two that exclude each other": (
        "shrink",
        {"ratio": 0.5, "target": "macs=50%"},
        ["--ratio", "0.5", "--target", "macs=50%"],
        "ratio= and target= exclude each other.",
        "--ratio and --target exclude each other.",
    ),
    "of a value": (
        "shrink",
        {"ratio": 0.5, "repair": "reconstruct"},
        ["--ratio", "0.5", "--repair", "reconstruct"],
        "repair='reconstruct' needs calibration data.",
        "--repair reconstruct needs calibration data.",
    ),
    "with a hint": (
        "sparsify",
        {"sparsity": 0.5, "method": "obs"},
        ["--sparsity", "0.5", "--method", "obs"],
        "method='obs' looks at calibration data, and there is none.\n"
        "  Give samples with data= (a .npz, a folder, ..., or random), or choose by weights: method='magnitude'.",
        "--method obs looks at calibration data, and there is none.\n"
        "  Give samples with --data (a .npz, a folder, ..., or random), or choose by weights: --method magnitude.",
    ),
    "a switch": (
        "sweep",
        {"ratios": [0.5], "bench": False, "seconds": 1.0},
        ["--ratios", "0.5", "--no-bench", "--seconds", "1"],
        "seconds= has no effect with bench=False.",
        "--seconds has no effect with --no-bench.",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_same_mistake_from_both_sides(name: str, tmp_path: Path) -> None:
    command, given, flags, python, line = CASES[name]
    with pytest.raises(UsageError) as caught:
        getattr(onnxprune, command)(DIGITS, tmp_path / "out", **given)
    assert str(caught.value).startswith(python)
    arguments = [command, str(DIGITS), "-o", str(tmp_path / "out"), *flags]
    done = CliRunner().invoke(application, arguments)
    assert done.exit_code == 2 and done.stderr.startswith(f"Error: {line}")
    document = json.loads(CliRunner().invoke(application, [*arguments, "--format", "json"]).stdout)
    assert document["error"]["message"] == line.split("\n")[0]


def test_an_output_that_exists(tmp_path: Path) -> None:
    """Also of functions that have no options."""
    there = tmp_path / "there.onnx"
    there.write_text("precious")
    said = {str(_raised(lambda: onnxprune.shrink(DIGITS, there, ratio=0.2)))}
    said |= {str(_raised(lambda: onnxprune.write(onnxprune.load(DIGITS), there)))}
    assert len(said) == 1 and said.pop().endswith("Use force=True to replace it.")
    done = CliRunner().invoke(application, ["shrink", str(DIGITS), "-o", str(there), "--ratio", "0.2"])
    assert done.stderr.endswith("Use --force to replace it.\n")


def test_samples_that_are_opened_by_hand() -> None:
    model = onnxprune.load(DIGITS)
    data = np.zeros((2, 1, 8, 8), np.float32)
    assert str(_raised(lambda: open_data(data, model, samples=0))) == "samples= must be at least 1, not 0"


def _raised(call: Any) -> OnnxPruneError:
    with pytest.raises(OnnxPruneError) as caught:
        call()
    return caught.value
