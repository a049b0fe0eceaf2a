"""docs/shrink.md: its commands are run, its table of repairs is whole, its options and links exist."""

from __future__ import annotations

import re
from pathlib import Path

from test_readme import assert_a_clone_stays_clean, docs, shape

from onnxprune.cli import bench, inspect, shrink, sparsify, sweep, verify

ROOT = Path(__file__).resolve().parents[1]
PAGE = docs.SHRINK.read_text(encoding="utf-8")


def test_the_page_shows_what_its_commands_print(tmp_path: Path) -> None:
    """If it should show something else now: make docs."""
    found = docs.examples(PAGE)
    assert len(found) == 6
    for example, printed in zip(found, docs.outputs(found, tmp_path), strict=True):
        assert shape(example.command, printed) == shape(example.command, example.output), example.command
    assert_a_clone_stays_clean(tmp_path)


def test_the_page_names_what_there_is() -> None:
    commands = (module.command for module in (shrink, inspect, verify, bench, sparsify, sweep))
    known = {
        option
        for command in commands
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE)) <= known | {"--help"}
    for target in re.findall(r"\]\(([^)#]+)", PAGE):
        assert target.startswith("https://") or (ROOT / "docs" / target).exists(), target


def test_every_repair_is_explained() -> None:
    (repair,) = (parameter for parameter in shrink.command.params if parameter.name == "repair")
    section = PAGE.split("\n## Repair\n")[1].split("\n## ")[0]
    listed = set(re.findall(r"^\| `([a-z-]+)`", section, re.M))
    assert listed == set(getattr(repair.type, "choices", ())) - {"auto"}
