"""`make check` runs the tests nearest to a change first, and stops in time."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check", ROOT / "scripts" / "check.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tests_near_a_change_come_first(check: ModuleType) -> None:
    found = check.nearest([Path("onnxprune/proof/decisions.py"), Path("tests/test_clocks.py")])
    assert found[:2] == ["tests/test_clocks.py", "tests/proof/test_decisions.py"]
    assert set(map(str, Path("tests/proof").glob("test_*.py"))) <= set(found)
    assert "tests/test_architecture.py" in found and "tests/data/test_npz.py" not in found
    assert check.nearest([Path("README.md")]) == list(check.ALWAYS)


def test_no_test_starts_when_the_time_is_over(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text("def test_a(): pass\ndef test_b(): pass\n")
    code = (
        "import importlib.util, pytest, sys\n"
        f"spec = importlib.util.spec_from_file_location('check', {str(ROOT / 'scripts' / 'check.py')!r})\n"
        "check = importlib.util.module_from_spec(spec); spec.loader.exec_module(check)\n"
        "for seconds in (-1, 1e6):\n"
        "    clock = check.Clock(seconds)\n"
        "    code = pytest.main(['-q', '-p', 'no:cacheprovider', sys.argv[1]], plugins=[clock])\n"
        "    print('ran', clock.run, 'of', clock.all, 'code', int(code))\n"
    )
    shown = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    ran = [line for line in shown.stdout.splitlines() if line.startswith("ran")]
    assert ran == ["ran 0 of 2 code 0", "ran 2 of 2 code 0"]
    assert "nterrupted" not in shown.stdout and "stopping" not in shown.stdout
