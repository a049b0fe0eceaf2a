"""`inspect` of several models, or of a folder: one table, and a row with the error for a file that cannot be read."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx
import pytest
from cli_schema import check
from cli_support import Call, Document

from tests.builders import Net


@pytest.fixture
def models(folder: Path) -> Path:
    """A folder with two models, one of which has a layer that stays, and a file that is none."""
    here = folder / "models"
    (here / "more").mkdir(parents=True)
    shutil.copy(folder / "digits.onnx", here / "digits.onnx")
    (here / "more" / "text.onnx").write_text("nothing of the kind")
    (here / "more" / "notes.txt").write_text("no model")
    net = Net()
    h = net.relu(net.op("LRN", net.conv(net.input(3, 6, 6), 32, name="a"), size=3, name="n"))
    net.head(net.relu(net.conv(h, 64, name="b")))
    onnx.save(net.model(), here / "more" / "mixed.onnx")
    return here


def test_a_folder_is_a_table(models: Path, call: Call) -> None:
    """The exit code is that of the file that could not be read."""
    lines = call("inspect", "models", code=3).stdout.splitlines()
    assert [line.split()[0] for line in lines[:4]] == [
        "model",
        "models/digits.onnx",
        "models/more/mixed.onnx",
        "models/more/text.onnx",
    ]
    assert "LRN mixes neighbouring channels (a)" in lines[2] and "1/3" in lines[2]
    assert "error: this is a text file, not an ONNX model" in lines[3]
    assert lines[-1] == "1 file of 3 could not be read"


def test_files_are_rows_too(models: Path, call: Call) -> None:
    text = call("inspect", "digits.onnx", "models/more/mixed.onnx", "digits.onnx").stdout
    assert text.count("digits.onnx") == 1 and "could not be read" not in text
    assert "| model |" in call("inspect", "digits.onnx", "models/more/mixed.onnx", "--format", "markdown").stdout


def test_the_same_as_a_document(models: Path, document: Document) -> None:
    found = document("inspect", "models", "missing.onnx", code=3)
    check(found)
    rows = {Path(row["path"]).name: row for row in found["models"]}
    assert list(rows) == ["digits.onnx", "mixed.onnx", "text.onnx", "missing.onnx"]
    one = document("inspect", "digits.onnx")
    assert rows["digits.onnx"]["model"] == one["model"] and rows["digits.onnx"]["error"] is None
    assert rows["digits.onnx"]["removable_count"] == one["removable_count"]
    assert rows["digits.onnx"]["halved_macs_count"] < one["model"]["macs_count"] / 2
    (held,) = rows["mixed.onnx"]["held"]
    assert held["reason"] == "LRN mixes neighbouring channels" and held["nodes_count"] == 1
    assert 0 < held["share_ratio"] < 1
    assert rows["text.onnx"]["model"] is None and rows["text.onnx"]["error"]["type"] == "ModelError"
    assert rows["missing.onnx"]["error"]["exit_code"] == 2


def test_narrow_layers_are_halved_in_finer_steps(folder: Path, document: Document) -> None:
    net = Net()
    net.head(net.relu(net.conv(net.input(3, 6, 6), 8, name="a")))
    onnx.save(net.model(), folder / "narrow.onnx")
    rows = document("inspect", "narrow.onnx", "digits.onnx")["models"]
    assert rows[0]["halved_macs_count"] == rows[0]["model"]["macs_count"] / 2


def test_blocks_are_counted_as_well(models: Path, document: Document) -> None:
    rows = document("inspect", "digits.onnx", "models/more/mixed.onnx", "--units", "blocks")["models"]
    assert rows[0]["prunable_count"] == document("inspect", "digits.onnx", "--units", "blocks")["removable_count"]
    assert rows[0]["halved_macs_count"] is None and rows[1]["groups_count"] == 0


@pytest.mark.parametrize(
    ("options", "flag"),
    [
        (("--layers",), "--layers"),
        (("--groups",), "--groups"),
        (("--why", "a"), "--why"),
        (("--report", "r.html"), "--report"),
        (("--data", "random"), "--data"),
        (("--quantization", "--data", "random"), "--data"),
    ],
)
def test_options_about_one_model_are_refused(models: Path, call: Call, options: tuple[str, ...], flag: str) -> None:
    result = call("inspect", "models", *options, code=2)
    assert f"{flag} is about one model, and this is a table of several" in result.output


def test_a_folder_without_models(folder: Path, call: Call) -> None:
    (folder / "empty" / ".hidden").mkdir(parents=True)
    shutil.copy(folder / "digits.onnx", folder / "empty" / ".hidden" / "digits.onnx")
    assert "the folder 'empty' has no .onnx file" in call("inspect", "empty", code=3).output
