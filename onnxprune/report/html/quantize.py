"""The sections of the page of `quantize`."""

from __future__ import annotations

from onnxprune.benching.results import BenchResult
from onnxprune.report.fidelity import fidelity_lines
from onnxprune.report.html import bench as timing
from onnxprune.report.html.page import Section, folded, listed, paragraph, table
from onnxprune.report.html.parts import before_after, fidelity_remarks, run, sizes_of
from onnxprune.report.quantization import (
    equality_text,
    executed_text,
    form_texts,
    layers_table,
    left_text,
    proof_text,
    remarks,
)
from onnxprune.report.quantize import stages_table
from onnxprune.report.shared import tolerance_text
from onnxprune.results import QuantizeResult
from onnxprune.results.quantization import QuantizationSummary
from onnxprune.results.units import plural

EXACT = "Numbers, bytes and MACs are counted, so exact. Scales and zero points count as parameters."


def sections(result: QuantizeResult, bench: BenchResult | None) -> list[Section | None]:
    """All but the last. `bench`: the original against the result, if that was measured."""
    sizes = sizes_of(result.before)
    return [
        before_after(result, f"{EXACT} With {sizes}." if sizes else EXACT),
        _accuracy(result),
        layers_section(result.quantization),
        *([] if bench is None else timing.sections(bench)),
        run(stages_table(result), result.notes),
    ]


def layers_section(found: QuantizationSummary) -> Section:
    """In what every layer computes, and why."""
    body = paragraph(f"{found.counted} ({found.scheme}).")
    left = left_text(found)
    body += listed([*([] if left is None else [left]), *remarks(found)])
    body += folded(f"{plural(len(found.layers), 'node')} one by one", table(layers_table(found)))
    if found.proof is not None:
        body += paragraph(". ".join((f"Proof: {proof_text(found.proof)}", *form_texts(found.proof))) + ".")
    if found.equality is not None:
        body += paragraph(f"Proof: {equality_text(found.equality)}.")
        body += paragraph(tolerance_text(found.equality), "note")
    if found.executed is not None and found.proof is not None:
        body += paragraph(f"{executed_text(found.executed, found)}.", "note")
    return Section("quantization", "Precision", body)


def _accuracy(result: QuantizeResult) -> Section | None:
    if result.fidelity is None:
        return None
    body = listed(fidelity_lines(result.fidelity)) + fidelity_remarks(result.fidelity)
    return Section("accuracy", "Accuracy", body)
