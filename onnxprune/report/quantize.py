"""The report of `quantize`."""

from __future__ import annotations

from onnxprune.report.blocks import Block, Heading, Line, Report, Table
from onnxprune.report.closing import closing_lines
from onnxprune.report.fidelity import quality_lines
from onnxprune.report.made import changes, made_notes, written_line
from onnxprune.report.quantization import layers_table, left_text, quantized_rows, remarks
from onnxprune.report.shared import STAGES, captured, measured_rows, model_line, notes, stage_time
from onnxprune.results import QuantizeResult
from onnxprune.results.units import plural


def report(result: QuantizeResult, *, dry_run: bool = False, layers: bool = False) -> Report:
    """What was done, stage by stage, and what came of it. `layers` lists them."""
    found = result.quantization
    blocks: list[Block] = [Heading(model_line(result.before)), stages_table(result)]
    if layers or dry_run:
        blocks.append(layers_table(found))
    blocks += [*changes(result), *made_notes(result, None), *notes(*remarks(found))]
    return (*blocks, *outcome(result, dry_run=dry_run))


def outcome(result: QuantizeResult, *, dry_run: bool = False) -> Report:
    """The last lines alone."""
    if result.plan.quantization is None:
        why = left_text(result.quantization) or "the model has no layer with a constant weight"
        return (Line(f"no layer was quantised, and no file was written: {why}"),)
    return (written_line(result, dry_run), *closing_lines(result))


def stages_table(result: QuantizeResult) -> Table:
    """What was done, stage by stage."""
    seconds, found = result.seconds, result.quantization
    rows = [("traced", plural(len(found.all_layers), "layer"), stage_time(seconds, "load", "trace"))]
    if result.calibration is not None:
        rows.append(("captured", captured(result.calibration), stage_time(seconds, "capture")))
    rows.extend(quantized_rows(found, seconds))
    rows += measured_rows(quality_lines(result.metric, result.fidelity), seconds)
    return Table(STAGES, tuple(rows), bare=True)
