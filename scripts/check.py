"""What a change is likely to break, in a minute: lint, types, and the tests nearest to the changed files.

usage: python scripts/check.py [--since COMMIT] [--seconds N]

Changed are the files that differ from a commit (by default HEAD, or the one before it if nothing differs). Tests come
in this order: those that changed, those that import a changed module, those in the folder of a changed room, and those
of the structure. When the time is over no further one starts, and it is said how many were left for `make test`.
"""

from __future__ import annotations

import argparse
import ast
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 75.0
ALWAYS = ("tests/test_architecture.py", "tests/cli/test_cli_process.py", "tests/api/test_public_names.py")


def changed(since: str | None) -> list[Path]:
    """Files that differ from a commit, and new ones."""
    if since is None:
        return changed("HEAD") or changed("HEAD~1")
    names = _git("diff", "--name-only", since) + _git("ls-files", "--others", "--exclude-standard")
    return [Path(name) for name in names if (ROOT / name).exists()]


def nearest(files: Iterable[Path]) -> list[str]:
    """Test files in the order in which they are likely to fail."""
    files = list(files)
    modules = {_module(file) for file in files if file.suffix == ".py" and file.parts[0] == "onnxprune"}
    folders = {Path("tests", *file.parent.parts[1:]) for file in files if file.parts[0] == "onnxprune"}
    tests = sorted(path.relative_to(ROOT) for path in (ROOT / "tests").rglob("test_*.py"))
    ranks = (
        [test for test in tests if test in files],
        [test for test in tests if modules & _imports(ROOT / test)],
        [test for test in tests if test.parent in folders and test.parent != Path("tests")],
        [Path(name) for name in ALWAYS],
    )
    return list(dict.fromkeys(str(test) for rank in ranks for test in rank if (ROOT / test).exists()))


class Clock:
    """A plugin: when the time is over, no further test starts."""

    def __init__(self, seconds: float) -> None:
        self.end, self.run, self.all = time.monotonic() + seconds, 0, 0

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        self.all = len(items)

    def pytest_runtest_logfinish(self) -> None:
        self.run += 1

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self) -> bool | None:
        """Done already, if the time is over. (To stop the session would be reported as an interruption.)"""
        return True if time.monotonic() > self.end else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--since", help="the commit to compare with")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for tests")
    options = parser.parse_args()
    start = time.monotonic()
    lint = subprocess.Popen([sys.executable, str(ROOT / "scripts" / "lint.py")], cwd=ROOT)
    tests = nearest(changed(options.since))
    clock = Clock(options.seconds)
    code = int(pytest.main(["-x", *tests], plugins=[clock]))
    left = clock.all - clock.run
    linted = lint.wait()
    failed = linted or code
    print(
        f"{'failed' if failed else 'passed'} in {time.monotonic() - start:.0f} s: "
        f"lint {'failed' if linted else 'passed'}, {clock.run} tests of {len(tests)} files"
        + (f", {left} more left for make test" if left else "")
    )
    return 1 if failed else 0


def _module(file: Path) -> str:
    parts = file.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def _git(*words: str) -> list[str]:
    shown = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return shown.splitlines()


if __name__ == "__main__":
    sys.exit(main())
