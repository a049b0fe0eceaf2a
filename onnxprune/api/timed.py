"""The short timing at the end of `shrink`, `sparsify` and `quantize`, for all alike."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from onnxprune.benching.results import BenchResult
from onnxprune.benching.short import time_result
from onnxprune.capture.samples import Samples
from onnxprune.errors import UsageError
from onnxprune.model.load import Model
from onnxprune.options.compressing import CompressOptions
from onnxprune.options.quantizing import QuantizeOptions
from onnxprune.options.shrinking import ShrinkOptions, SparsifyOptions
from onnxprune.results import CompressResult, QuantizeResult, ShrinkResult, SparsifyResult
from onnxprune.results.clock import Clock

R = TypeVar("R", CompressResult, ShrinkResult, SparsifyResult, QuantizeResult)
Making = CompressOptions | ShrinkOptions | SparsifyOptions | QuantizeOptions


def check_bench(options: Making) -> None:
    """Raise UsageError if timing was asked for, and nothing is written."""
    if options.bench and options.dry_run:
        raise UsageError("--bench has no effect with --dry-run: nothing is written that could be timed.")


def with_timing(
    result: R, source: Model, samples: Samples | None, clock: Clock, options: Making
) -> tuple[R, BenchResult | None]:
    """The result with its timing, if it was asked for (`bench`) and a file was written; all figures for a page."""
    if not options.bench or not result.written:
        return result, None
    clock.start("bench")
    feed = None if samples is None else samples.few(source, 1)
    timed = time_result(
        source,
        result.written[0],
        feed=feed,
        source="" if samples is None else samples.source,
        threads=options.threads,
        seed=options.seed,
        profile=options.report is not None,
        progress=options.told,
    )
    if timed.problem is not None:
        return replace(result, notes=(*result.notes, f"the result was not timed: {timed.problem}")), None
    return replace(result, timing=timed.summary), timed.full
