"""The sections of the page of `compress`."""

from __future__ import annotations

from onnxprune.benching.results import BenchResult
from onnxprune.report.compress import levers_text, points_table, stages_table
from onnxprune.report.html import bench as timing
from onnxprune.report.html import shrink
from onnxprune.report.html.page import Section, listed, table
from onnxprune.report.html.parts import run
from onnxprune.report.html.quantize import layers_section
from onnxprune.report.html.sparsify import layers_section as sparse_section
from onnxprune.results import CompressResult


def sections(result: CompressResult, bench: BenchResult | None) -> list[Section | None]:
    """All but the last. `bench`: the original against the result, if that was measured."""
    removed = shrink.sections(result, None)[:-1] if result.plan.removed_count else []
    return [
        Section("levers", "Levers", table(points_table(result)) + listed(levers_text(result))),
        *removed,
        *([] if removed or result.sparsity is None else [sparse_section(result.sparsity, asked=False)]),
        *([] if result.quantization is None else [layers_section(result.quantization)]),
        *([] if bench is None else timing.sections(bench)),
        run(stages_table(result), result.notes),
    ]
