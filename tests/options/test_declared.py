"""Options are said once: what command line, function, file, plan, sweep, schema and pages have follows from it."""

from __future__ import annotations

import inspect
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

import onnxprune
from onnxprune.choose.schedule import SCHEDULES
from onnxprune.cli.main import COMMANDS as MODULES
from onnxprune.cli.main import application
from onnxprune.options.choosing import Scores, Steps
from onnxprune.options.commands import COMMANDS, known_keys
from onnxprune.options.declare import GROUPS, Options, choices, declared, entries, of_function, of_line, recorded
from onnxprune.options.others import BenchOptions
from onnxprune.options.shrinking import ShrinkOptions, SparsifyOptions, SweepOptions
from onnxprune.report.html.command import command, sweep_command

ROOT = Path(onnxprune.__file__).parents[1]
each = pytest.mark.parametrize("options", COMMANDS, ids=lambda one: one.NAME)


def program() -> click.Context:
    """As commands run: what they inherit from it, they keep."""
    return click.Context(application, **application.context_settings)


def of(options: type[Options]) -> click.Command:
    found = application.get_command(click.Context(application), options.NAME)
    assert found is not None
    return found


def test_every_command_is_declared() -> None:
    assert {*(one.NAME for one in COMMANDS), "completion"} == set(MODULES)
    assert list(known_keys()) == [*(one.NAME for one in COMMANDS), "completion"]


@each
def test_an_option_says_what_it_is(options: type[Options]) -> None:
    names = [one.name for one in declared(options)]
    assert len(names) == len(set(names)) == len(entries(options))
    for one in entries(options):
        assert one.spec.help.endswith(".") and one.spec.help[0].isupper(), one.name
        assert one.spec.group in GROUPS and one.spec.python + one.spec.line > 0, one.name
        assert not one.choices or one.default is None or one.several or one.default in one.choices, one.name
    assert set(options.DIFFERS) <= set(names)


@each
def test_the_command_and_the_function_have_what_is_declared(options: type[Options]) -> None:
    params = {one.name: one for one in of(options).params if isinstance(one, click.Option) and one.name != "help"}
    assert {(name or "").rstrip("_") for name in params} == {one.name for one in of_line(options)}
    function = getattr(onnxprune, options.NAME, None)
    if options.NAME in ("diff", "env"):  # no options but those of printing
        assert not of_function(options)
        return
    keywords = {
        one.name: one.default for one in inspect.signature(function).parameters.values() if one.kind is one.KEYWORD_ONLY
    }
    assert keywords == {one.name: one.default for one in of_function(options)} == function.__kwdefaults__
    for name in keywords:
        assert f"\n    {name}: " in function.__doc__, f"help({options.NAME}) says nothing of {name}"


@each
def test_help_has_groups_and_two_examples(options: type[Options]) -> None:
    context = click.Context(of(options), info_name=options.NAME, parent=program())
    text = of(options).get_help(context)
    titles = [line[:-1] for line in text.splitlines() if line and line[0] not in " U" and line.endswith(":")]
    groups = list(dict.fromkeys(one.spec.group for one in entries(options) if one.spec.line))
    assert titles[: len(groups)] == groups and titles[-1] == "Examples"
    assert len(options.EXAMPLES) == 2
    for what, line in options.EXAMPLES:
        assert what[-1] in ":?" and text.splitlines().count(f"    onnxprune {line}") == 1
        name, *words = shlex.split(line)
        assert name == options.NAME
        of(options).make_context(name, words)  # every option is there, every value is one


def test_lists_of_names_are_those_that_are_computed_with() -> None:
    assert choices(Steps, "schedule") == SCHEDULES
    assert set(choices(Scores, "normalise")) > set(choices(Scores, "aggregate"))


def test_a_plan_lists_its_options_in_the_same_order_as_ever() -> None:
    """Its name is a digest of that."""
    zeros = ("sparsity", "pattern", "method", "emit", "lock", "max_error")
    assert [name for name in recorded(ShrinkOptions) if name not in zeros] == [
        *("ratio", "target", "criterion", "scope", "normalise", "aggregate", "include", "exclude", "multiple_of"),
        *("device", "min_keep", "effort", "repair", "samples", "provider", "seed", "schedule", "steps"),
        "min_agreement",
    ]
    assert recorded(SparsifyOptions) == [
        *("sparsity", "pattern", "method", "scope", "emit", "include", "exclude", "lock", "max_error"),
        *("effort", "repair", "samples", "provider", "seed", "schedule", "steps"),
    ]


def test_commands_say_what_is_not_the_default() -> None:
    shrink = ShrinkOptions(ratio=0.3, include=("a*", "b"), lock=True, force=True, threads=2, verify=False, bench=True)
    assert (
        command(shrink, ["m.onnx"])
        == "onnxprune shrink m.onnx --ratio 0.3 --include 'a*' --include b --lock --threads 2"
    )
    sweep = SweepOptions(ratios=[0.2, 0.4], criteria="obs,l1", bench=False, jobs=0)
    assert sweep_command(sweep, "m.onnx", None) == (
        "onnxprune sweep m.onnx --ratios 0.2,0.4 --criteria obs,l1 --no-bench"
    )
    bench = BenchOptions(threads=[1, 2], provider="cpu", shape={"x": 3})
    assert command(bench, ["m.onnx"]) == "onnxprune bench m.onnx --threads 1,2 --provider cpu --shape x=3"


NEW = '''
@dataclass(frozen=True, kw_only=True)
class Widths(Options):
    """How wide what stays may be."""

    patience: int | None = option(
        None, "How long to wait.", group=ADVANCED, metavar="N", least=1, recorded=True, planned=True
    )
'''
PROBE = """
import inspect, json, sys
import click, onnxprune
from onnxprune.cli.main import application
from onnxprune.options.commands import known_keys
from onnxprune.options.declare import planned
from onnxprune.options.schema import schema
from onnxprune.options.shrinking import ShrinkOptions, SweepOptions
from onnxprune.report.html.command import command, shrink_commands
from onnxprune.sweeping.points import points_of, of_point
sys.path.insert(0, sys.argv[2])
import stub
found = onnxprune.shrink(sys.argv[1], None, patience=3, ratio=0.2)
point = of_point(SweepOptions(patience=4), ratio=0.5, target=None, criterion=None)
try:
    onnxprune.shrink(sys.argv[1], None, patience=0)
except onnxprune.UsageError as error:
    refused = error.message
helps = {name: application.get_command(click.Context(application), name).get_help(click.Context(click.Command(name)))
         for name in ("shrink", "sweep", "sparsify")}
print(json.dumps({
    "help": [name for name, text in helps.items() if "--patience N" in text and "How long to wait." in text],
    "signature": inspect.signature(onnxprune.shrink).parameters["patience"].default,
    "refused": refused,
    "keys": [name for name, keys in known_keys().items() if "patience" in keys],
    "schema": schema()["properties"]["shrink"]["properties"]["patience"],
    "point": point.patience,
    "plan": found.plan.options["patience"],
    "command": command(ShrinkOptions(patience=5), ["m.onnx"]),
    "planned": "patience" in [one.name for one in planned(ShrinkOptions)],
    "stub": stub.stub().count("    patience: int | None = None,"),
}))
"""


def test_a_new_option_is_one_entry(tmp_path: Path) -> None:
    """In a copy of the package a family has one field more; nothing else is told of it."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "onnxprune", tmp_path / "onnxprune", ignore=ignored)
    file = tmp_path / "onnxprune" / "options" / "choosing.py"
    head = NEW[: NEW.index("    patience")]
    assert file.read_text().count(head) == 1
    file.write_text(file.read_text().replace(head, NEW))
    (tmp_path / "onnxprune.toml").write_text("[shrink]\npatience = 7\n")
    found = _run([sys.executable, "-c", PROBE, str(ROOT / "models" / "digits.onnx"), str(ROOT / "scripts")], tmp_path)
    assert json.loads(found) == {
        "help": ["shrink", "sweep"],
        "signature": None,
        "refused": "--patience must be at least 1, not 0",
        "keys": ["shrink", "sweep"],
        "schema": {"type": "integer", "minimum": 1, "description": "How long to wait."},
        "point": 4,
        "plan": 3,
        "command": "onnxprune shrink m.onnx --patience 5",
        "planned": True,
        "stub": 2,
    }
    shrink = ["-m", "onnxprune", "shrink", str(ROOT / "models" / "digits.onnx"), "--dry-run", "--save-plan", "p.json"]
    _run([sys.executable, *shrink], tmp_path)
    assert json.loads((tmp_path / "p.json").read_text())["options"]["patience"] == 7


def _run(arguments: list[str], folder: Path) -> Any:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_shells_complete_names() -> None:
    """Of criteria and methods, and of everything that has a list of values."""
    for name, start, expected in (
        ("criterion", "ge", ["geometric-median"]),
        ("method", "w", ["wanda"]),
        ("scope", "", ["local", "global"]),
    ):
        option = next(one for one in of(ShrinkOptions).params if one.name == name)
        found = option.shell_complete(click.Context(of(ShrinkOptions), parent=program()), start)
        assert [one.value for one in found] == expected


def test_declarations_are_read_once() -> None:
    """Every call of a function asks for them."""
    assert declared(ShrinkOptions) is declared(ShrinkOptions)
