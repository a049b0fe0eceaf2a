"""The last line of a run: what was gained, what was lost, how sure that is, and what to do where it is not enough."""

from __future__ import annotations

from onnxprune.report.answers import Result, measured, state, warning
from onnxprune.report.blocks import Line
from onnxprune.report.document_parts import Document
from onnxprune.report.shared import unproven
from onnxprune.report.speed import speed_text, why_not
from onnxprune.results import Cause, ModelSummary, ProofSummary, ShrinkResult, TimingSummary

NOTICED = 0.005  # less is nothing


def closing_lines(result: Result) -> list[Line]:
    """The last line, if a model was written, or would be; and one more if it is unproven."""
    text = closing(result)
    return [*([] if text is None else [Line(text)]), *unproven(*_proofs(result))]


def closing(result: Result) -> str | None:
    """Gain, time and loss in one sentence; then why it is not faster, and what is not known of the answers."""
    after = result.after or result.planned
    if after is None:
        return None
    parts = [_work(result, after)]
    if result.timing is not None:
        parts.append(speed_text(result.timing))
    quality = measured(result)
    if quality is not None:
        parts.append(quality)
    sentences = [", ".join(parts)]
    if result.timing is not None:
        sentences.append(why_not(result.timing, result.plan.options) or "")
    sentences.append(warning(result, gone(result, after)) or "")
    return ". ".join(sentence[0].upper() + sentence[1:] for sentence in sentences if sentence)


def gone(result: Result, after: ModelSummary) -> float:
    """The share of the work, of the parameters or of the weights that left: the largest."""
    before = result.before
    shares = [_saved(before.macs, after.macs), _saved(before.parameters, after.parameters)]
    if result.sparsity is not None:
        shares.append(_saved(result.sparsity.nonzero_before, result.sparsity.nonzero))
    return max(shares)


def summary_document(result: Result) -> Document | None:
    """The same as values."""
    after = result.after or result.planned
    if after is None:
        return None
    before, timing, fidelity = result.before, result.timing, result.fidelity
    worst = None if fidelity is None else fidelity.worst_agreement
    return {
        "text": closing(result),
        "work_saved_ratio": _saved(before.macs, after.macs),
        "parameters_saved_ratio": _saved(before.parameters, after.parameters),
        "file_saved_ratio": _saved(before.size_bytes, after.size_bytes),
        "verdict": None if timing is None else timing.verdict,
        "speedup_ratio": None if timing is None else timing.speedup,
        "speedup_interval_ratio": None if timing is None else [timing.low, timing.high],
        "threads_count": None if timing is None else timing.threads,
        "answers": state(result),
        "agreement_ratio": None if worst is None else worst.share,
        "agreement_interval_ratio": None if worst is None else [worst.low, worst.high],
        "output_error_relative": None if fidelity is None else fidelity.worst_error,
        "why_not_faster": None if timing is None else why_not(timing, result.plan.options),
        "warning": warning(result, gone(result, after)),
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


def _proofs(result: Result) -> list[ProofSummary]:
    """Of the cut, and of the zeros."""
    found = (
        result.proof if isinstance(result, ShrinkResult) else None,
        None if result.sparsity is None else result.sparsity.proof,
    )
    return [proof for proof in found if proof is not None]


def _status(result: Result) -> str | None:
    """Proven if everything is."""
    states = {proof.status for proof in _proofs(result)}
    return None if not states else "proven" if states == {"proven"} else "unproven"


def _work(result: Result, after: ModelSummary) -> str:
    before = result.before
    less, unknown = _saved(before.macs, after.macs), max(before.uncounted, after.uncounted)
    if less >= NOTICED:
        return f"{_percent(less)} less work" + (", as far as it can be counted" if unknown else "")
    same = "work that cannot be counted" if unknown else "as much work"
    zeros = 0.0 if result.sparsity is None else _saved(result.sparsity.nonzero_before, result.sparsity.nonzero)
    fewer = _saved(before.parameters, after.parameters)
    if zeros > max(fewer, NOTICED):
        return f"{_percent(zeros)} fewer weights that are not zero, {same}"
    if fewer >= NOTICED:
        return f"{_percent(fewer)} fewer parameters, {same}"
    return same if unknown else f"{same} as before"


def _saved(before: float, after: float) -> float:
    return 1 - after / before if before > 0 else 0.0


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %" if share >= 0.095 else f"{share * 100:.2g} %"
