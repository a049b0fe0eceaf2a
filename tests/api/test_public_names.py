"""The names of the package: what `dir` and completion list, what can be imported, and what type checkers know."""

from __future__ import annotations

import ast
import dataclasses
import subprocess
import sys
import typing
from pathlib import Path

import onnxruntime
import pytest

import onnxprune

ROOT = Path(onnxprune.__file__).parent
DIGITS = Path(__file__).parents[2] / "models" / "digits.onnx"
FUNCTIONS = sorted(name for name in onnxprune.__all__ if name.islower() and not name.startswith("_"))
AFTER_A_RUN = """
import rlcompleter, sys, onnxprune
heavy = {"numpy", "onnx", "onnxruntime", "scipy", "rich", "click", "onnxprune.results"} & set(sys.modules)
assert not heavy, heavy
before = dir(onnxprune)
onnxprune.shrink(sys.argv[1], sys.argv[2], ratio=0.2)
assert "report" in vars(onnxprune), "rooms that were loaded are attributes"
assert dir(onnxprune) == before == sorted(onnxprune.__all__)
complete, found = rlcompleter.Completer({"onnxprune": onnxprune}).complete, []
while (text := complete("onnxprune.", len(found))) is not None:
    found.append(text.removeprefix("onnxprune.").rstrip("()"))
assert set(found) <= set(onnxprune.__all__), found
"""


def test_dir_and_completion_list_the_public_names_and_nothing_else(tmp_path: Path) -> None:
    """Also after a run, which loads most rooms; and nothing heavy is loaded before."""
    command = [sys.executable, "-c", AFTER_A_RUN, str(DIGITS), str(tmp_path / "out.onnx")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", onnxprune.__all__)
def test_every_public_name_is_there(name: str) -> None:
    namespace: dict[str, object] = {}
    exec(f"from onnxprune import {name}", namespace)
    assert namespace[name] is getattr(onnxprune, name)
    assert name == "__version__" or name == "ProgressCallback" or namespace[name].__doc__


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        onnxprune.nonsense  # noqa: B018


def test_all_three_lists_of_names_say_the_same() -> None:
    """Type checkers read the stub: what it imports under its own name, and the functions that it declares."""
    tree = ast.parse((ROOT / "__init__.pyi").read_text())
    imports = [(alias, node.module) for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    imported = {alias.name: module for alias, module in imports if alias.asname == alias.name}
    where = {name: module for module, names in onnxprune._PUBLIC.items() for name in names.split()}
    declared = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert imported | {name: where[name] for name in declared} == where and not declared & set(imported)
    assert sorted(onnxprune.__all__) == sorted([*where, "__version__"])


def test_type_checkers_know_the_names_and_no_others(tmp_path: Path, mypy_cache: Path) -> None:
    good = "import onnxprune\nr: onnxprune.ShrinkResult = onnxprune.shrink('a.onnx')\nn: int = r.left.macs\n"
    wrong = "from onnxprune import ShrinkResults\n", "onnxprune.nonsense\n", "onnxprune.os\n", "r.nonsense\n"
    (tmp_path / "good.py").write_text(good)
    (tmp_path / "wrong.py").write_text(good + "".join(wrong))
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "good.py", "wrong.py"]
    environment = {"PATH": "", "MYPYPATH": str(ROOT.parent), "MYPY_CACHE_DIR": str(mypy_cache)}
    found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    lines = [line for line in found.stdout.splitlines() if line.startswith(("good.py", "wrong.py")) and "error" in line]
    places = [line.split(":")[:2] for line in lines]
    assert places == [["wrong.py", str(4 + k)] for k in range(len(wrong))], found.stdout + found.stderr


def _types(found: object, seen: set[type]) -> set[type]:
    """Dataclasses of this package that a type speaks of, also within each other."""
    for inner in typing.get_args(found):
        _types(inner, seen)
    if isinstance(found, type) and dataclasses.is_dataclass(found) and found not in seen:
        seen.add(found)
        for hint in typing.get_type_hints(found).values():
            _types(hint, seen)
        for value in vars(found).values():
            if isinstance(value, property) and value.fget is not None:
                _types(typing.get_type_hints(value.fget).get("return"), seen)
    return seen


@pytest.mark.parametrize("name", FUNCTIONS)
def test_all_that_functions_hand_out_is_public(name: str) -> None:
    hints = typing.get_type_hints(getattr(onnxprune, name), localns={"onnxruntime": onnxruntime})
    for found in _types(hints["return"], set()):
        if found is not onnxprune.Model:
            assert getattr(onnxprune, found.__name__, None) is found, f"{name} gives back {found}"
