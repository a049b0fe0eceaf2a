"""Files that are made of the declarations: what type checkers read, and what editors check configurations by."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import onnxprune
from onnxprune.errors import UsageError
from onnxprune.options.commands import known_keys
from onnxprune.options.config import Config
from onnxprune.options.declare import names
from onnxprune.options.others import Budgets
from onnxprune.options.schema import ADDRESS, schema

ROOT = Path(onnxprune.__file__).parents[1]


def script(name: str) -> ModuleType:
    """A file of scripts/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_stub_is_what_is_declared() -> None:
    """If not: make docs."""
    made = script("stub").stub()
    assert made == (ROOT / "onnxprune" / "__init__.pyi").read_text("utf-8")
    assert 'scope: Literal["local", "global"] | None = None,' in made
    assert made.count("\ndef ") == 12 and ") -> ShrinkResult:" in made


RIGHT = """
import onnxprune
from pathlib import Path
r: onnxprune.ShrinkResult = onnxprune.shrink("m.onnx", Path("o.onnx"), ratio=0.5, scope="local", progress=True)
in_memory = onnxprune.sparsify(onnxprune.load("m.onnx"), None, sparsity=0.8, include=["a"], progress=print)
beside = onnxprune.shrink("m.onnx", onnxprune.BESIDE, metric=lambda path: 1.0)
times: onnxprune.BenchResult = onnxprune.bench("a.onnx", "b.onnx", threads=[1, 2], shape={"x": 3})
"""
WRONG = (
    'onnxprune.shrink("m.onnx", ratoi=0.5)\n',
    'onnxprune.shrink("m.onnx", scope="x")\n',
    'onnxprune.shrink("m.onnx", ratio="half")\n',
    'onnxprune.sparsify("m.onnx", repair="merge")\n',
    'onnxprune.sweep("m.onnx", unit="heads")\n',
    "onnxprune.pack()\n",
    'onnxprune.bench("m.onnx", runs="many")\n',
)


def test_type_checkers_find_unknown_options_and_wrong_values(tmp_path: Path, mypy_cache: Path) -> None:
    (tmp_path / "right.py").write_text(RIGHT)
    (tmp_path / "wrong.py").write_text("import onnxprune\n" + "".join(WRONG))
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "right.py", "wrong.py"]
    environment = {"PATH": "", "MYPYPATH": str(ROOT), "MYPY_CACHE_DIR": str(mypy_cache)}
    found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    errors = [line for line in found.stdout.splitlines() if ": error: " in line and ".py:" in line]
    places = [line.split(":")[:2] for line in errors if line.startswith(("right.py", "wrong.py"))]
    assert places == [["wrong.py", str(2 + k)] for k in range(len(WRONG))], found.stdout + found.stderr


def test_the_schema_is_what_is_declared() -> None:
    """If not: make docs."""
    text = (ROOT / "docs" / "onnxprune.schema.json").read_text("utf-8")
    assert json.loads(text) == schema() and text == script("docs").schema()
    assert schema()["$id"] == ADDRESS == "https://github.com/onnxprune/onnxprune/raw/main/docs/onnxprune.schema.json"


def test_the_schema_has_the_keys_that_are_read() -> None:
    found = schema()["properties"]
    known = known_keys()
    for name, keys in known.items():
        if name != "completion":  # it takes none
            assert {key.replace("-", "_") for key in found[name]["properties"]} == set(keys), name
    everywhere = {key for keys in known.values() for key in keys} - {"models"}
    assert {key.replace("-", "_") for key in found} == {*everywhere, *known} - {"completion"}
    (models,) = (found["check"]["properties"]["models"]["items"],)
    assert {key.replace("-", "_") for key in models["properties"]} == {"path", *names(Budgets)}
    assert models["required"] == ["path"]


@pytest.mark.parametrize(
    ("value", "accepted"),
    [
        ({"shrink": {"ratio": 0.5, "multiple-of": 8, "exclude": ["a"], "scope": "local"}}, True),
        ({"shrink": {"multiple_of": "auto", "bench": False, "target": "macs=50%"}, "seed": 3}, True),
        ({"check": {"models": [{"path": "m.onnx", "max-size": "10MB"}]}}, True),
        ({"shrink": {"ratoi": 0.5}}, False),
        ({"shrink": {"force": True}}, False),
        ({"shrink": {"scope": "here"}}, False),
        ({"shrink": {"seed": "1"}}, False),
        ({"shrink": {"seed": -1}}, False),
        ({"shrink": {"exclude": [1]}}, False),
        ({"sweep": {"scheduler": "tcp://x"}}, False),
        ({"check": {"models": [{"max-size": "10MB"}]}}, False),
        ({"check": {"data": "random"}}, False),
    ],
)
def test_editors_accept_what_is_accepted(value: dict[str, Any], accepted: bool) -> None:
    assert fits(value, schema()) is accepted
    keys = {k.replace("-", "_"): {a.replace("-", "_") for a in v} for k, v in value.items() if isinstance(v, dict)}
    unknown = {name for name, own in keys.items() if not own <= set(known_keys()[name])}
    if unknown:
        config = Config(Path("onnxprune.toml"), {name: dict.fromkeys(own, 1) for name, own in keys.items()})
        with pytest.raises(UsageError, match="unknown key"):
            config.for_command("shrink", known_keys())


def fits(value: Any, form: dict[str, Any]) -> bool:
    """As JSON Schema says it, of the words that the schema uses."""
    types = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)}
    words = {"type", "enum", "anyOf", "items", "minimum", "minLength", "properties", "patternProperties"}
    words |= {"additionalProperties", "required", "description", "default", "$schema", "$id", "title"}
    assert set(form) <= words
    if "anyOf" in form:
        return any(fits(value, one) for one in form["anyOf"])
    if "enum" in form:
        return value in form["enum"]
    wanted = form["type"] if isinstance(form["type"], list) else [form["type"]]
    if not any(isinstance(value, types[one]) and (one == "boolean") == isinstance(value, bool) for one in wanted):
        return False
    if isinstance(value, dict):
        patterns = {key.strip("^$"): one for key, one in form.get("patternProperties", {}).items()}
        known = {**form["properties"], **patterns}
        there = all(key in value for key in form.get("required", ()))
        return there and all(key in known and fits(one, known[key]) for key, one in value.items())
    if isinstance(value, list):
        return all(fits(one, form["items"]) for one in value)
    return "minimum" not in form or value >= form["minimum"]
