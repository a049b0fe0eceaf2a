"""The plots of a page. Each takes results and gives a figure with a caption that says units and uncertainty."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnxprune.benching.results import Estimate, Measurement, Profile, SettingResult
from onnxprune.report.bench import setting_text
from onnxprune.report.figures import time_text
from onnxprune.report.html.page import figure, legend
from onnxprune.report.html.plots import INKS, LINES, Plot
from onnxprune.report.shared import shortened
from onnxprune.results import GroupChange, LayerCost, MetricSummary, ModelSummary
from onnxprune.results.error_curves import OUTPUTS, ErrorCurve
from onnxprune.results.units import format_count, format_percent, plural

MOST_BARS = 12
HIGHLIGHTED = 5
LEAST_ERROR = 1e-6


def change(before: ModelSummary, after: ModelSummary) -> str:
    """What is left of parameters, file and MACs."""
    rows = (
        ("parameters", before.parameters, after.parameters),
        ("file size", before.size_bytes, after.size_bytes),
        ("MACs", before.macs, after.macs),
    )
    left = [(name, b / a * 100) for name, a, b in rows if a]
    with Plot("What is left of parameters, file size and MACs, in percent", 1.9) as plot:
        texts = [f"{value:.1f} %" for _, value in left]
        plot.bars([name for name, _ in left], [value for _, value in left], ["kept"] * len(left), texts=texts)
        plot.axes.axvline(100, color=INKS["ink"], linewidth=1, linestyle="--")
        plot.axes.set_xlim(0, max(105.0, *(value * 1.05 for _, value in left)))
        plot.axes.set_xlabel("left of the original (%)")
    return figure(plot.svg, "What is left; the dashed line is the original. Counted, so exact.")


def layer_costs(layers: Sequence[LayerCost]) -> str:
    """MACs of each layer, from the input to the output."""
    found = [layer for layer in layers if layer.macs]
    if not found:
        return ""
    inks = ["pinned" if layer.group is None or layer.pinned else "kept" for layer in found]
    with Plot("MACs of each layer, in the order of the graph", 2.4) as plot:
        total = sum(layer.macs or 0 for layer in found)
        shares = [(layer.macs or 0) / total * 100 for layer in found]
        plot.axes.vlines(
            range(1, len(found) + 1),
            0,
            shares,
            colors=[INKS[ink] for ink in inks],
            linewidth=max(0.8, min(9.0, 200 / len(found))),
        )
        plot.axes.set_ylim(bottom=0)
        plot.axes.locator_params(axis="x", integer=True)
        plot.axes.set_xlabel("layer, in the order of the graph (number)")
        plot.axes.set_ylabel("of all MACs (%)")
    colours = legend((("kept", "its outputs can be removed"), ("pinned", "its outputs stay, or are of several groups")))
    caption = f"Where the {format_count(total)} MACs are. Counted from shapes, so exact."
    return figure(plot.svg + colours, caption)


def error_curves(curves: Sequence[ErrorCurve], groups: Sequence[GroupChange]) -> str:
    """Error against the share of a group that leaves: all groups thin, the most sensitive ones with their names."""
    removed = {(group.name, group.size): group.removed for group in groups}
    ranked = sorted(curves, key=lambda curve: -at(curve, curve.size / 2))
    of = curves[0].of
    with Plot("Error against the share of each group that is removed", 3.2) as plot:
        axes = plot.axes
        for curve in reversed(ranked):
            place = ranked.index(curve)
            ink, wide = (LINES[place], 1.6) if place < HIGHLIGHTED else ("pinned", 0.7)
            x = np.array(curve.counts) / curve.size * 100
            y = np.maximum(np.array(curve.errors) * 100, LEAST_ERROR * 100)
            axes.plot(x[1:], y[1:], color=INKS[ink], linewidth=wide)
            if place < HIGHLIGHTED:
                axes.plot(
                    [count / curve.size * 100 for count, _ in curve.measured],
                    [max(error, LEAST_ERROR) * 100 for _, error in curve.measured],
                    linestyle="",
                    marker="o",
                    markersize=4,
                    color=INKS[ink],
                )
            gone = removed.get((curve.group, curve.size), 0)
            if gone:
                axes.plot(
                    [gone / curve.size * 100],
                    [max(at(curve, gone), LEAST_ERROR) * 100],
                    marker="x",
                    markersize=5,
                    color=INKS["ink"] if place >= HIGHLIGHTED else INKS[ink],
                )
        _logarithmic(plot)
        axes.set_xlim(0, 100)
        axes.set_xlabel("removed from the group (% of its channels)")
        axes.set_ylabel("error of the outputs (% of variance)" if of == OUTPUTS else "error of readers (% of power)")
    entries = [(LINES[k], shortened(c.group, 40)) for k, c in enumerate(ranked[:HIGHLIGHTED])]
    if len(ranked) > HIGHLIGHTED:
        entries.append(("pinned", f"{len(ranked) - HIGHLIGHTED} others"))
    return figure(plot.svg + legend(entries), _curves_caption(curves[0]))


def _curves_caption(curve: ErrorCurve) -> str:
    shown = "Crosses: what this run removed. The layers that read the group are refitted."
    if curve.of == OUTPUTS:
        return (
            f"{shown} Error: of the network's outputs, as a share of their variance, summed over outputs. Dots were "
            f"measured on {plural(curve.samples, 'sample')}; lines follow the error of the readers between them. "
            "One measurement each, so without an interval."
        )
    return (
        f"{shown} Error: as a share of the power of what these layers compute, from the second moments of "
        f"{plural(curve.samples, 'sample')}. One measurement each, so without an interval."
    )


def at(curve: ErrorCurve, count: float) -> float:
    return float(np.interp(count, curve.counts, curve.errors))


def metric_by_macs(metric: MetricSummary, before: ModelSummary, after: ModelSummary | None) -> str:
    """The user's metric against the MACs that are left: of the original, of every trial, of the result."""
    trials = [(trial.macs, trial.value) for trial in metric.trials]
    points = [(before.macs, metric.before), *trials]
    if after is not None and metric.after is not None:
        points.append((after.macs, metric.after))
    if len(points) < 2 or not before.macs:
        return ""
    with Plot("The metric against the MACs that are left", 2.8) as plot:
        axes = plot.axes
        ordered = sorted(points)
        axes.plot(
            [m / before.macs * 100 for m, _ in ordered], [v for _, v in ordered], color=INKS["pinned"], linewidth=0.8
        )
        axes.plot([m / before.macs * 100 for m, _ in trials], [v for _, v in trials], "o", color=INKS["kept"])
        axes.plot([100], [metric.before], "s", color=INKS["ink"])
        if after is not None and metric.after is not None:
            axes.plot([after.macs / before.macs * 100], [metric.after], "D", markersize=8, color=INKS["removed"])
        if metric.max_drop is not None:
            axes.axhline(metric.before - metric.max_drop, color=INKS["ink"], linewidth=0.9, linestyle="--")
        axes.set_xlabel("MACs left (% of the original)")
        axes.set_ylabel(plot.name(metric.name, 30))
    entries = [("ink", "the original"), ("kept", "trials"), ("removed", "the result")]
    shown = [entry for entry in entries if trials or entry[1] != "trials"]
    bound = "" if metric.max_drop is None else f" The dashed line is what --max-drop {metric.max_drop:.4g} allows."
    caption = (
        f"The metric {metric.name}, in its own unit, higher is better: one evaluation each, so only the function knows "
        f"its uncertainty. MACs are counted, so exact.{bound}"
    )
    return figure(plot.svg + legend(shown), caption)


def latencies(found: SettingResult) -> str:
    """The distribution of the times of every model, with intervals of its median and 95th percentile."""
    measured = [one for one in found.measurements if one.quantiles]
    if not measured:
        return ""
    unit, scale = _time_unit(max(one.latency.value for one in measured))
    with Plot(f"Distribution of latency, {setting_text(found.setting)}", 2.9) as plot:
        axes = plot.axes
        for k, one in enumerate(measured):
            colour = INKS[LINES[k % len(LINES)]]
            axes.plot(np.array(one.quantiles) / scale, range(101), color=colour, linewidth=1.5)
            for share, estimate in ((50, one.latency), (95, one.tail)):
                if estimate is not None and np.isfinite([estimate.low, estimate.high]).all():
                    ends = [estimate.low / scale, estimate.high / scale]
                    axes.plot(ends, [share, share], color=colour, linewidth=5, alpha=0.45, solid_capstyle="butt")
        axes.set_xscale("log")
        low = min(one.quantiles[0] for one in measured) / scale
        high = max(max(one.quantiles[99], _high(one)) for one in measured) / scale
        axes.set_xlim(low * 0.95, high * 1.05)
        _plain_ticks(plot, low, high)
        axes.set_ylim(0, 100)
        axes.set_xlabel(f"time of one inference ({unit}, logarithmic)")
        axes.set_ylabel("of all times (%)")
    entries = [(LINES[k % len(LINES)], f"{one.model}: {time_text(one.latency)} p50") for k, one in enumerate(measured)]
    caption = (
        f"{setting_text(found.setting)}: {plural(found.rounds, 'round')}, models in turn. How many of the times are at "
        "most so long. Thick: 95 % intervals of the median and, of enough times, of the 95th percentile. The slowest "
        "1 % may lie to the right."
    )
    return figure(plot.svg + legend(entries), caption)


def _logarithmic(plot: Plot) -> None:
    """A logarithmic y axis, with numbers as people write them: Matplotlib would set them in TeX."""
    plot.axes.set_yscale("log")
    low, high = plot.axes.get_ylim()
    narrow = high < 10 * low  # there may be no power of ten on the axis
    plot.axes.yaxis.set_major_formatter(lambda value, place: f"{value:g}")
    plot.axes.yaxis.set_minor_formatter(lambda value, place: f"{value:g}" if narrow else "")


def _high(one: Measurement) -> float:
    return one.tail.high if one.tail is not None and np.isfinite(one.tail.high) else one.latency.value


def _plain_ticks(plot: Plot, low: float, high: float) -> None:
    """A few numbers on a logarithmic axis, as people write them."""
    ticks = np.geomspace(low, high, 5) if high > low else np.array([low])
    shown = [float(f"{tick:.2g}") for tick in ticks]
    plot.axes.set_xticks(shown, [f"{tick:g}" for tick in shown])
    plot.axes.set_xticks([], minor=True)


def operators(profile: Profile, largest: float) -> str:
    """Time in kernels of each type, with intervals. `largest`: the end of the axis (s), for all models."""
    shown = profile.operators[:MOST_BARS]
    if not shown:
        return ""
    unit, scale = _time_unit(largest)
    with Plot(f"Time per operator of {shortened(profile.model)}", 0.75 + 0.36 * len(shown)) as plot:
        values = [one.time.value / scale for one in shown]
        ranges = [_ends(one.time, scale) for one in shown]
        texts = [f"{time_text(one.time)}" for one in shown]
        plot.bars([one.operator for one in shown], values, ["kept"] * len(shown), ranges, texts)
        plot.axes.set_xlim(0, largest / scale * 1.05)
        plot.axes.set_xlabel(f"time in kernels per inference ({unit})")
    rest = len(profile.operators) - len(shown)
    caption = (
        f"{profile.model}: {time_text(profile.total)} in kernels, median of {plural(profile.runs, 'run')}, with 95 % "
        f"intervals; a profiled run is slower than others.{f' {rest} more operators in the table.' if rest else ''}"
    )
    return figure(plot.svg, caption)


def largest_operator(profiles: Sequence[Profile]) -> float:
    """The upper end of the longest bar of all, in seconds."""
    return max((_ends(one.time, 1.0)[1] for p in profiles for one in p.operators), default=1.0)


def _ends(found: Estimate, scale: float) -> tuple[float, float]:
    low = found.low if np.isfinite(found.low) else found.value
    high = found.high if np.isfinite(found.high) else found.value
    return low / scale, high / scale


def _time_unit(seconds: float) -> tuple[str, float]:
    return ("s", 1.0) if seconds >= 1 else ("ms", 1e-3) if seconds >= 1e-3 else ("us", 1e-6)


def repairs(names: Sequence[str], before: Sequence[float], after: Sequence[float], *, first: str = "as cut") -> str:
    """Error of each refitted layer, `first` and as refitted, in the order of the graph."""
    places = range(1, len(names) + 1)
    with Plot("Held-out error of each repaired layer, before and after", 2.6) as plot:
        axes = plot.axes
        axes.plot(places, [max(v, LEAST_ERROR) * 100 for v in before], "o", markersize=3.5, color=INKS["removed"])
        axes.plot(places, [max(v, LEAST_ERROR) * 100 for v in after], "o", markersize=3.5, color=INKS["kept"])
        _logarithmic(plot)
        axes.locator_params(axis="x", integer=True)
        axes.set_xlabel("repaired layer, in order (number)")
        axes.set_ylabel("error (% of its target)")
    worst = max(after)
    caption = (
        f"Error on held-out samples, relative to the layer's target; the largest left is {format_percent(worst)}. "
        "One measurement each, so without an interval."
    )
    return figure(plot.svg + legend((("removed", first), ("kept", "repaired"))), caption)
