"""Configuration files: where they are looked for, what wins, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_support import Call, Document

from onnxprune.errors import UsageError
from onnxprune.options.config import read


def _asked(document: Document, *arguments: str) -> float:
    ratio: float = document("shrink", "digits.onnx", "--dry-run", *arguments)["asked_ratio"]
    return ratio


def test_the_command_line_wins_over_the_file_and_the_file_over_the_default(document: Document, folder: Path) -> None:
    assert _asked(document) == 0.5
    (folder / "onnxprune.toml").write_text("ratio = 0.1\n")
    assert _asked(document) == 0.1
    (folder / "onnxprune.toml").write_text("ratio = 0.1\n[shrink]\nratio = '20%'\n")
    assert _asked(document) == 0.2, "the table of the command wins"
    assert _asked(document, "--ratio", "0.3") == 0.3


def test_pyproject(document: Document, folder: Path) -> None:
    (folder / "pyproject.toml").write_text("[project]\nname = 'x'\n[tool.onnxprune.shrink]\nratio = 0.25\n")
    assert _asked(document) == 0.25
    (folder / "onnxprune.toml").write_text("")
    assert "two configurations" in document("env", code=2)["error"]["message"]


def test_the_nearest_file_upwards_counts(document: Document, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = folder / "a" / "b"
    inner.mkdir(parents=True)
    (folder / "onnxprune.toml").write_text("[shrink]\nratio = 0.1\n")
    (folder / "a" / "pyproject.toml").write_text("[tool.other]\nx = 1\n")
    monkeypatch.chdir(inner)
    (inner / "digits.onnx").symlink_to(folder / "digits.onnx")
    assert _asked(document) == 0.1, "a pyproject.toml without our table is not a configuration"
    (folder / "a" / "onnxprune.toml").write_text("[shrink]\nratio = 0.2\n")
    assert _asked(document) == 0.2


def test_the_folder_of_the_model_does_not_count(
    document: Document, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "onnxprune.toml").write_text("[shrink]\nratio = 0.1\n")
    (elsewhere / "digits.onnx").symlink_to(folder / "digits.onnx")
    assert document("shrink", elsewhere / "digits.onnx", "--dry-run")["asked_ratio"] == 0.5


def test_values_of_every_type(document: Document, folder: Path) -> None:
    (folder / "onnxprune.toml").write_text(
        "seed = 3\n[shrink]\nexclude = ['stem.*', 'pointwise.conv']\n"
        "multiple-of = 8\nmin_keep = 0.25\nscope = 'global'\n"
    )
    found = {g["name"]: g for g in document("shrink", "digits.onnx", "--dry-run")["groups"]}
    assert found["pointwise.conv"]["reason"] == "excluded" and found["stem.conv"]["reason"] == "excluded"
    assert all((g["channels_count"] - g["removed_count"]) % 8 == 0 for g in found.values() if g["removed_count"])


def test_the_format_may_be_configured(call: Call, folder: Path) -> None:
    (folder / "onnxprune.toml").write_text("format = 'json'\n")
    assert call("env").stdout.startswith('{\n  "schema": "onnxprune.env/1"')
    assert call("inspect", "no.onnx", code=2).stdout.startswith('{\n  "schema": "onnxprune.error/1"')
    assert call("shrink", "digits.onnx", "--nonsense", code=2).stdout.startswith('{\n  "schema": "onnxprune.error/1"')
    assert call("env", "--format", "text").stdout.startswith("environment\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[shrink]\nratoi = 0.5", "[shrink] has an unknown key 'ratoi'."),
        ("ratoi = 0.5", "has an unknown key 'ratoi'."),
        ("[shrnk]\nratio = 0.5", "has an unknown key 'shrnk'."),
        ("[env]\nratio = 0.5", "[env] has an unknown key 'ratio'."),
        ("[shrink]\noutput = 'x.onnx'", "unknown key 'output'"),
        ("[shrink]\nforce = true", "unknown key 'force'"),
        ("[shrink]\nplan = 'p.json'", "unknown key 'plan'"),
        ("shrink = 1", "unknown key 'shrink'"),
        ("[shrink]\nratio = true", 'ratio = true is not a share (0.5 or "50%").'),
        ("[shrink]\nratio = 'half'", "not a share"),
        ("[shrink]\nseed = '1'", "seed = '1' is not a whole number."),
        ("[shrink]\nmax-memory = 'lots'", "max-memory = 'lots': not a size"),
        ("[shrink]\nmax-memory = 0", "max-memory = 0: a limit must be more than nothing"),
        ("[shrink]\nthreads = 3000000000", "threads = 3000000000: 3000000000 is not in the range 0<=x<=1024"),
        ("[shrink]\nmultiple_of = [8]", '[shrink]: multiple-of = [8] is not a whole number or "auto".'),
        ("[shrink]\nscope = 1", "scope = 1 is not one of local, global."),
        ("[shrink]\nlock = 'yes'", "lock = 'yes' is not true or false."),
        ("[shrink]\nmax-memory = true", 'max-memory = true is not a size ("4GB").'),
        ("[shrink]\ntarget = true", "target = true is not a text."),
        ("[shrink]\nseed = -1", "seed = -1"),
        ("[shrink]\nscope = 'here'", "scope = 'here'"),
        ("[shrink]\nexclude = [1]", "exclude = [1] is not a list of texts"),
        ("[shrink]\nmultiple_of = 8\nmultiple-of = 8", "twice"),
        ("[shrink", "is not valid TOML"),
        ("\udcff", "is not valid TOML"),
    ],
)
def test_what_is_refused(call: Call, folder: Path, text: str, message: str) -> None:
    (folder / "onnxprune.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    error = call("shrink", "digits.onnx", code=2).stderr
    assert error.startswith(f"Error: {folder / 'onnxprune.toml'}") and message in error
    assert call("shrink", "--help").stdout, "help does not read it"


def test_a_wrong_key_suggests_the_right_one(call: Call, folder: Path) -> None:
    (folder / "onnxprune.toml").write_text("[shrink]\nmultiple_off = 8\n")
    assert "Did you mean 'multiple-of'?" in call("shrink", "digits.onnx", code=2).stderr


def test_a_plan_goes_before_configured_choices(call: Call, document: Document, folder: Path) -> None:
    planned = document("shrink", "digits.onnx", "--dry-run", "--save-plan", "p.json")["reached_ratio"]
    (folder / "onnxprune.toml").write_text("[shrink]\nratio = 0.1\nexclude = ['nothing at all']\nunits = 'heads'\n")
    assert document("shrink", "digits.onnx", "--plan", "p.json")["reached_ratio"] == pytest.approx(planned)


def test_things_that_are_no_configuration(folder: Path) -> None:
    (folder / "onnxprune.toml").mkdir()
    assert read(folder).path is None
    (folder / "pyproject.toml").write_bytes(b"# " + b"x" * (1 << 20))
    with pytest.raises(UsageError, match="too large"):
        read(folder)
    (folder / "pyproject.toml").write_text("tool = 3")
    assert read(folder).path is None
    (folder / "pyproject.toml").write_text("[tool]\nonnxprune = 3")
    with pytest.raises(UsageError, match="not a table"):
        read(folder)
