"""The page of `bench`, and its parts on the page of `shrink`."""

from __future__ import annotations

from collections.abc import Sequence

from onnxprune.benching.results import BenchResult
from onnxprune.report.bench import bench_report, verdicts
from onnxprune.report.html import charts
from onnxprune.report.html.heads import bench_head
from onnxprune.report.html.page import Section, blocks, figures, folded, page
from onnxprune.report.html.reproduce import reproduce
from onnxprune.results.system import Environment


def bench_page(result: BenchResult, machine: Environment, commands: Sequence[str]) -> str:
    """The whole document."""
    head = bench_head(result)
    return page(head.title, head.lead, [*sections(result), reproduce(commands, machine, None)])


def sections(result: BenchResult) -> list[Section | None]:
    """Latency, and with a profile where the time goes."""
    times = figures(*(found for setting in result.settings if (found := charts.latencies(setting))))
    body = blocks(verdicts(result)) + times + folded("All figures and notes", blocks(bench_report(result)))
    latency = Section("latency", "Latency", body)
    if not result.profiles:
        return [latency]
    largest = charts.largest_operator(result.profiles)
    drawn = figures(*(charts.operators(profile, largest) for profile in result.profiles))
    return [latency, Section("operators", "Time per operator", drawn)]
