"""The structure that docs/architecture.md promises: imports point downwards; the examples of docs/extending.md work."""

from __future__ import annotations

import ast
import functools
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from test_readme import script

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "onnxprune"

FLOORS = [
    {"errors", "native"},
    {"model", "results"},
    {"options"},
    {"data", "sparse", "trace"},
    {"capture", "cut"},
    {"choose", "proof", "repair"},
    {"measure"},
    {"benching", "packing"},
    {"checking", "quantizing", "sparsifying"},
    {"shrinking", "sweeping"},
    {"compressing"},
    {"report"},
    {"api"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}
WORKERS = {"sweeping/worker.py": {"onnxprune"}}
"""A process that calls what everybody calls."""
MOST_ENTRIES = 25
ONNXRUNTIME_ROOMS = {"proof", "capture", "measure", "native", "results", "benching", "quantizing"}
FILE_LIMIT, FUNCTION_LIMIT = 400, 60


def _files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def _room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@dataclass
class Source:
    """Of a file: modules that it imports, also those that are imported by name from their package; its functions, each
    with its first line, that of its second statement, and its last one; and whether it prints.
    """

    imports: list[str] = field(default_factory=list)
    functions: list[tuple[str, int, int, int]] = field(default_factory=list)
    prints: bool = False


@functools.cache
def _source(path: Path) -> Source:
    """Read once: a walk over all files takes seconds."""
    found = Source()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.imports += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = (f"{node.module}.{alias.name}" for alias in node.names if alias.name != "__version__")
            found.imports += [name if name in MODULES else node.module for name in inner]
        elif isinstance(node, ast.FunctionDef):
            second = node.body[min(1, len(node.body) - 1)].lineno
            found.functions.append((node.name, node.lineno, second, node.end_lineno or second))
        elif isinstance(node, ast.Call):
            found.prints |= isinstance(node.func, ast.Name) and node.func.id == "print"
    return found


def _imports(name: str) -> set[str]:
    """Modules of the package that a module imports."""
    return {n for n in _source(MODULES[name]).imports if n in MODULES and n != name}


MODULES = {_name(path): path for path in _files()}


@pytest.mark.parametrize("path", _files(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_downwards_between_rooms(path: Path) -> None:
    room = _room(path)
    if room == "__init__":
        return
    assert room in LEVEL, f"{room} has no place in the list of floors"
    allowed = WORKERS.get(str(path.relative_to(PACKAGE)), set())
    for name in _imports(_name(path)) - allowed:
        if name == "onnxprune":
            assert room in ("cli", "__main__"), f"{path.name} imports the whole package"
            continue
        target = name.split(".")[1]
        assert target == room or LEVEL[target] < LEVEL[room], f"{path.name} imports {name}, which is not below it"


@pytest.mark.parametrize("room", sorted(p.name for p in PACKAGE.iterdir() if (p / "__init__.py").exists()))
def test_imports_point_downwards_inside_a_room(room: str) -> None:
    """Its folders and its files form no cycle."""
    prefix = f"onnxprune.{room}."
    inside = {name for name in MODULES if name.startswith(prefix)}
    edges: dict[str, set[str]] = {}
    for name in inside:
        entry = name.split(".")[2]
        edges.setdefault(entry, set()).update(n.split(".")[2] for n in _imports(name) if n in inside)
    _assert_no_cycle({entry: targets - {entry} for entry, targets in edges.items()})


def test_modules_form_no_cycle() -> None:
    """Imports inside of functions and for types alone count as well."""
    worker = "onnxprune.sweeping.worker"
    _assert_no_cycle({name: _imports(name) - ({"onnxprune"} if name == worker else set()) for name in MODULES})


def _assert_no_cycle(edges: dict[str, set[str]]) -> None:
    done: set[str] = set()
    while len(done) < len(edges):
        free = {name for name in edges if name not in done and edges[name] <= done}
        assert free, f"import cycle among {sorted(set(edges) - done)}"
        done |= free


def test_the_top_of_the_package_is_read_at_a_glance() -> None:
    """`py.typed` is empty: it marks the package as typed."""
    entries = [p.name for p in PACKAGE.iterdir() if not p.name.startswith("__") and p.name != "py.typed"]
    assert len(entries) <= MOST_ENTRIES, entries


@pytest.mark.parametrize("path", _files(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_say_what_they_are(path: Path) -> None:
    first = path.read_text().split("\n", 1)[0]
    assert first.startswith('"""') and len(first) > 12


def test_the_folders_of_tests_are_those_of_the_package() -> None:
    """But for those about the whole."""
    whole = {"benchmarks", "downstream", "hostile", "properties"}
    for folder in (ROOT / "tests").rglob("*"):
        inner = folder.relative_to(ROOT / "tests")
        if any(folder.glob("test_*.py")) and inner.parts and inner.parts[0] not in whole:
            assert (PACKAGE / inner).is_dir() or (PACKAGE / inner).with_suffix(".py").exists(), inner


def test_test_files_have_names_of_their_own() -> None:
    """pytest imports them by these: of two of one name it takes one, and then collects none at all."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("path", _files(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_and_functions_fit_into_a_head(path: Path) -> None:
    assert path.read_text().count("\n") <= FILE_LIMIT
    for name, first, second, last in _source(path).functions:
        # signature and docstring of these are the documentation of their options
        documented = _room(path) == "api" and name == path.stem
        length = last - (second if documented else first) + 1
        assert length <= FUNCTION_LIMIT, f"{name} has {length} lines"


def test_only_some_rooms_know_onnxruntime() -> None:
    for path in _files():
        if any(name.split(".")[0] == "onnxruntime" for name in _source(path).imports):
            assert _room(path) in ONNXRUNTIME_ROOMS, path


def test_only_cli_and_report_print() -> None:
    for path in _files():
        assert _room(path) in ("cli", "report") or not _source(path).prints, path


def _examples() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "extending.md").read_text(), re.S)


OPERATOR_CHECK = """
from onnx import TensorProto, helper as h, numpy_helper as nh
import numpy as np
from onnxprune.model.load import load
from onnxprune.trace import trace_model
w = nh.from_array(np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32), "w")
v = nh.from_array(np.random.default_rng(1).standard_normal((2, 6)).astype(np.float32), "v")
axis = nh.from_array(np.array(AXIS, np.int64), "axis")
nodes = [h.make_node("Gemm", ["x", "w"], ["a"], transB=1), h.make_node("CumProd", ["a", "axis"], ["b"]),
         h.make_node("Gemm", ["b", "v"], ["y"], transB=1)]
value = lambda n, s: h.make_tensor_value_info(n, TensorProto.FLOAT, s)
graph = h.make_graph(nodes, "g", [value("x", [4, 3])], [value("y", [4, 2])], [w, v, axis])
model = h.make_model(graph, opset_imports=[h.make_opsetid("", 26)], ir_version=10)
group = next(g for g in trace_model(load(model)).groups if g.size == 6)
print(group.pin.reason if group.pin else "prunable")
"""


@pytest.mark.parametrize(("axis", "expected"), [(0, "prunable"), (1, "CumProd accumulates along it")])
def test_the_operator_of_the_page_works(axis: int, expected: str) -> None:
    code = _examples()[0] + OPERATOR_CHECK.replace("AXIS", str(axis))
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.stdout.strip() == expected, result.stderr


def test_the_criterion_of_the_page_works(tmp_path: Path) -> None:
    """As a file in a copy of the package."""
    shutil.copytree(PACKAGE, tmp_path / "onnxprune", ignore=shutil.ignore_patterns("__pycache__"))
    room = tmp_path / "onnxprune" / "choose" / "score"
    (room / "linf.py").write_text(_examples()[1])
    with (room / "__init__.py").open("a") as file:
        file.write("\nfrom onnxprune.choose.score import linf as _linf\n")
    code = (
        "import numpy, onnxprune\n"
        "from onnxprune.choose.score import Layer, get\n"
        "assert onnxprune.__file__.startswith({!r})\n"
        "w = numpy.random.default_rng(0).standard_normal((5, 300000)).astype('float32')\n"
        "assert (get('linf')(Layer('w', w)) == abs(w).max(axis=1)).all()\n"
        "r = onnxprune.shrink({!r}, 'out.onnx', criterion='linf', ratio=0.3)\n"
        "print(r.plan.options['criterion'], r.plan.removed_count > 0)\n"
    ).format(str(tmp_path), str(ROOT / "models" / "digits.onnx"))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert result.stdout.strip() == "linf True", result.stderr


def test_the_mask_method_of_the_page_works(tmp_path: Path) -> None:
    code = _examples()[2] + (
        "import onnxprune\n"
        f"out = {str(tmp_path / 'out.onnx')!r}\n"
        "r = onnxprune.sparsify('models/digits.onnx', out, method='row-share', sparsity=0.5)\n"
        "print(r.after.parameters < r.before.parameters)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.stdout.strip() == "True", result.stderr


def test_the_page_names_every_room() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    for path in PACKAGE.iterdir():
        if not path.name.startswith("__") and (path.is_dir() or path.suffix == ".py"):
            assert f"`{path.name}{'/' if path.is_dir() else ''}`" in page, path.name


def test_the_picture_shows_every_room_on_its_floor() -> None:
    """If the picture is not that of the imports any more: make architecture."""
    picture = script("architecture_picture")
    edges = picture.imports()
    assert set(edges) == set(LEVEL)
    assert {t for targets in picture.reduced(edges).values() for t in targets} <= set(edges)
    wanted = {f"room-{room}-floor-{floor}" for room, floor in picture.levels(edges).items()}
    again = picture.drawn(picture.house(edges), [room for room in edges if (PACKAGE / room).is_dir()])
    for text in (again, picture.PICTURE.read_text(encoding="utf-8")):
        assert set(re.findall(r'id="(room-[^"]+)"', text)) == wanted
        assert {f">{room}{'/' if (PACKAGE / room).is_dir() else '.py'}<" for room in edges} <= set(
            re.findall(r">[\w.]+/?<", text)
        )


def test_the_picture_leaves_out_arrows_that_say_nothing_new() -> None:
    picture = script("architecture_picture")
    edges = {"a": frozenset("bc"), "b": frozenset("c"), "c": frozenset()}
    assert picture.reduced(edges) == {"a": frozenset("b"), "b": frozenset("c"), "c": frozenset()}
    assert picture.levels(edges) == {"c": 0, "b": 1, "a": 2}
    with pytest.raises(ValueError, match=r"circle among \['a', 'b'\]"):
        picture.levels({"a": frozenset("b"), "b": frozenset("a")})


@pytest.mark.parametrize("page", ["architecture", "extending"])
def test_paths_of_the_pages_exist(page: str) -> None:
    """Those with a folder: in the package, or in the repository."""
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    named = {name for name in re.findall(r"`([\w.]+/[\w./]+)`", text) if "*" not in name}
    assert len(named) > 5
    for name in sorted(named):
        assert (PACKAGE / name).exists() or (ROOT / name).exists(), name
