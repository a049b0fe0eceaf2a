"""benchmarks/sparsity.py from end to end, on an evaluation folder that serves the example model."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.test_benchmarks_accuracy import evaluation, run

__all__ = ["evaluation"]  # a fixture


def test_the_table_goes_on_where_it_stopped(tmp_path: Path, evaluation: Path) -> None:
    given = ("--eval", str(evaluation), "--models", "digits", "--methods", "magnitude", "--shares", "80")
    first = run("sparsity.py", tmp_path, *given, "--patterns", "unstructured")
    assert "digits  naive unstructured 80 %" in first
    second = run("sparsity.py", tmp_path, *given, "--patterns", "unstructured,2:4", "--report", "sparsity.md")
    assert "unstructured 80 %:" not in second and "naive 2:4 50 %:" in second, "what is known is not measured again"
    lines = [
        line.strip("|").split("|") for line in (tmp_path / "sparsity.md").read_text().splitlines() if "digits" in line
    ]
    rows = {(line[1].strip(), line[2].strip()): [value.strip() for value in line[3:7]] for line in lines}
    assert len(rows) == len(lines) == 5
    refit, naive = (float(rows["unstructured", name][2]) for name in ("magnitude, least squares", "naive"))
    assert naive < 50 < 95 < refit and float(rows["", "original (top-1 %)"][2]) > 98
    assert rows["2:4", "naive"][1:] == ["", "", ""]


def test_without_an_evaluation_folder_it_says_so(tmp_path: Path) -> None:
    assert run("sparsity.py", tmp_path).startswith("No evaluation: no folder given")
