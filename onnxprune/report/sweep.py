"""The report of `sweep`: every point with what it costs and keeps, what dominates it, and why there is none."""

from __future__ import annotations

import math

from onnxprune.report.blocks import Block, Column, Heading, Line, Report, Table
from onnxprune.report.figures import ratio_text, time_text
from onnxprune.report.shared import model_line, notes, shown_path
from onnxprune.results import ModelSummary
from onnxprune.results.units import format_bytes, format_change, format_count, format_macs, format_percent, plural
from onnxprune.sweeping.results import (
    AGREEMENT,
    COSTS,
    ERROR,
    FINISHED,
    LATENCY,
    METRIC,
    ORIGINAL,
    SweepResult,
    SweptPoint,
)

COST_WORDS = {LATENCY: "latency", "size": "size", "macs": "MACs"}
NOT_MEASURED = "-"


def sweep_report(result: SweepResult) -> Report:
    """Everything."""
    blocks: list[Block] = [Heading(model_line(result.original)), Line(summary(result), indent=2)]
    if result.finished:
        blocks += tables(result)
    blocks += [Line(line, indent=2) for line in (*unfinished(result), *explanations(result))]
    blocks += notes(*result.notes, *(() if result.timing is None else result.timing.notes))
    return (*blocks, Line(outcome(result)))


def verdicts(result: SweepResult) -> Report:
    """The points on a frontier, and where they are."""
    best = tuple(Line(f"{point.point.name}: {figures(result, point)}") for point in result.finished if point.frontier)
    return (*best, *(Line(line) for line in unfinished(result)), Line(outcome(result)))


def summary(result: SweepResult) -> str:
    """How many points, by whom, on which samples."""
    reused = sum(point.reused for point in result.points)
    parts = [f"{len(result.finished)} of {len(result.points)} points finished"]
    parts += [f"{reused} of an earlier run"] if reused else []
    text = f"{', '.join(parts)}; computed by {result.where}" if reused < len(result.points) else ", ".join(parts)
    held_out = max((point.outcome.held_out for point in result.finished), default=0)
    return f"{text}; quality on {plural(held_out, 'held-out sample')} of {result.source}" if held_out else text


def tables(result: SweepResult) -> tuple[Table, ...]:
    """What every model costs and keeps, after the original; then how fast it is, and what dominates it."""
    columns = [Column("point", code=True)]
    columns += [Column(name, right=True) for name in ("params", "file", "MACs", *_quality_titles(result))]
    rows = [(ORIGINAL, *_costs(result.original, None), *_quality(result, None))]
    for point in result.finished:
        rows.append((point.point.name, *_costs(point.model, result.original), *_quality(result, point)))
    first = Table(tuple(columns), tuple(rows))
    return (first, *([] if result.timing is None and result.quality is None else [_places(result)]))


def _places(result: SweepResult) -> Table:
    timed, judged = result.timing is not None, result.quality is not None
    columns = [Column("point", code=True)]
    columns += [Column("time (95 % CI)", right=True), Column("by that of the original", right=True)] if timed else []
    columns += [Column("frontier (<: dominated by)")] if judged else []
    rows = []
    if result.timing is not None:
        rows.append((ORIGINAL, time_text(result.timing.median), "1", *([""] if judged else [])))
    for point in result.finished:
        times = [_time(point), _ratio(point)] if timed else []
        rows.append((point.point.name, *times, *([position(point)] if judged else [])))
    return Table(tuple(columns), tuple(rows))


def unfinished(result: SweepResult) -> tuple[str, ...]:
    """Points without a model, and why."""
    lines = []
    for point in result.points:
        why = point.outcome.failure
        if point.outcome.status != FINISHED and why is not None:
            hint = f" ({why.hint})" if why.hint else ""
            lines.append(f"{point.outcome.status}: {point.point.name}: {why.message}{hint}")
    return tuple(lines)


def explanations(result: SweepResult) -> tuple[str, ...]:
    """What the figures are, and how far to trust them."""
    lines = []
    timing = result.timing
    if timing is not None:
        each = "" if timing.samples == 1 else f", {timing.samples} samples an inference"
        lines.append(
            f"time: p50 of one inference on this machine ({timing.cpu}, {timing.runtime}, "
            f"{plural(timing.threads, 'thread')}{each}), all models in turn"
        )
    if any(point.outcome.error is not None for point in result.finished):
        lines.append(
            "output error: the largest of all outputs, relative to theirs; one measurement, without an interval"
        )
    words = {
        METRIC: f"{result.metric_name}, in its own unit, without an interval",
        AGREEMENT: "top-1 agreement with the original",
        ERROR: "the output error, lower is better",
    }
    if result.quality is None:
        lines.append("no frontier: without --data or --metric, nothing says how good the points are")
    else:
        lines.append(f"quality: {words[result.quality]}; <: as good or better at no more of that cost")
    return tuple(lines)


def outcome(result: SweepResult) -> str:
    """The last line."""
    if not result.finished:
        return f"no point gave a model; what is known of them is in {shown_path(result.folder)}"
    return f"{plural(len(result.finished), 'model')} in {shown_path(result.folder)}"


def figures(result: SweepResult, point: SweptPoint) -> str:
    """A point in one line."""
    parts = [format_bytes(point.model.size_bytes), format_macs(point.model.macs)]
    titles = _quality_titles(result)
    parts += [f"{title} {text}" for title, text in zip(titles, _quality(result, point), strict=True)]
    if point.latency is not None:
        parts.append(ratio_text(point.latency.against.ratio, point.latency.against.verdict))
    return ", ".join(parts)


def position(point: SweptPoint) -> str:
    """Of which costs a point is on the frontier, and what dominates it by the others: "size, MACs; latency < NAME"."""
    best = ", ".join(COST_WORDS[cost] for cost in COSTS if cost in point.frontier)
    by_name: dict[str, list[str]] = {}
    for cost in COSTS:
        if cost in point.dominated:
            by_name.setdefault(point.dominated[cost], []).append(COST_WORDS[cost])
    worse = [f"{', '.join(costs)} < {name}" for name, costs in by_name.items()]
    return "; ".join([*([best] if best else []), *worse]) or NOT_MEASURED


def _quality_titles(result: SweepResult) -> list[str]:
    titles = [] if result.metric_name is None else [result.metric_name]
    done = result.finished
    titles += ["agreement (95 % CI)"] if any(point.outcome.agreement for point in done) else []
    return titles + (["output error"] if any(point.outcome.error is not None for point in done) else [])


def _quality(result: SweepResult, point: SweptPoint | None) -> list[str]:
    """The cells of a point, or of the original."""
    found = []
    if result.metric_name is not None:
        value = result.metric_before if point is None else point.metric
        found.append(NOT_MEASURED if value is None else f"{value:.4g}")
    for title in _quality_titles(result)[len(found) :]:
        if point is None:
            found.append(NOT_MEASURED)
        elif title.startswith("agreement"):
            agreement = point.outcome.agreement
            found.append(
                NOT_MEASURED
                if agreement is None
                else f"{format_percent(agreement.share)} ({agreement.low * 100:.1f}-{agreement.high * 100:.1f})"
            )
        else:
            error = point.outcome.error
            found.append(
                NOT_MEASURED if error is None else format_percent(error) if math.isfinite(error) else "infinite"
            )
    return found


def _time(point: SweptPoint) -> str:
    return NOT_MEASURED if point.latency is None else time_text(point.latency.median)


def _ratio(point: SweptPoint) -> str:
    if point.latency is None:
        return NOT_MEASURED
    ratio = point.latency.against.ratio
    digits = 3 if 0.9 < ratio.value < 1.1 else 2
    finite = math.isfinite(ratio.low) and math.isfinite(ratio.high)
    interval = f"{ratio.low:.{digits}f}-{ratio.high:.{digits}f}" if finite else "interval unknown"
    return f"{point.latency.against.verdict}: {ratio.value:.{digits}f}x ({interval})"


def _costs(model: ModelSummary, original: ModelSummary | None) -> list[str]:
    before = original or model
    pairs = [
        (format_count(model.parameters), before.parameters, model.parameters),
        (format_bytes(model.size_bytes), before.size_bytes, model.size_bytes),
        (format_count(model.macs), before.macs, model.macs),
    ]
    return [text if original is None else f"{text} ({format_change(old, new)})" for text, old, new in pairs]
