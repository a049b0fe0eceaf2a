"""The report of `bench`: verdicts, times, what was fed, and with a profile where the time goes."""

from __future__ import annotations

from collections.abc import Iterable

from onnxprune.benching.results import (
    SAME,
    SLOWER,
    UNDECIDED,
    BenchResult,
    InputUsed,
    LayerChange,
    LayerTime,
    Measurement,
    Outliers,
    Profile,
    ProfileComparison,
    Setting,
    SettingResult,
)
from onnxprune.report.blocks import Block, Column, Heading, Line, Report, Table
from onnxprune.report.figures import (
    comparison_text,
    memory_text,
    rate_text,
    ratio_text,
    seconds_text,
    share_text,
    time_text,
    unresolved_text,
)
from onnxprune.report.shared import notes, shortened
from onnxprune.results.providers import short_provider
from onnxprune.results.units import format_bytes, format_percent, plural

SHOWN_LAYERS = 10
_SPEED = (
    Column("model", code=True),
    Column("latency p50 (95 % CI)", right=True),
    Column("p95 (95 % CI)", right=True),
    Column("samples (95 % CI)", right=True),
)
_START = (
    Column("model", code=True),
    Column("load (range)", right=True),
    Column("first run (range)", right=True),
    Column("peak memory (range)", right=True),
    Column("file", right=True),
)
_LAYERS = (
    Column("layer", code=True),
    Column("kernel"),
    Column("time (95 % CI)", right=True),
)
_CHANGES = (
    Column("layer", code=True),
    Column("before (95 % CI)", right=True),
    Column("after (95 % CI)", right=True),
    Column("change"),
    Column("why"),
)


def bench_report(result: BenchResult) -> Report:
    """Setting by setting; then the profile, the gate, and notes."""
    blocks: list[Block] = [Heading(f"{plural(len(result.models), 'model')}, {result.runtime}, {result.cpu}")]
    blocks += [Line(text, indent=2) for text in (*map(_input, result.inputs), f"values: {result.source}")]
    sizes = {model.name: model.size_bytes for model in result.models}
    for setting in result.settings:
        blocks += _setting(setting, sizes)
    for profile in result.profiles:
        blocks += _profile(profile, alone=len(result.profiles) == 1)
    for comparison in result.profile_comparisons:
        blocks += _layers(comparison)
    reasons = {c.reason: c.reference for s in result.settings for c in s.comparisons if c.reason}
    blocks += notes(*(f"{where}: {reason}" for reason, where in reasons.items()), *result.notes)
    blocks += notes(*(f"{one.model} was left out: {one.reason}" for one in result.rejected))
    blocks += gate_lines(result)
    return tuple(blocks)


def verdicts(result: BenchResult) -> Report:
    """The lines that matter alone: the verdicts, or the latencies where there is nothing to compare."""
    lines = []
    for found in result.settings:
        lines += [Line(comparison_text(c, found.setting.threads)) for c in found.comparisons]
        if not found.comparisons:
            lines += [Line(f"{m.model}: {time_text(m.latency)} p50, 95 % CI") for m in found.measurements]
    return (*lines, *gate_lines(result))


def gate_lines(result: BenchResult) -> list[Line]:
    """What --fail-above found."""
    if result.gate is None:
        return []
    bound = format_percent(result.gate.limit)
    lines = [f"failed: {c.model}: {ratio_text(c.ratio)}, more than {bound} slower" for c in result.gate.failed]
    lines += [
        f"undecided: {c.model}: {ratio_text(c.ratio)}; whether that is more than {bound} slower cannot be told: "
        "measure longer (--seconds)"
        for c in result.gate.undecided
    ]
    return [Line(text) for text in lines or [f"passed: nothing is more than {bound} slower"]]


def _input(used: InputUsed) -> str:
    shape = "x".join(map(str, used.shape)) or "one number"
    chosen = f" ({', '.join(used.chosen)} chosen: --batch, --shape)" if used.chosen else ""
    return f"input {used.name}: {shape} {used.dtype}{chosen}"


def setting_text(setting: Setting) -> str:
    """A setting in words."""
    batch = [] if setting.batch is None else [f"batch {setting.batch}"]
    return ", ".join([plural(setting.threads, "thread"), *batch, short_provider(setting.provider)])


def _setting(found: SettingResult, sizes: dict[str, int]) -> list[Block]:
    rounds = (
        f"{plural(found.rounds, 'round')} in {plural(found.blocks, 'block')}, {plural(found.sessions, 'session')} each"
    )
    blocks: list[Block] = [Heading(f"{setting_text(found.setting)}: {rounds}")]
    for one in found.comparisons:
        blocks.append(Line(comparison_text(one, found.setting.threads), indent=2))
        if one.verdict in (SAME, UNDECIDED) and one.resolution > 0.05:
            blocks.append(Line(unresolved_text(one), indent=4))
    blocks.append(speed_table(found))
    blocks.append(Table(_START, tuple(_start(m, sizes[m.model]) for m in found.measurements)))
    blocks += [Line(_outliers(m), indent=2) for m in found.measurements]
    return blocks


def speed_table(found: SettingResult) -> Table:
    """How fast every model is in one setting."""
    return Table(_SPEED, tuple(_speed(one) for one in found.measurements))


def _speed(found: Measurement) -> tuple[str, ...]:
    tail = "too few times" if found.tail is None else time_text(found.tail)
    return (found.model, time_text(found.latency), tail, rate_text(found.throughput))


def _start(found: Measurement, size_bytes: int) -> tuple[str, ...]:
    peak = memory_text(found.peak_memory)
    return (found.model, time_text(found.load), time_text(found.first_run), peak, format_bytes(size_bytes))


def _outliers(found: Measurement) -> str:
    one: Outliers = found.outliers
    together = "" if found.inferences == 1 else f" of {found.inferences} inferences each"
    slowest = f"the slowest took {seconds_text(one.slowest_s)}, in round {one.slowest_round}"
    count = f"{one.mild + one.severe} of {plural(found.timed, 'time')}{together} are outliers ({one.severe} far out)"
    return f"{found.model}: {count}, {slowest}; {plural(found.warmup, 'inference')} to warm up"


def _profile(found: Profile, *, alone: bool) -> list[Block]:
    columns = (
        Column("operator"),
        Column("kernels", right=True),
        Column("time (95 % CI)", right=True),
        Column("share (95 % CI)", right=True),
    )
    rows = tuple(
        (o.operator, str(o.kernels), time_text(o.time), share_text(o.share)) for o in found.operators[:SHOWN_LAYERS]
    )
    blocks: list[Block] = [
        Heading(f"profile of {found.model}: {time_text(found.total)} in kernels, median of {found.runs} runs"),
        Table(columns, rows),
        _layout(found),
    ]
    if alone:
        blocks.append(Table(_LAYERS, tuple(_layer(one) for one in found.layers[:SHOWN_LAYERS])))
    return blocks


def _layout(found: Profile) -> Line:
    if not found.layout_count:
        return Line("no conversions between layouts", indent=2)
    return Line(f"conversions between layouts: {found.layout_count}, {time_text(found.layout)}", indent=2)


def _layer(one: LayerTime) -> tuple[str, ...]:
    return (shortened(one.layer), one.kernel, time_text(one.time))


def _layers(found: ProfileComparison) -> list[Block]:
    """What got slower, and what takes longest."""
    slower = [change for change in found.changes if change.verdict == SLOWER or change.before is None]
    odd = [change for change in found.changes if change.reason and change not in slower and change.before is not None]
    blocks: list[Block] = [Heading(f"layers: {found.reference} before, {found.model} after")]
    blocks += _changes("slower, or new", slower)
    blocks += _changes("not slower, but in another kernel", odd)
    rest = [change for change in found.changes if change not in slower and change not in odd]
    blocks += _changes("the others", rest)
    return blocks


def _changes(title: str, changes: Iterable[LayerChange]) -> list[Block]:
    found = list(changes)
    if not found:
        return [Line(f"{title}: none", indent=2)]
    shown = f"{title}: {len(found)}" + (f", the longest {SHOWN_LAYERS}" if len(found) > SHOWN_LAYERS else "")
    return [Line(shown, indent=2), Table(_CHANGES, tuple(_change(one) for one in found[:SHOWN_LAYERS]), indent=4)]


def _change(one: LayerChange) -> tuple[str, ...]:
    before = "-" if one.before is None else time_text(one.before.time)
    after = "-" if one.after is None else time_text(one.after.time)
    change = one.verdict if one.ratio is None else f"{one.verdict}, {ratio_text(one.ratio, one.verdict)}"
    return (shortened(one.layer), before, after, change, one.reason or "")
