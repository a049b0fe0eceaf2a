"""The pages of models that became others: what became of them, how it was proven, and how to do it again."""

from __future__ import annotations

from collections.abc import Sequence

from onnxprune.benching.results import BenchResult
from onnxprune.report.answers import Result
from onnxprune.report.html import compress, quantize, shrink, sparsify
from onnxprune.report.html.heads import made_head
from onnxprune.report.html.page import Section, page
from onnxprune.report.html.reproduce import reproduce
from onnxprune.results import CompressResult, QuantizeResult, ShrinkResult
from onnxprune.results.system import Environment


def made_page(
    result: Result, machine: Environment, commands: Sequence[str], *, dry_run: bool = False, bench: BenchResult | None
) -> str:
    """The whole document. `bench`: the original against the result, if that was measured."""
    own = _sections(result, bench)
    head = made_head(result, dry_run=dry_run)
    return page(head.title, head.lead, [*own, reproduce(commands, machine, result.before)])


def _sections(result: Result, bench: BenchResult | None) -> list[Section | None]:
    if isinstance(result, CompressResult):
        return compress.sections(result, bench)
    if isinstance(result, ShrinkResult):
        return shrink.sections(result, bench)
    if isinstance(result, QuantizeResult):
        return quantize.sections(result, bench)
    return sparsify.sections(result, bench)
