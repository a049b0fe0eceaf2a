"""The last line of a run: what was gained, what was lost, how sure that is, and what to do where it is not enough."""

from __future__ import annotations

from onnxprune.report.answers import Result, measured, state, warning
from onnxprune.report.blocks import Line
from onnxprune.report.document_parts import Document
from onnxprune.report.shared import unproven
from onnxprune.report.speed import speed_text, why_not
from onnxprune.results import Cause, CompressResult, ProofSummary, QuantizeResult, ShrinkResult, TimingSummary
from onnxprune.results.ending import CutShort
from onnxprune.results.gains import gone, saved, work
from onnxprune.results.made import Made


def closing_lines(result: Result) -> list[Line]:
    """The last line, if a model was written, or would be; and more if it is unproven, or was cut short."""
    text = closing(result)
    found = [*([] if text is None else [Line(text)]), *unproven(*_proofs(result))]
    return found if result.interrupted is None else [*found, Line(interrupted(result.interrupted))]


def interrupted(cut: CutShort) -> str:
    """What Ctrl-C cut short, and that what is there is whole."""
    return f"interrupted: {cut.words}; the result is the best that was there, proven like any other"


def interrupted_document(result: Made) -> Document | None:
    """See `CutShort`."""
    cut = result.interrupted
    return None if cut is None else {"what": cut.what, "done_count": cut.done, "of_count": cut.total}


def closing(result: Result) -> str | None:
    """Gain, time and loss in one sentence; then why it is not faster, and what is not known of the answers."""
    after = result.after or result.planned
    if after is None:
        return None
    parts = [_gain(result)]
    if result.timing is not None:
        parts.append(speed_text(result.timing))
    quality = measured(result)
    if quality is not None:
        parts.append(quality)
    sentences = [", ".join(parts)]
    if result.timing is not None:
        sentences.append(why_not(result.timing, result.plan.options) or "")
    sentences.append(warning(result, _gone(result)) or "")
    return ". ".join(sentence[0].upper() + sentence[1:] for sentence in sentences if sentence)


def summary_document(result: Result) -> Document | None:
    """The same as values."""
    after = result.after or result.planned
    if after is None:
        return None
    before, timing, fidelity = result.before, result.timing, result.fidelity
    worst = None if fidelity is None else fidelity.worst_agreement
    return {
        "text": closing(result),
        "work_saved_ratio": saved(before.macs, after.macs),
        "parameters_saved_ratio": saved(before.parameters, after.parameters),
        "file_saved_ratio": saved(before.size_bytes, after.size_bytes),
        "verdict": None if timing is None else timing.verdict,
        "speedup_ratio": None if timing is None else timing.speedup,
        "speedup_interval_ratio": None if timing is None else [timing.low, timing.high],
        "threads_count": None if timing is None else timing.threads,
        "answers": state(result),
        "agreement_ratio": None if worst is None else worst.share,
        "agreement_interval_ratio": None if worst is None else [worst.low, worst.high],
        "output_error_relative": None if fidelity is None else fidelity.worst_error,
        "why_not_faster": None if timing is None else why_not(timing, result.plan.options),
        "warning": warning(result, _gone(result)),
        "proof": _status(result),
    }


def timing_document(found: TimingSummary) -> Document:
    """See `TimingSummary`."""
    return {
        "verdict": found.verdict,
        "speedup_ratio": found.speedup,
        "speedup_interval_ratio": [found.low, found.high],
        "before_s": found.before_s,
        "after_s": found.after_s,
        "threads_count": found.threads,
        "samples_per_inference_count": found.batch,
        "pairs_count": found.pairs,
        "causes": [cause_document(cause) for cause in found.causes],
    }


def cause_document(cause: Cause) -> Document:
    """See `Cause`."""
    return {
        "kind": cause.kind,
        "time_share_ratio": cause.share,
        "layers": list(cause.layers),
        "layers_count": cause.count,
        "step_count": cause.step,
    }


def _gain(result: Result) -> str:
    if isinstance(result, (QuantizeResult, CompressResult)):
        return result.gain
    return work(result.before, result.left, result.sparsity)


def _gone(result: Result) -> float:
    """The share of the work or of the weights that left: rounding takes none away."""
    return 0.0 if isinstance(result, QuantizeResult) else gone(result.before, result.left, result.sparsity)


def _proofs(result: Result) -> list[ProofSummary]:
    """Of the cut, and of the zeros."""
    if isinstance(result, QuantizeResult):
        return [] if result.quantization.equality is None else [result.quantization.equality]
    weights = result.quantization.equality if isinstance(result, CompressResult) and result.quantization else None
    found = (
        weights,
        result.proof if isinstance(result, ShrinkResult) else None,
        None if result.sparsity is None else result.sparsity.proof,
    )
    return [proof for proof in found if proof is not None]


def _status(result: Result) -> str | None:
    """Proven if everything is."""
    if isinstance(result, QuantizeResult) and result.quantization.proof is not None:
        return "proven"
    states = {proof.status for proof in _proofs(result)}
    return None if not states else "proven" if states == {"proven"} else "unproven"
