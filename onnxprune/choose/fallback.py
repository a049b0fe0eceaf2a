"""Groups that samples cannot judge, judged by their weights: where a choice by error needs them.

Samples judge a group by the layers that read it, which are refitted. Where none of these has a plain weight at the top
level (it is quantised, or inside of a branch), or none of its rows came up, nothing but biases makes up for what
leaves. Then units leave in the order of their weights, and the error is that of the outputs with some of them masked;
between these points it follows the share of the weights' energy that leaves. Where the outputs show nothing of it, that
share stands for the error, in units of what the outputs feel of the other groups on average.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnxprune.capture.rows import NO_ROWS
from onnxprune.capture.sensitivity import LEAST, rescaled
from onnxprune.choose.allocate import GroupScores
from onnxprune.choose.allocate.widths import removal_order
from onnxprune.choose.blocks.measure import OutputErrors
from onnxprune.choose.criteria import Batches, scores_of
from onnxprune.choose.ranking import NO_SCORE, Options, Ranking, entries_of
from onnxprune.choose.score.consumers import Removal
from onnxprune.choose.score.registry import FloatArray
from onnxprune.model.read_numbers import OF_INTEGERS
from onnxprune.results.providers import Threads
from onnxprune.results.units import plural
from onnxprune.trace.groups import Group, Trace

BY_WEIGHTS = "l1"  # judges every group that has weights; no reader has to be known
NO_READER = "no layer with a plain weight reads it, so nothing could make up for it"
INTEGERS = "what reads it computes with integers, which samples do not judge"
INSIDE = "what reads it is inside of a branch or a loop, where samples do not show values"
UNJUDGED = frozenset({NO_READER, INTEGERS, INSIDE, NO_ROWS, NO_SCORE})
TRIALS = (0.25, 0.5)  # shares of a group at which the outputs are looked at
SHOWN = 3  # groups that a note names


@dataclass(frozen=True)
class Extended:
    """A ranking with the groups that weights judge behind the others; `removals` and `felt` are those of all."""

    ranking: Ranking
    removals: list[Removal]
    felt: list[FloatArray]
    notes: tuple[str, ...] = ()


def unread(trace: Trace, group: Group, *, has_rows: bool) -> str:
    """Why no layer is known that could make up for what leaves."""
    if not has_rows:
        return NO_ROWS
    readers = [trace.graph.nodes[c.node] for c in trace.closings if np.isin(c.labels, group.units).any()]
    if any(node.scope for node in readers):
        return INSIDE
    return INTEGERS if any(node.op_type in OF_INTEGERS for node in readers) else NO_READER


def extended(
    trace: Trace,
    options: Options,
    ranking: Ranking,
    removals: Sequence[Removal],
    felt: Sequence[FloatArray],
    few: Batches,
    threads: Threads = 0,
) -> Iterator[Extended]:
    """With the groups that only weights can judge: with those that the outputs on samples show, then with all; nothing
    if there are none. `felt`: errors (n + 1,) of the outputs; `few` samples to see what the outputs lose.
    """
    waiting = [group for group in trace.prunable if ranking.reasons.get(group.name) in UNJUDGED]
    found = scores_of(trace, waiting, replace(options, criterion=BY_WEIGHTS), None) if waiting else []
    pairs = [(group, scores) for group, scores in zip(waiting, found, strict=True) if scores is not None]
    if not pairs:
        return
    curves = [_removal(one) for one in entries_of(trace, pairs, options)]
    errors = _masked(trace, [group for group, _ in pairs], curves, few, threads)
    seen = [k for k, error in enumerate(errors) if error is not None]
    unit = _unit(removals, felt)
    for places in (seen, range(len(pairs))) if 0 < len(seen) < len(pairs) else (range(len(pairs)),):
        more = [pairs[k] for k in places]
        groups, names = [group for group, _ in more], {group.name for group, _ in more}
        unshown = [pairs[k][0] for k in places if k not in seen]
        lost = [unit * curves[k].errors if (error := errors[k]) is None else error for k in places]
        reasons = {name: why for name, why in ranking.reasons.items() if name not in names}
        yield Extended(
            Ranking([*ranking.groups, *groups], [*ranking.entries, *entries_of(trace, more, options)], reasons),
            [*removals, *(curves[k] for k in places)],
            [*felt, *lost],
            (_note(groups, ranking.reasons), *_unshown(unshown)),
        )


def _removal(group: GroupScores) -> Removal:
    """Units in the order of their weights, and the share of the sum of squares that has left."""
    order = removal_order(group)
    energy = np.asarray(group.scores, np.float64)[order] ** 2
    total = float(energy.sum())
    return Removal(order, np.concatenate([[0.0], np.cumsum(energy) / total if total > 0 else np.zeros(len(order))]))


def _masked(
    trace: Trace, groups: Sequence[Group], curves: Sequence[Removal], few: Batches, threads: Threads
) -> list[FloatArray | None]:
    """Errors (n + 1,) of the outputs without the first units of each group, nothing else changed; None where the
    outputs show nothing of them.
    """
    try:
        measured = OutputErrors(trace, few, threads)
    except Exception:  # too large, or what onnxruntime raises: then the weights alone say
        return [None] * len(groups)
    found: list[FloatArray | None] = []
    for group, curve in zip(groups, curves, strict=True):
        counts = sorted({max(1, round(share * group.size)) for share in TRIALS})
        errors = [measured.without(group.units[curve.order[:count]].tolist()) for count in counts]
        seen = errors[-1] > LEAST and np.isfinite(errors).all()
        found.append(rescaled(curve.errors, counts, errors) if seen else None)
    return found


def _unit(removals: Sequence[Removal], felt: Sequence[FloatArray]) -> float:
    """What the outputs feel of an error of 1 in a layer, in the middle of the groups that samples judge."""
    ratios = [
        float(error[-1] / removal.errors[-1])
        for removal, error in zip(removals, felt, strict=True)
        if removal.errors[-1] > 0 and error[-1] > 0
    ]
    return float(np.median(ratios)) if ratios else 1.0


def _note(groups: Sequence[Group], reasons: dict[str, str]) -> str:
    why = sorted({reasons[group.name] for group in groups}, key=[reasons[g.name] for g in groups].index)
    return (
        f"{plural(len(groups), 'group')} judged by weights ({BY_WEIGHTS}), as samples cannot judge "
        f"{'it' if len(groups) == 1 else 'them'}: {_names(groups)} ({'; '.join(why)})"
    )


def _unshown(groups: Sequence[Group]) -> Iterator[str]:
    """What to know about groups that matter on no sample."""
    if groups:
        yield (
            f"the outputs on the samples show nothing of {plural(len(groups), 'group')}: {_names(groups)}; "
            "if inputs of another kind need what leaves there, give samples of that kind as well, or --exclude"
        )


def _names(groups: Sequence[Group]) -> str:
    more = f" and {len(groups) - SHOWN} more" if len(groups) > SHOWN else ""
    return ", ".join(group.name for group in groups[:SHOWN]) + more
