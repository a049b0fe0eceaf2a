"""How well a result does what the original does, in words."""

from __future__ import annotations

from onnxprune.results import BoundsSummary, Fidelity, MetricSummary, OutputFidelity
from onnxprune.results.units import format_percent, plural


def fidelity_lines(found: Fidelity) -> tuple[str, ...]:
    """Agreement with its interval, where there is one; the error of the outputs, or why nothing was compared."""
    worst = _least_agreement(found)
    of = f" (the worst of {len(found.outputs)} outputs)" if len(found.outputs) > 1 else ""
    lines = []
    if worst is not None and worst.agreement is not None:
        agreement = worst.agreement
        what = "of all values" if worst.relative_error is None else "top-1"
        lines.append(
            f"agreement {format_percent(agreement.share)} {what} with the original, "
            f"{plural(agreement.samples, 'held-out sample')} "
            f"(95 % CI {agreement.low * 100:.1f}-{agreement.high * 100:.1f} %){of}"
        )
    if found.worst_error is not None:
        lines.append(f"output error {format_percent(found.worst_error)}{of}")
    if worst is None:
        reason = next((output.reason for output in found.outputs if output.reason), "there are no outputs")
        on = f" on {plural(found.samples, 'held-out sample')}"
        lines = [f"{line}{on}" for line in lines] + [f"no agreement of classes: {reason}"]
    return tuple(lines)


def quality_lines(
    metric: MetricSummary | None, fidelity: Fidelity | None, bounds: BoundsSummary | None = None
) -> tuple[str, ...]:
    """The metric and the fidelity, where they were measured, and what was asked of it."""
    lines = [] if metric is None else [metric_line(metric)]
    lines += [] if fidelity is None else fidelity_lines(fidelity)
    lines += [] if bounds is None else [f"asked for: {bounds.words}"]
    return tuple(lines)


def metric_line(found: MetricSummary) -> str:
    """The user's metric before and after."""
    if found.after is None:
        return f"{found.name} {found.before:.4g} before"
    text = f"{found.name} {found.before:.4g} before, {found.after:.4g} after"
    return text if found.max_drop is None else f"{text} (may fall by {found.max_drop:.4g})"


def advice(found: Fidelity) -> tuple[str, ...]:
    """Outputs that are not numbers in one of the models only."""
    return tuple(
        f"output {output.name!r}: {plural(output.clashes, 'value')} NaN or infinite in one of the models only"
        for output in found.outputs
        if output.clashes
    )


def _least_agreement(found: Fidelity) -> OutputFidelity | None:
    with_one = [output for output in found.outputs if output.agreement is not None]
    return min(with_one, key=lambda output: output.agreement.share if output.agreement else 1.0, default=None)
