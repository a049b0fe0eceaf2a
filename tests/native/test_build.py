"""The library is optional: what installs without a compiler, or with one that fails, and what is said then."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from onnxprune import native
from onnxprune.native import build

ROOT = Path(__file__).resolve().parents[2]


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def wheel(folder: Path, **variables: str) -> tuple[zipfile.ZipFile, str]:
    """The wheel of a copy of the sources, and what its installation from there says of the sparse operators."""
    source = folder / "source"
    skipped = shutil.ignore_patterns("__pycache__", "*.so", "*.dylib", build.LOG)
    shutil.copytree(ROOT / "onnxprune", source / "onnxprune", ignore=skipped)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    empty = folder / "bin"
    empty.mkdir()
    clean = {key: value for key, value in os.environ.items() if key not in ("CXX", "PYTHONPATH")}
    code = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        cwd=source,
        env={**clean, "PATH": str(empty), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "warning: the sparse operators were not built" in done.stderr
    (path,) = folder.glob("*.whl")
    assert path.name.startswith("onnxprune-") and "-py3-none-" in path.name and not path.name.endswith("-any.whl")
    made = zipfile.ZipFile(path)
    made.extractall(folder / "installed")
    asked = subprocess.run(
        [sys.executable, "-c", "from onnxprune import native; print(native.__file__, native.problem(), sep='\\n')"],
        cwd=folder,
        env={**clean, "PYTHONPATH": str(folder / "installed")},
        capture_output=True,
        text=True,
        check=True,
    )
    where, problem = asked.stdout.splitlines()
    assert where.startswith(str(folder / "installed"))
    return made, problem


needs_setuptools = pytest.mark.skipif(
    tuple(map(int, metadata.version("setuptools").split(".")[:2])) < (77, 0)
    if any(d.name == "setuptools" for d in metadata.distributions())
    else True,
    reason="setuptools 77 or newer is not installed",
)


@needs_setuptools
def test_without_a_compiler_the_package_installs_and_says_what_is_missing(tmp_path: Path) -> None:
    made, problem = wheel(tmp_path)
    names = made.namelist()
    assert f"onnxprune/native/{build.LOG}" in names and "onnxprune/native/src/abi.h" in names
    assert not [name for name in names if name.endswith((".so", ".dylib", ".dll"))]
    assert problem.startswith("not built: no C++ compiler: c++, g++, clang++ not found")
    assert "python -m onnxprune.native" in problem


@needs_setuptools
def test_with_a_compiler_that_fails_too_and_its_words_are_kept(tmp_path: Path) -> None:
    compiler = program(tmp_path / "broken", "echo 'sorry, unimplemented' >&2; exit 1")
    made, problem = wheel(tmp_path, CXX=str(compiler))
    assert b"sorry, unimplemented" in made.read(f"onnxprune/native/{build.LOG}")
    log = tmp_path / "installed" / "onnxprune" / "native" / build.LOG
    assert problem.startswith("not built: the compiler failed") and str(log) in problem


def test_a_build_that_fails_leaves_its_log_and_one_that_does_not_takes_it_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / build.library_name()
    target.write_text("of an older version")
    monkeypatch.setenv("CXX", str(program(tmp_path / "broken", "echo no >&2; exit 1")))
    with pytest.raises(build.BuildError):
        build.build_or_log(target)
    assert not target.exists() and "no" in (tmp_path / build.LOG).read_text()
    # "compiles" by writing the output that is asked for
    works = 'while [ $# -gt 0 ]; do if [ "$1" = -o ]; then echo > "$2"; fi; shift; done'
    monkeypatch.setenv("CXX", str(program(tmp_path / "works", works)))
    build.build_or_log(target)
    assert target.exists() and not (tmp_path / build.LOG).exists()


def test_a_compiler_may_be_a_command_with_words_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As cross compilers are: the words come first, in every call."""
    noted = program(tmp_path / "noted", f'echo "$1 $2" >> {tmp_path}/calls')
    monkeypatch.setenv("CXX", f"{noted} c++ '-target somewhere'")
    assert build.find_compiler() == [str(noted), "c++", "-target somewhere"]
    with pytest.raises(OSError):  # it writes no library
        build.build(tmp_path / "library.so")
    (tmp_path / "a folder").mkdir()
    spaced = program(tmp_path / "a folder" / "c++", "true")
    monkeypatch.setenv("CXX", str(spaced))
    assert build.find_compiler() == [str(spaced)]
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) > len(build.sources(["false"])) and set(calls) == {"c++ -target somewhere"}


def test_instruction_sets_are_those_of_the_target(tmp_path: Path) -> None:
    """Not those of the machine that compiles."""
    define = "echo '#define __cplusplus 201703L'"
    arm = program(tmp_path / "arm", f"{define}; echo '#define __aarch64__ 1'")
    x86 = program(tmp_path / "x86", f"{define}; echo '#define __x86_64__ 1'")
    names = {path.name for path in build.sources([str(x86)])}
    assert set(build.INSTRUCTION_SETS) <= names
    assert {path.name for path in build.sources([str(arm)])} == names - set(build.INSTRUCTION_SETS)


def test_it_can_be_built_later(tmp_path: Path) -> None:
    """With a compiler that fails: building takes too long for a test."""
    compiler = program(tmp_path / "broken", "echo 'sorry, unimplemented' >&2; exit 1")
    command = [sys.executable, "-W", "error", "-m", "onnxprune.native", str(tmp_path / "library.so")]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "CXX": str(compiler)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "sorry, unimplemented" in done.stderr and "Traceback" not in done.stderr


def test_a_library_that_does_not_load_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken.so"
    broken.write_bytes(b"\x7fELF and nothing else")
    monkeypatch.setattr(native, "_LIBRARY", broken)
    problem = native.problem()
    assert problem is not None and "does not load" in problem and "python -m onnxprune.native" in problem
    assert native.instruction_set() is None
    import onnxruntime

    assert native.register(onnxruntime.SessionOptions()) is False


@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++", "c++"))), reason="no C++ compiler is installed")
def test_where_there_is_a_compiler_the_library_was_built() -> None:
    """The tests of the operators are skipped without the library: that must not hide a build that failed."""
    assert native.problem() is None
    assert native.library_path() is not None and native.instruction_set() is not None
