"""What users and package indexes get: the version and its change log, the metadata, the source archive.

Wheels: `make wheels` builds and tries them.
"""

from __future__ import annotations

import email
import re
import shutil
import subprocess
import sys
import tarfile
from email.message import Message
from pathlib import Path

import pytest

import onnxprune

ROOT = Path(__file__).resolve().parents[1]
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
"""Headings that Keep a Changelog knows."""

FOLDERS = (".ci", ".github", "benchmarks", "docs", "examples", "models", "onnxprune", "scripts", "tests")
FILES = (
    *(".gitattributes", ".gitignore", ".pre-commit-hooks.yaml", "CHANGELOG.md", "LICENSE", "MANIFEST.in", "Makefile"),
    *("README.md", "action.yml", "pyproject.toml", "setup.py"),
    *(".pre-commit-config.yaml", "CONTRIBUTING.md", "SECURITY.md", "mkdocs.yml"),
)
MADE = shutil.ignore_patterns("__pycache__", "*.pyc", "libonnxprune.*", "build.log")
"""What builds and tests leave in a checkout."""


def _lines() -> list[str]:
    return (ROOT / "CHANGELOG.md").read_text("utf-8").splitlines()


def test_the_change_log_begins_with_what_is_unreleased_or_with_this_version() -> None:
    heads = [line.removeprefix("## ") for line in _lines() if line.startswith("## ")]
    released = [head for head in heads if head != "[Unreleased]"]
    assert heads[0] in ("[Unreleased]", released[0]) and heads.count("[Unreleased]") <= 1
    assert re.match(rf"\[{re.escape(onnxprune.__version__)}\]( - \d{{4}}-\d{{2}}-\d{{2}})?$", released[0]), released[0]


def test_the_change_log_has_headings_of_the_usual_kinds() -> None:
    assert {line.removeprefix("### ") for line in _lines() if line.startswith("### ")} <= KINDS


def test_readme_and_make_say_the_same_of_how_long_tests_take() -> None:
    said = [
        re.findall(r"about (\d+) minutes on two cores", (ROOT / n).read_text("utf-8"))
        for n in ("README.md", "Makefile")
    ]
    assert said[0] == said[1] and len(said[0]) == 1


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[set[str], Message]:
    """The names in a source archive that is built from a copy of this checkout, and its metadata."""
    copy = tmp_path_factory.mktemp("checkout") / "onnxprune"
    for name in FOLDERS:
        shutil.copytree(ROOT / name, copy / name, ignore=MADE)
    for name in FILES:
        shutil.copy(ROOT / name, copy / name)
    code = "from setuptools import build_meta; print(build_meta.build_sdist('dist'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = (copy / "dist").iterdir()
    with tarfile.open(path) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
        told = file.extractfile(f"onnxprune-{onnxprune.__version__}/PKG-INFO")
        assert told is not None
        return names, email.message_from_bytes(told.read())


def test_the_source_archive_has_what_a_checkout_has(archive: tuple[set[str], Message]) -> None:
    """So that its tests run, its pages can be read and its targets work."""
    names, _ = archive
    files = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*")) if path.is_file()]
    made = re.compile(r"__pycache__/|/libonnxprune\.|/build\.log$")
    wanted = {str(path.relative_to(ROOT)) for path in files} | set(FILES)
    assert {name for name in wanted if not made.search(name)} <= names
    assert not [name for name in names if made.search(name)]


def test_the_metadata_is_of_todays_form(archive: tuple[set[str], Message]) -> None:
    """Licence as an expression, with its file (PEP 639); links; the version that the program says."""
    _, metadata = archive
    assert metadata["Version"] == onnxprune.__version__
    assert metadata["License-Expression"] == "Apache-2.0" and metadata["License-File"] == "LICENSE"
    assert metadata["License"] is None and not any("License" in c for c in metadata.get_all("Classifier", []))
    links = {str(link).partition(", ")[0] for link in metadata.get_all("Project-URL", [])}
    assert {"Homepage", "Documentation", "Changelog", "Issues"} <= links
