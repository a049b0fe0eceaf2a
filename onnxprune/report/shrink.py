"""The report of `shrink`."""

from __future__ import annotations

from collections import Counter

from onnxprune.report.blocks import Block, Column, Heading, Line, Report, Table
from onnxprune.report.closing import closing_lines
from onnxprune.report.fidelity import quality_lines
from onnxprune.report.made import changes, made_notes, written_line
from onnxprune.report.shared import (
    STAGES,
    captured,
    measured_rows,
    model_line,
    names,
    proof_text,
    shortened,
    stage_time,
    tolerance_text,
)
from onnxprune.report.sparsity import dense_text, layers_table, rebuilt_row, sparse_rows
from onnxprune.results import (
    BlockChange,
    GroupChange,
    RepairSummary,
    ShrinkResult,
    TargetSummary,
)
from onnxprune.results.units import (
    format_bytes,
    format_count,
    format_latency,
    format_percent,
    format_ratio,
    plural,
)
from onnxprune.results.wording import counted, of_several

_GROUPS = (
    Column("group", code=True),
    Column("before", right=True),
    Column("after", right=True),
    Column("layers", code=True),
)
_LAYERS = (
    Column("layer", code=True),
    Column("error of the cut", right=True),
    Column("after repair (held out)", right=True),
)
_BLOCKS = (
    Column("block", code=True),
    Column("MACs", right=True),
    Column("parameters", right=True),
    Column("nodes", code=True),
)
_STAY = ("stays", "stay")
_KINDS = {"macs": "MACs", "params": "parameters"}


def report(result: ShrinkResult, *, dry_run: bool = False, groups: bool = False) -> Report:
    """What was done, stage by stage, and what came of it. `groups` lists what shrinks and what was refitted."""
    removed = result.plan.removed_count
    blocks: list[Block] = [Heading(model_line(result.before)), stages_table(result)]
    if removed and (groups or dry_run):
        blocks.append(_block_table(result.blocks) if result.plan.units == "blocks" else group_table(result.groups))
    if result.repair is not None and result.repair.layers and groups:
        blocks.append(repaired_table(result.repair, _LAYERS))
    if result.sparsity is not None and groups:
        blocks.append(layers_table(result.sparsity))
    return (*blocks, *changes(result), *made_notes(result, result.proof), *outcome(result, dry_run=dry_run))


def stages_table(result: ShrinkResult) -> Table:
    """What was done, stage by stage."""
    return Table(STAGES, _stages(result), bare=True)


def outcome(result: ShrinkResult, *, dry_run: bool = False) -> Report:
    """The last lines alone: the file, or why there is none, and what it is good for."""
    if not result.plan.removed_count and not result.written:
        line = Line(f"nothing was removed, and no file written: {_nothing(result)}")
    else:
        line = written_line(result, dry_run)
    return (line, *closing_lines(result))


def _nothing(result: ShrinkResult) -> str:
    """Why nothing was removed, in words."""
    if result.sparsity is not None:
        return f"{_no_unit(result)}; and no weights became zero: {dense_text(result.sparsity)}"
    return _no_unit(result)


def _no_unit(result: ShrinkResult) -> str:
    if result.plan.units == "blocks":
        return _no_block(result.blocks)
    if not result.groups:
        return f"the model has no channels that could be removed{_uncounted(result)}"
    if result.target is not None and 0 < result.target.before <= result.target.limit:
        return f"the original meets {result.target.asked} already"
    if any(group.reason is None for group in result.groups):
        return "less than one channel was asked of every group that can shrink"
    return f"no group can shrink ({stays(result.groups)}){_uncounted(result)}"


def _uncounted(result: ShrinkResult) -> str:
    """What is to be said of a target in what cannot be counted."""
    if result.target is None or result.target.before:
        return ""
    return ", and no multiply-accumulates of it can be counted"


def _no_block(blocks: tuple[BlockChange, ...]) -> str:
    if not blocks:
        return "the model has no residual blocks"
    if any(block.reason is None for block in blocks):
        return "less than one block was asked"
    counts = Counter(block.reason for block in blocks)
    return f"no block can leave ({', '.join(f'{count} x {reason}' for reason, count in counts.most_common())})"


def stays(groups: tuple[GroupChange, ...]) -> str:
    """Why groups lost nothing, most frequent reason first: "3 a graph output, 1 excluded"."""
    counts = Counter(group.reason for group in groups if group.reason and not group.removed)
    return ", ".join(f"{count} x {reason}" for reason, count in counts.most_common())


def _stages(result: ShrinkResult) -> tuple[tuple[str, str, str], ...]:
    rows = [("traced", _traced(result), stage_time(result.seconds, "load", "trace"))]
    rows += [("", line, "") for line in _reasons_of_this_run(result.groups)]
    if result.calibration is not None:
        rows.append(("captured", captured(result.calibration), stage_time(result.seconds, "capture")))
    if result.plan.removed_count:
        rows.append(("planned", _planned(result), stage_time(result.seconds, "plan", "cut")))
    if result.repair is not None:
        rows += repaired_rows(result.repair, result.seconds)
    if result.proof is not None:
        rows.append(("verified", proof_text(result.proof), stage_time(result.seconds, "verify")))
        rows.append(("", tolerance_text(result.proof), ""))
    if result.sparsity is not None:
        rows.extend(sparse_rows(result.sparsity, result.seconds))
    rows += measured_rows(quality_lines(result.metric, result.fidelity, result.bounds), result.seconds)
    return tuple(rows)


def repaired_rows(repair: RepairSummary, seconds: dict[str, float]) -> list[tuple[str, str, str]]:
    """Stage, result, time: layer by layer, and all together."""
    alone = repair.method == "reconstruction"
    rows = [] if alone else [("repaired", _repaired(repair), stage_time(seconds, "repair"))]
    if repair.reconstruction is not None:
        stages = ("repair", "rebuild") if alone else ("rebuild",)
        rows.append(rebuilt_row(repair.reconstruction, stage_time(seconds, *stages)))
    return rows


def _traced(result: ShrinkResult) -> str:
    groups, total = result.groups, len(result.blocks)
    if result.plan.units == "blocks":
        leaving = sum(block.removed for block in result.blocks)
        stays = counted(total - leaving, "stay")
        return f"{plural(total, 'residual block')}: {counted(leaving, 'leave')}, {stays}"
    shrinking = sum(1 for group in groups if group.removed)
    rest = counted(len(groups) - shrinking, "stay")
    text = f"{plural(len(groups), 'group')}: {counted(shrinking, 'shrink')}, {rest}"
    return f"{text} (inspect --why)" if any(group.pinned for group in groups) else text


def _reasons_of_this_run(groups: tuple[GroupChange, ...]) -> list[str]:
    """Why groups lost nothing that the model would let go: `inspect` calls them removable."""
    by_reason: dict[str, list[str]] = {}
    for group in groups:
        if group.reason is not None and not group.pinned and not group.removed:
            by_reason.setdefault(group.reason, []).append(group.name)
    return [
        f"{names(tuple(found))} {_STAY[len(found) > 1]}: {of_several(reason, len(found))}"
        for reason, found in by_reason.items()
    ]


def _planned(result: ShrinkResult) -> str:
    reached = f"{format_ratio(result.reached_ratio)} reached"
    text = f"from the plan given, {reached}"
    count, flags = result.searched
    allows = f"{flags} allow{'' if ' and ' in flags else 's'}"
    if count:
        text = f"the largest ratio of {plural(count, 'trial')} that {allows}: {reached}"
    if result.asked_ratio is not None:
        text = f"ratio {format_ratio(result.asked_ratio)} asked, {reached}"
    if result.target is not None:
        text = f"{target_text(result.target)}: ratio {format_ratio(result.reached_ratio)}"
        if count:
            text = f"the most of {plural(count, 'trial')} that {allows}: {text.replace(' asked,', ',')}"
    steps = result.plan.options.get("steps") or 1
    multiple = result.plan.options.get("multiple_of")
    if steps > 1:
        text += f", in {steps} steps"
    return text if multiple in (None, 1) else f"{text} (multiple of {multiple})"


def target_text(target: TargetSummary) -> str:
    """What was asked, and what is left by plan and by measurement."""
    if target.kind in _KINDS:
        left = format_percent(target.planned / max(target.before, 1))
        return f"{target.asked} asked, {left} of the {_KINDS[target.kind]} left"
    if target.kind == "size":
        if target.measured is None:
            return f"{target.asked} asked, {format_bytes(round(target.planned))} planned"
        left = format_percent(target.measured / max(target.before, 1))
        return f"{target.asked} asked, {format_bytes(round(target.measured))} written ({left})"
    text = f"{target.asked} asked, {_latency(target.planned, target.before)} predicted"
    return text if target.measured is None else f"{text}, {_latency(target.measured, target.before)} measured"


def _latency(seconds: float, before: float) -> str:
    return f"{format_latency(seconds)} ({format_percent(seconds / before)})"


def _repaired(repair: RepairSummary) -> str:
    parts = [f"{plural(repair.corrected_layers, 'layer')}, {repair.layerwise}"]
    if repair.worst is not None:
        parts[0] += f", worst residual {format_percent(repair.worst.error_after)} at {shortened(repair.worst.name)}"
    if repair.kept:
        whose = "its" if len(repair.kept) == 1 else "their"
        parts.append(f"{len(repair.kept)} kept {whose} weights, which no fit improved ({names(repair.kept)})")
    by_reason: dict[str, list[str]] = {}
    for layer in repair.skipped:
        by_reason.setdefault(layer.reason, []).append(layer.name)
    parts += [
        f"{len(found)} not: {of_several(reason, len(found))} ({names(tuple(found))})"
        for reason, found in by_reason.items()
    ]
    if repair.bias_corrected:
        parts.append(f"{repair.bias_corrected} of these by bias correction")
    return "; ".join(parts)


def group_table(groups: tuple[GroupChange, ...]) -> Table:
    """Those that shrink."""
    rows = tuple(
        (group.name, str(group.size), str(group.size - group.removed), names(group.layers, 6))
        for group in groups
        if group.removed
    )
    return Table(_GROUPS, rows)


def _block_table(blocks: tuple[BlockChange, ...]) -> Table:
    rows = tuple(
        (
            change.block.name,
            format_count(change.block.macs),
            format_count(change.block.parameters),
            names(change.block.nodes),
        )
        for change in blocks
        if change.removed
    )
    return Table(_BLOCKS, rows)


def repaired_table(repair: RepairSummary, columns: tuple[Column, ...]) -> Table:
    """Refitted layers: name, error of the cut, error after repair."""
    rows = tuple(
        (layer.name, format_percent(layer.error_before), format_percent(layer.error_after)) for layer in repair.layers
    )
    return Table(columns, rows)
