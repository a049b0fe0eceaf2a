"""The page of `sweep`: the frontier of quality against latency, size and MACs, and the commands of every point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxprune.benching.results import Estimate
from onnxprune.options.quantizing import QuantizeOptions
from onnxprune.options.shrinking import SweepOptions
from onnxprune.report.html.command import command, sweep_command
from onnxprune.report.html.heads import sweep_head
from onnxprune.report.html.page import Section, blocks, figure, figures, legend, listed, page, paragraph
from onnxprune.report.html.plots import INKS, LINES, Plot
from onnxprune.report.html.reproduce import reproduce
from onnxprune.report.sweep import explanations, tables, unfinished
from onnxprune.results import ModelSummary
from onnxprune.results.system import Environment
from onnxprune.sweeping.assemble import cost_of, value_of
from onnxprune.sweeping.integers import REBUILT, source_of
from onnxprune.sweeping.points import of_point
from onnxprune.sweeping.results import AGREEMENT, COSTS, ERROR, LATENCY, METRIC, SIZE, Point, SweepResult, SweptPoint

_TITLES = {
    LATENCY: ("latency", "time by that of the original (%)"),
    SIZE: ("file size", "file size (% of the original)"),
    "macs": ("MACs", "MACs (% of the original)"),
}


def sweep_page(result: SweepResult, machine: Environment, commands: Sequence[str]) -> str:
    """The whole document."""
    head = sweep_head(result)
    sections = [_frontier(result), _points(result), reproduce(commands, machine, result.original)]
    return page(head.title, head.lead, sections)


def sweep_commands(options: SweepOptions, model: Any, out: Any, points: Sequence[Point]) -> list[str]:
    """The sweep, then every point alone."""
    found = [sweep_command(options, model, out)]
    for point in points:
        if point.quantized is not None:
            source = source_of(point, points)
            scheme: Any = {"scheme": "static", "device": point.quantized}
            given = {name: getattr(options, name) for name in ("data", "preprocess", "samples", "seed", "max_memory")}
            repair: Any = "reconstruct" if options.repair in REBUILT else "none"
            asked = QuantizeOptions(**scheme, **given, repair=repair)
            file = model if source is None else f"{source.name}.onnx"
            found.append(command(asked, [file, "-o", f"{point.name}.onnx"]))
            continue
        one = of_point(options, ratio=point.ratio, target=point.target, criterion=point.criterion)
        found.append(command(one, [model, "-o", f"{point.name}.onnx"]))
    return found


def _frontier(result: SweepResult) -> Section | None:
    """A plot for each cost that is known."""
    drawn = [_plot(result, cost) for cost in COSTS if result.quality is not None]
    if not any(drawn):
        return None
    note = paragraph(
        "Filled: on the frontier, no other point is as good or better at no more of this cost. Hollow: dominated. "
        "Square: the original. Bars are 95 % intervals; what has none was counted, or measured once.",
        "note",
    )
    return Section("frontier", "Frontier", note + figures(*(one for one in drawn if one)))


def _points(result: SweepResult) -> Section:
    body = blocks(tables(result)) if result.finished else ""
    body += listed([*unfinished(result), *explanations(result), *result.notes])
    if result.timing is not None:
        body += listed(result.timing.notes)
    return Section("points", "Points", body)


def _plot(result: SweepResult, cost: str) -> str:
    """Quality against a cost: points by criterion, the frontier as a line, intervals as bars."""
    shown = [p for p in result.finished if value_of(p, result.quality) is not None and cost_of(p, cost) is not None]
    if not shown or (cost != LATENCY and not _whole(result.original, cost)):
        return ""
    criteria = list(dict.fromkeys(point.point.series for point in shown))
    title, label = _TITLES[cost]
    with Plot(f"{_quality_word(result)} against {title}", 3.2) as plot:
        axes = plot.axes
        _line(result, plot, shown, cost)
        for point in shown:
            colour = INKS[LINES[criteria.index(point.point.series) % len(LINES)]]
            x, y = _share(result, cost_of(point, cost), cost), _quality(result, point)
            filled = cost in point.frontier
            bar: dict[str, Any] = {"color": colour, "linewidth": 1, "alpha": 0.6}
            axes.plot([x.low, x.high], [y.value, y.value], **bar)
            axes.plot([x.value, x.value], [y.low, y.high], **bar)
            face = colour if filled else "none"
            axes.plot([x.value], [y.value], "o", markersize=6, color=colour, markerfacecolor=face)
        best = _of_original(result)
        if best is not None:
            axes.plot([100], [best], "s", markersize=7, color=INKS["ink"])
        axes.set_xlim(left=0)
        axes.set_xlabel(label)
        axes.set_ylabel(plot.name(_quality_label(result), 40))
    names = [(LINES[k % len(LINES)], name) for k, name in enumerate(criteria)]
    return figure(plot.svg + legend([*names, ("ink", "the original")]), _caption(result, cost))


def _line(result: SweepResult, plot: Plot, shown: Sequence[SweptPoint], cost: str) -> None:
    """Through the points of the frontier, by their medians."""
    best = [
        (_share(result, cost_of(p, cost), cost).value, _quality(result, p).value) for p in shown if cost in p.frontier
    ]
    original, sign = _of_original(result), -1 if result.quality == ERROR else 1
    if original is not None and not any(x <= 100 and sign * y >= sign * original for x, y in best):
        best.append((100.0, original))
    best.sort()
    plot.axes.plot([x for x, _ in best], [y for _, y in best], color=INKS["faint"], linewidth=1)


def _whole(original: ModelSummary, cost: str) -> int:
    return original.size_bytes if cost == SIZE else original.macs


def _share(result: SweepResult, found: Estimate | None, cost: str) -> Estimate:
    """A cost in percent of the original's."""
    assert found is not None
    whole = 1 if cost == LATENCY else _whole(result.original, cost)
    low, high = (x if np.isfinite(x) else found.value for x in (found.low, found.high))
    return Estimate(*(x / whole * 100 for x in (found.value, low, high)))


def _quality(result: SweepResult, point: SweptPoint) -> Estimate:
    """The quality of a point with its interval, in the unit of the axis."""
    value = value_of(point, result.quality)
    assert value is not None
    agreement = point.outcome.agreement
    if result.quality == AGREEMENT and agreement is not None:
        return Estimate(value * 100, agreement.low * 100, agreement.high * 100)
    scaled = value if result.quality == METRIC else value * 100
    return Estimate(scaled, scaled, scaled)


def _of_original(result: SweepResult) -> float | None:
    return {METRIC: result.metric_before, AGREEMENT: 100.0, ERROR: 0.0}[result.quality or ERROR]


def _quality_word(result: SweepResult) -> str:
    return {METRIC: "The metric", AGREEMENT: "Agreement", ERROR: "Output error"}[result.quality or ERROR]


def _quality_label(result: SweepResult) -> str:
    words = {METRIC: result.metric_name, AGREEMENT: "agreement with the original (%)", ERROR: "output error (%)"}
    return words[result.quality or ERROR] or ""


def _caption(result: SweepResult, cost: str) -> str:
    quality = {
        METRIC: f"The metric {result.metric_name}, in its own unit, higher is better: one evaluation each.",
        AGREEMENT: "Top-1 agreement with the original on held-out samples, with Wilson's 95 % interval.",
        ERROR: "The largest relative error of an output on held-out samples, lower is better: one measurement each.",
    }[result.quality or ERROR]
    price = "Counted, so exact."
    if cost == LATENCY and result.timing is not None:
        price = (
            f"Time of one inference by that of the original, run in turn on this machine ({result.timing.cpu}), "
            "with its 95 % interval."
        )
    return f"{quality} {price}"
