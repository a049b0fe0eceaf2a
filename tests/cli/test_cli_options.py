"""Every option that the help shows has an effect, and every wrong value is said."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from cli_support import Call, Document

import onnxprune
from onnxprune.choose.allocate import SCOPES
from onnxprune.choose.criteria import needs_data
from onnxprune.choose.score import activations, consumers, criteria, network
from onnxprune.cli.main import COMMANDS, application
from onnxprune.cli.shrink import command
from onnxprune.options.lists import CRITERIA, READER_CRITERIA, SAMPLE_CRITERIA


def _removed(document: Document, *arguments: str) -> Any:
    """What leaves which group."""
    groups = document("shrink", "digits.onnx", "--dry-run", *arguments)["groups"]
    return {group["name"]: group["removed_indices"] for group in groups}


# Option -> two calls of which the plan has to differ.
CHOICES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "--ratio": ((), ("--ratio", "25%")),
    "--target": ((), ("--target", "macs=50%")),
    "--criterion": ((), ("--criterion", "geometric-median")),
    "--scope": ((), ("--scope", "global")),
    "--normalise": (("--scope", "global"), ("--scope", "global", "--normalise", "none")),
    "--aggregate": ((), ("--aggregate", "max")),
    "--include": ((), ("--include", "stem.*")),
    "--exclude": ((), ("--exclude", "stem.*", "--exclude", "pointwise.conv")),
    "--multiple-of": ((), ("--multiple-of", "32")),
    "--device": (("--device", "avx512"), ("--device", "avx2")),
    "--min-keep": ((), ("--min-keep", "75%")),
    "--units": ((), ("--units", "blocks")),
    "--seed": (("--criterion", "random"), ("--criterion", "random", "--seed", "1")),
}
# Option -> the test that shows its effect.
ELSEWHERE = {
    "--output": "test_output",
    "--repair": "test_repair",
    "--effort": "test_effort",
    "--time": "test_time",
    "--data": "test_data_keeps_the_accuracy",
    "--preprocess": "test_preprocess",
    "--samples": "test_samples",
    "--max-memory": "test_max_memory",
    "--provider": "test_provider",
    "--metric": "test_it_is_reported_without_a_bound",
    "--max-drop": "test_a_search",
    "--external-data": "test_external_data",
    "--threads": "test_threads",
    "--dry-run": "test_dry_run_writes_nothing",
    "--save-plan": "test_a_saved_plan_gives_the_same_file",
    "--plan": "test_a_saved_plan_gives_the_same_file",
    "--log-file": "test_a_log_file_has_the_lines_in_any_case",
    "--on-interrupt": "test_nothing_is_written_otherwise",
    "--fresh": "test_another_run_is_refused_with_the_reason",
    "--scheduler": "test_addresses_and_options_that_are_wrong",
    "--report": "test_the_page_of_shrink",
    "--bench": "test_the_last_line_says_what_came_of_it",
    "--schedule": "test_steps_end_where_they_should",
    "--steps": "test_steps_end_where_they_should",
    "--force": "test_shrink_again_needs_force",
    "--sparsity": "test_shrink_then_zeros",
    "--pattern": "test_shrink_then_zeros",
    "--method": "test_options_of_zeros_need_sparsity",
    "--emit": "test_shrink_then_zeros",
    "--lock": "test_options_of_zeros_need_sparsity",
    "--max-error": "test_a_search_by_error",
    "--min-agreement": "test_a_search_for_the_most_that_agrees",
    "--allow-unproven": "test_shrink_and_verify",
    "--format": "test_markdown_has_tables",
}


@pytest.mark.parametrize("option", CHOICES)
def test_options_that_choose(document: Document, option: str) -> None:
    before, after = CHOICES[option]
    if option == "--units":  # which units are meant is in the plan
        assert document("shrink", "digits.onnx", "--dry-run", *after)["plan"]["units"] == "blocks"
        return
    assert _removed(document, *before) != _removed(document, *after)


def test_no_option_is_forgotten() -> None:
    shown = {max(param.opts, key=len) for param in command.params if isinstance(param, click.Option)}
    assert shown == {*CHOICES, *ELSEWHERE}


def test_output(call: Call, folder: Path) -> None:
    (folder / "sub").mkdir()
    assert "wrote sub/x.onnx" in call("shrink", "digits.onnx", "-o", "sub/x.onnx").stdout
    assert (folder / "sub" / "x.onnx").is_file()
    assert "does not exist" in call("shrink", "digits.onnx", "-o", "nowhere/x.onnx", code=2).stderr


def test_repair(call: Call, document: Document, folder: Path) -> None:
    assert document("shrink", "digits.onnx", "--repair", "bias")["repair"]["corrected_layers_count"] > 0
    repaired = (folder / "digits.pruned.onnx").read_bytes()
    assert document("shrink", "digits.onnx", "--repair", "none", "--force")["repair"] is None
    assert (folder / "digits.pruned.onnx").read_bytes() != repaired
    text = " ".join(call("shrink", "--help").stdout.split())
    said = text[text.index("--repair") : text.index("--metric")]
    for method in ("none", "bias", "merge", "scale-shift", "least-squares", "reconstruct"):
        assert method in said, method
    assert "all weights together" in said


def test_effort(call: Call, document: Document, folder: Path) -> None:
    np.savez("few.npz", image=np.random.default_rng(0).uniform(size=(40, 1, 8, 8)).astype(np.float32))
    given = ("shrink", "digits.onnx", "--data", "few.npz", "--force", "--target", "macs=70%")
    steps = [
        document(*given, *more)["repair"]["reconstruction"]["steps_count"]
        for more in (("--effort", "0.1"), ("--effort", "quick"), ())
    ]
    assert steps[1] == int(0.35 * steps[2]) and steps[0] == max(int(0.1 * steps[2]), 40)
    for wrong in ("0", "-1", "much", "nan", "inf"):
        assert "--effort" in call(*given, "--effort", wrong, code=2).stderr
    assert "no effect" in call("shrink", "digits.onnx", "--effort", "2", code=2).stderr


def test_time(call: Call, document: Document, folder: Path) -> None:
    """It becomes an effort, which gives the same file again."""
    np.savez("few.npz", image=np.random.default_rng(0).uniform(size=(40, 1, 8, 8)).astype(np.float32))
    given = ("shrink", "digits.onnx", "--data", "few.npz", "--force", "--target", "macs=70%")
    timed = document(*given, "--time", "1s")
    note = next(note for note in timed["notes"] if note.startswith("--time 1s is --effort "))
    effort = note.split()[4]
    first = (folder / "digits.pruned.onnx").read_bytes()
    again = document(*given, "--effort", effort)
    assert (folder / "digits.pruned.onnx").read_bytes() == first
    assert again["repair"]["reconstruction"]["steps_count"] == timed["repair"]["reconstruction"]["steps_count"]
    for wrong in ("0s", "soon", "5", "-1h", "1.2.3h", ".h", ""):
        assert "not a time" in call(*given, "--time", wrong, code=2).stderr
    assert "exclude each other" in call(*given, "--time", "1m", "--effort", "2", code=2).stderr
    assert "no effect" in call("shrink", "digits.onnx", "--time", "1m", code=2).stderr


def test_external_data(document: Document, folder: Path) -> None:
    written = document("shrink", "digits.onnx", "--external-data", "always")["written"]
    assert [Path(path).name for path in written] == ["digits.pruned.onnx", "digits.pruned.onnx.data"]
    assert all(Path(path).is_file() for path in written)


def _spied(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The options that the next call hands to the API."""
    given: dict[str, Any] = {}

    def spy(*arguments: Any, **options: Any) -> Any:
        given.update(options)
        return original(*arguments, **options)

    original: Callable[..., Any] = onnxprune.shrink
    monkeypatch.setattr(onnxprune, "shrink", spy)
    return given


def test_threads(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    given = _spied(monkeypatch)
    call("shrink", "digits.onnx", "--threads", "1", "--dry-run")
    assert given["threads"] == 1


def test_the_defaults_are_those_of_the_api(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two lists of defaults would drift apart. What Ctrl-C and the end of a run do is another thing in a script."""
    defaults = {name: p.default for name, p in inspect.signature(onnxprune.shrink).parameters.items()}
    given = _spied(monkeypatch)
    call("shrink", "digits.onnx", "--no-bench", "--on-interrupt", "discard")
    assert {name: str(given[name]) for name in given if name != "progress"} == {
        name: str(defaults[name]) for name in given if name != "progress"
    }
    assert set(defaults) - set(given) == {"model", "out", "verify"}, "the two paths, and what only the API may skip"


def test_lists_in_the_help_are_complete(call: Call) -> None:
    listed: dict[str, dict[str, str]] = {"weights": {}, "samples": {}}
    for entry in (*criteria(), *activations.criteria(), *network.criteria()):
        listed["samples" if needs_data(entry.name) else "weights"][entry.name] = entry.doc
    assert listed["weights"] == CRITERIA and listed["samples"] == SAMPLE_CRITERIA
    assert {entry.name: entry.doc for entry in consumers.criteria()} == READER_CRITERIA
    text = " ".join(call("shrink", "--help").stdout.split())
    assert all(f" {name} " in text for name in (*CRITERIA, *SAMPLE_CRITERIA, *READER_CRITERIA))
    scopes = next(param for param in command.params if param.name == "scope").type
    assert isinstance(scopes, click.Choice) and set(scopes.choices) == set(SCOPES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--ratio", "1"), "at least 0 and below 1"),
        (("--ratio", "-1"), "at least 0 and below 1"),
        (("--ratio", "nan"), "'--ratio': not a share: 'nan'"),
        (("--ratio", "half"), "Give a number such as 0.5, or a percentage such as 50%."),
        (("--criterion", "geometric_median"), "did you mean geometric-median?"),
        (("--scope", "globl"), "'--scope'"),
        (("--include", "nothing*"), "--include 'nothing*' matches no node"),
        (("--exclude", "type:Cnv"), "'type:Conv'"),
        (("--multiple-of", "0"), "'--multiple-of'"),
        (("--min-keep", "lots"), "'lots'"),
        (("--seed", "-1"), "'--seed'"),
        (("--threads", "x"), "'--threads'"),
        (("--format", "xml"), "'--format'"),
        (("--output", ""), "the path is empty"),
        (("--rato", "0.5"), "--ratio"),
        (("extra",), "extra"),
    ],
)
def test_wrong_values(call: Call, folder: Path, arguments: tuple[str, ...], message: str) -> None:
    result = call("shrink", "digits.onnx", *arguments, code=2)
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ") and message in result.stderr
    assert [path.name for path in folder.iterdir()] == ["digits.onnx"]


def test_a_mistyped_command(call: Call) -> None:
    assert call("shrnk", code=2).stderr == (
        "Error: there is no command 'shrnk'. Did you mean 'shrink'?\n  Try 'onnxprune --help'.\n"
    )


def test_every_command_is_lazy_and_loads() -> None:
    context = click.Context(application)
    assert application.list_commands(context) == list(COMMANDS)
    for name in COMMANDS:
        found = application.get_command(context, name)
        assert found is not None and found.name == name and found.short_help
