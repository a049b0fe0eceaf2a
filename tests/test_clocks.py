"""Tests assert no wall time and give up on nothing that is slow: they pass on a busy machine, too.

What is counted instead: work.py. Who brings a clock of its own: benching/test_rounds.py. Times are for benchmarks/.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent
CLOCKS = {"perf_counter", "perf_counter_ns", "monotonic", "monotonic_ns", "time", "process_time", "thread_time"}
ALLOWED = {"benching/test_preemption.py"}
"""It compares what the system says of waiting with its clock: the system's figures, not its speed."""


def _found(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "time" and node.attr in CLOCKS:
            yield f"{node.lineno}: time.{node.attr}"
        if isinstance(node, ast.keyword) and node.arg == "timeout":
            yield f"{node.value.lineno}: timeout="
        if isinstance(node, ast.keyword) and node.arg == "suppress_health_check":
            said = ast.unparse(node.value)
            if "too_slow" not in said and said != "list(HealthCheck)":
                yield f"{node.value.lineno}: a health check that a busy machine fails is not suppressed"


def test_no_test_looks_at_the_clock() -> None:
    found = {
        str(path.relative_to(ROOT)): [*_found(ast.parse(path.read_text("utf-8")))]
        for path in sorted(ROOT.rglob("*.py"))
    }
    assert not {name: lines for name, lines in found.items() if lines and name not in ALLOWED}


def test_it_sees_them() -> None:
    code = """
import time
assert time.perf_counter() < 1
run(x, timeout=3)
@settings(suppress_health_check=[HealthCheck.data_too_large])
def test(): time.sleep(1)
"""
    assert sorted(int(line.partition(":")[0]) for line in _found(ast.parse(code))) == [3, 4, 5]
