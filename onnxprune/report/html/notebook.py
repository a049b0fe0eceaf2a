"""Results as notebooks show them: the head and the tables of their page, or of what the command prints.

It stands inside another page, so it brings neither styles nor scripts; names out of models are escaped like there.
"""

from __future__ import annotations

from dataclasses import replace

from onnxprune.benching.results import BenchResult
from onnxprune.checking.results import CheckResult
from onnxprune.packing.results import PackResult, UnpackResult
from onnxprune.report import inspect
from onnxprune.report.bench import speed_table, verdicts
from onnxprune.report.blocks import Block, Line, Report, Table
from onnxprune.report.check import check_report
from onnxprune.report.html.heads import Head, bench_head, inspect_head, made_head, sweep_head
from onnxprune.report.html.page import blocks, escaped
from onnxprune.report.made import changes
from onnxprune.report.others import diff_report, env_report, verify_report
from onnxprune.report.pack import pack_report, unpack_report
from onnxprune.report.sweep import tables
from onnxprune.results import (
    CompressResult,
    Difference,
    Inspection,
    QuantizeResult,
    ShrinkResult,
    SparsifyResult,
    VerifyResult,
)
from onnxprune.results.shown import Shown
from onnxprune.results.system import Environment
from onnxprune.results.units import plural
from onnxprune.sweeping.results import SweepResult

MOST_ROWS = 20


def notebook(result: Shown) -> str | None:
    """HTML for one result; None for a value that has none."""
    if isinstance(result, (CompressResult, ShrinkResult, SparsifyResult, QuantizeResult)):
        return _page(made_head(result, dry_run=not result.written), changes(result))
    if isinstance(result, Inspection):
        return _page(inspect_head(result), tuple(b for b in inspect.report(result) if isinstance(b, Table)))
    if isinstance(result, BenchResult):
        return _page(bench_head(result), (*verdicts(result), *map(speed_table, result.settings)))
    if isinstance(result, SweepResult):
        return _page(sweep_head(result), tables(result) if result.finished else ())
    report = _printed(result)
    return None if report is None else _shown(report)


def _printed(result: Shown) -> Report | None:
    """Of what has no page: what its command prints."""
    if isinstance(result, VerifyResult):
        return verify_report(result)
    if isinstance(result, Difference):
        return diff_report(result)
    if isinstance(result, CheckResult):
        return check_report(result)
    if isinstance(result, PackResult):
        return pack_report(result)
    if isinstance(result, UnpackResult):
        return unpack_report(result)
    return env_report(result) if isinstance(result, Environment) else None


def _page(head: Head, report: Report) -> str:
    return f"<h3>{escaped(head.title)}</h3>{head.lead}{_shown(report)}"


def _shown(report: Report) -> str:
    """With the first rows of long tables."""
    found: list[Block] = []
    for block in report:
        found.append(replace(block, rows=block.rows[:MOST_ROWS]) if isinstance(block, Table) else block)
        if isinstance(block, Table) and len(block.rows) > MOST_ROWS:
            found.append(Line(f"and {plural(len(block.rows) - MOST_ROWS, 'more row')}"))
    return blocks(tuple(found))
