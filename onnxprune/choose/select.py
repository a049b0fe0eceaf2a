"""Which units leave, with or without data, by a share or to a target.

| criterion | data | scope local | scope global |
| --- | --- | --- | --- |
| weights | no | the same share of every group | the lowest scores of the model |
| weights, activations | yes | the same share of every group | least error of a refit, in the order of scores |
| consumers | yes | the same share of every group | least error |

With a target, local is the smallest share that meets it, and least error is least error per cost. Groups that samples
cannot judge stay, unless a target needs them or there are no others: then their weights judge them (`fallback.py`),
first those that show in the outputs at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from onnxprune.capture.batches import affordable, first_samples, sample_count
from onnxprune.capture.elsewhere import tried
from onnxprune.capture.kept import key_of
from onnxprune.capture.sensitivity import Trial, output_errors, rescaled
from onnxprune.choose.allocate.groups import check_ratio
from onnxprune.choose.allocate.widths import removal_order
from onnxprune.choose.budget import Budget, OutOfReach
from onnxprune.choose.criteria import CONSUMERS, Batches, Steps, family, scores_of
from onnxprune.choose.curves import Curve, by_criterion, by_order, judged_curves, readers_of
from onnxprune.choose.fallback import BY_WEIGHTS, UNJUDGED, Extended, extended, unread
from onnxprune.choose.least_error import Priced, keep_masks, least_error, with_finer
from onnxprune.choose.ranking import (
    Options,
    Ranking,
    Selection,
    allocate,
    chosen,
    entries_of,
    even_blocks,
    ranked,
    selected,
)
from onnxprune.choose.reselect import reselect
from onnxprune.choose.score.consumers.moments import Removal
from onnxprune.choose.score.finite import require_finite
from onnxprune.choose.score.registry import FloatArray
from onnxprune.model.cost import total
from onnxprune.results.crew import crew_for
from onnxprune.results.error_curves import OUTPUTS, READERS, ErrorCurve, error_curve
from onnxprune.results.kept.memory import Memory
from onnxprune.results.progress import watched
from onnxprune.results.providers import Threads
from onnxprune.results.units import format_percent, plural
from onnxprune.trace.groups import Trace

Known = dict[Options, tuple[Extended, list[ErrorCurve]]]
TRIALS = (0.25, 0.5)  # shares of a group at which the effect on the outputs is measured
JUDGED = 64  # samples on which it is
SHARES = 128  # that are tried one after the other
LARGEST_RATIO, PRECISION = 1.0 - 1e-9, 1e-7


def select(
    trace: Trace,
    options: Options,
    batches: Batches | None,
    budget: Budget | None,
    *,
    held_out: int = 0,
    threads: Threads = 0,
    progress: Steps | None = None,
    known: Known | None = None,
) -> Selection:
    """See the table above. `options.ratio` has no effect with a budget. Raises UsageError.

    On the last `held_out` of the batches it is judged what an error in a layer does to the outputs. `known`: where
    errors are kept for other budgets of the same trace and the same batches.
    """
    check_ratio(options.ratio)
    staying = selected(trace, options)
    require_finite(trace, [group for group in trace.prunable if group.name not in staying])
    if batches is not None and (family(options.criterion) == CONSUMERS or options.scope == "global"):
        return _by_error(trace, options, batches, held_out, budget, threads, progress, {} if known is None else known)
    ranking = _ranked(trace, options, batches, threads, progress)
    return chosen(trace, options, ranking) if budget is None else _to_target(trace, options, ranking, budget)


def _ranked(
    trace: Trace, options: Options, batches: Batches | None, threads: Threads, progress: Steps | None
) -> Ranking:
    return ranked(trace, options, lambda g: scores_of(trace, g, options, batches, threads=threads, progress=progress))


def _to_target(trace: Trace, options: Options, ranking: Ranking, budget: Budget) -> Selection:
    """The smallest share that meets the target."""

    def keep_of(found: Selection) -> NDArray[np.bool_]:
        return keep_masks(trace, found.groups, found.keep)

    def cost(found: Selection) -> float:
        return budget.cost(keep_of(found))

    def within(limit: float) -> Selection:
        return with_finer(ranking, options, lambda r: Priced(_smallest(trace, options, r, budget, cost, limit)))

    return budget.settle(within, keep_of)


def _smallest(
    trace: Trace,
    options: Options,
    ranking: Ranking,
    budget: Budget,
    cost: Callable[[Selection], float],
    limit: float,
) -> Selection:
    """The smallest share whose cost is within the limit: by bisection, or one after the other."""
    if budget.stepped:
        wider = None
        for number in range(SHARES):
            found = allocate(trace, replace(options, ratio=number / SHARES), ranking)
            if cost(found) <= limit:
                return found if wider is None else _between(trace, wider, found, budget, limit)
            if wider is None or cost(found) < cost(wider):
                wider = found
    low, high = 0.0, LARGEST_RATIO
    wider = allocate(trace, replace(options, ratio=low), ranking)
    if cost(wider) <= limit:
        return wider
    found = allocate(trace, replace(options, ratio=high), ranking)
    if cost(found) > limit:
        raise OutOfReach(budget, cost(found), _instead(ranking, options))
    while high - low > PRECISION:
        middle = (low + high) / 2
        attempt = allocate(trace, replace(options, ratio=middle), ranking)
        if cost(attempt) <= limit:
            found, high = attempt, middle
        else:
            wider, low = attempt, middle
    return _between(trace, wider, found, budget, limit)


def _between(trace: Trace, wider: Selection, narrow: Selection, budget: Budget, limit: float) -> Selection:
    """A step of all groups at once may save far more than needed: only some of them take it, those first that save most
    per unit, of time where that is what the cost is to be spent on.
    """

    def cost(found: Selection) -> float:
        return budget.cost(keep_masks(trace, found.groups, found.keep))

    def worth(found: Selection) -> float:
        spent = budget.worth(keep_masks(trace, found.groups, found.keep))
        return cost(found) if spent is None else spent

    here = worth(wider)

    def with_steps(groups: Sequence[int]) -> Selection:
        masks = [narrow.keep[g] if g in groups else mask for g, mask in enumerate(wider.keep)]
        reasons = dict(narrow.reasons)
        return replace(wider, keep=tuple(even_blocks(trace, list(wider.groups), masks, reasons)), reasons=reasons)

    units = [int(a.sum()) - int(b.sum()) for a, b in zip(wider.keep, narrow.keep, strict=True)]
    saved = [(here - worth(with_steps([g]))) / n if n else 0.0 for g, n in enumerate(units)]
    order = sorted((g for g, n in enumerate(units) if n), key=lambda g: -saved[g])
    fitting = (count for count in range(1, len(order)) if cost(with_steps(order[:count])) <= limit)
    taken = order[: next(fitting, len(order))]
    for g in list(taken):  # the last one may have made others superfluous
        without = [other for other in taken if other != g]
        if without and cost(with_steps(without)) <= limit:
            taken = without
    return with_steps(taken) if taken else narrow


def _by_error(
    trace: Trace,
    options: Options,
    batches: Batches,
    held_out: int,
    budget: Budget | None,
    threads: Threads,
    progress: Steps | None,
    known: Known,
) -> Selection:
    """Groups compete by the error that a refit leaves."""
    batches = affordable(trace.graph.model, total(trace.graph, trace.facts)[0], batches, held_out)
    if options not in known:
        known[options] = _errors(trace, options, batches, held_out, threads, progress)
    everything, shown = known[options]
    ranking, removals, felt = everything.ranking, everything.removals, everything.felt
    few = first_samples(trace.graph.model, batches[len(batches) - held_out :] or batches, JUDGED)
    more = extended(trace, options, ranking, removals, felt, few, threads)
    offers = chain([everything], more) if ranking.groups else chain(more, [everything])
    everything, found = _first_in_reach(trace, options, offers, budget)
    ranking, entries, removals, masks = everything.ranking, everything.ranking.entries, everything.removals, found.keep
    if family(options.criterion) == CONSUMERS:
        counts = [int((~mask).sum()) for mask in masks]
        memory = watched(progress).memory

        def again() -> list[NDArray[np.int64]]:
            return reselect(
                trace,
                ranking.groups,
                removals,
                counts,
                batches,
                criterion=options.criterion,
                threads=threads,
                progress=progress,
            )

        gone = memory.call("reselected", [_key(memory, trace, options), counts], again)
        masks = tuple(_without(e.size, units) for e, units in zip(entries, gone, strict=True))
    reasons = dict(ranking.reasons)
    keep = even_blocks(trace, ranking.groups, list(masks), reasons)
    for group, mask in zip(ranking.groups, keep, strict=True):
        if mask.all():
            reasons.setdefault(group.name, "its removal would cost more than it saves")
    notes = (*found.notes, *everything.notes)
    return Selection(tuple(ranking.groups), tuple(keep), reasons, curves=tuple(shown), notes=notes)


def _key(memory: Memory, trace: Trace, options: Options) -> str:
    """Of what groups of a network cost."""
    return key_of(memory, trace.graph.model, [group.name for group in trace.prunable], repr(options))


def _errors(
    trace: Trace, options: Options, batches: Batches, held_out: int, threads: Threads, progress: Steps | None
) -> tuple[Extended, list[ErrorCurve]]:
    """What removal costs every group, and the same to be shown."""
    ranking, curves = _judged(trace, options, batches, held_out, threads, progress)
    fitted = sample_count(batches[: len(batches) - held_out] or batches)
    shown = [
        error_curve(g.name, c.removal.errors, READERS, fitted) for g, c in zip(ranking.groups, curves, strict=True)
    ]
    removals = [c.removal for c in curves]
    felt = [removal.errors for removal in removals]
    if options.scope == "global":
        felt, shown = _felt(trace, options, ranking, curves, batches, held_out, threads, progress)
    return Extended(ranking, removals, felt), shown


def _first_in_reach(
    trace: Trace, options: Options, offers: Iterable[Extended], budget: Budget | None
) -> tuple[Extended, Selection]:
    """The first offer with which the target is in reach. Raises OutOfReach."""
    problems: list[OutOfReach] = []
    for offer in offers:
        try:
            return offer, _least(trace, options, offer, budget)
        except OutOfReach as problem:
            problems.append(problem)
    raise min(problems, key=lambda problem: problem.least)


def _least(trace: Trace, options: Options, everything: Extended, budget: Budget | None) -> Selection:
    """What stays of each group. Raises OutOfReach."""
    ranking = everything.ranking
    if options.scope == "global":
        return least_error(trace, ranking, everything.felt, options, budget, _instead(ranking, options))
    return chosen(trace, options, ranking) if budget is None else _to_target(trace, options, ranking, budget)


def _judged(
    trace: Trace, options: Options, batches: Batches, held_out: int, threads: Threads, progress: Steps | None
) -> tuple[Ranking, list[Curve]]:
    """Removal curves of all groups that something reads, and these groups ranked in the order of the curves."""
    if family(options.criterion) == CONSUMERS:
        reasons = selected(trace, options)
        groups = [g for g in trace.prunable if g.name not in reasons]
        judge = by_criterion(groups, options.criterion)
    else:
        ranking = _ranked(trace, options, batches, threads, progress)
        groups, reasons = ranking.groups, dict(ranking.reasons)
        judge = by_order([removal_order(e) for e in ranking.entries])
    fit = batches[: len(batches) - held_out] or batches
    shares = TRIALS if options.scope == "global" else ()
    memory = watched(progress).memory

    def measured() -> list[Curve | None]:
        return judged_curves(trace, groups, judge, fit, shares=shares, threads=threads, progress=progress)

    curves = memory.call("curves", _key(memory, trace, options), measured, (Curve, Removal, Trial))
    known = [bool(found) for found in readers_of(trace, groups)]
    unknown = [(g, rows) for g, c, rows in zip(groups, curves, known, strict=True) if c is None]
    reasons.update((g.name, unread(trace, g, has_rows=not rows)) for g, rows in unknown)
    pairs = [(g, c) for g, c in zip(groups, curves, strict=True) if c is not None]
    entries = entries_of(trace, [(g, c.removal.scores()) for g, c in pairs], options)
    return Ranking([g for g, _ in pairs], entries, reasons), [c for _, c in pairs]


def _felt(
    trace: Trace,
    options: Options,
    ranking: Ranking,
    curves: Sequence[Curve],
    batches: Batches,
    held_out: int,
    threads: Threads,
    progress: Steps | None,
) -> tuple[list[FloatArray], list[ErrorCurve]]:
    """Per group the errors (n + 1,) as the outputs of the network feel them, and the same to be shown."""
    judged = batches[len(batches) - held_out :] or batches
    few = first_samples(trace.graph.model, judged, JUDGED)
    memory, trials = watched(progress).memory, [c.trials for c in curves]

    def felt_by_outputs() -> list[list[float]]:
        crew = crew_for(watched(progress).crew, trace.graph.model)
        if crew is not None:
            return tried(trace, trials, few, crew, threads, watched(progress))
        return output_errors(trace, trials, few, threads=threads, progress=progress)

    measured = memory.call("felt", _key(memory, trace, options), felt_by_outputs)
    counts = [[trial.count for trial in curve.trials] for curve in curves]
    for group, gone, errors in zip(ranking.groups, counts, measured, strict=True):
        said = (f"{format_percent(e**0.5)} without {k}" for k, e in zip(gone, errors, strict=True))
        watched(progress).say(f"{group.name}, {group.size} channels, error of the outputs: {', '.join(said)}")
    felt = [
        rescaled(curve.removal.errors, gone, errors)
        for curve, gone, errors in zip(curves, counts, measured, strict=True)
    ]
    shown = [
        error_curve(group.name, errors, OUTPUTS, sample_count(few), list(zip(gone, found, strict=True)))
        for group, errors, gone, found in zip(ranking.groups, felt, counts, measured, strict=True)
    ]
    return felt, shown


def _instead(ranking: Ranking, options: Options) -> str:
    """What judges the groups that stay only because this criterion, or a choice by error, cannot judge them."""
    count = sum(reason in UNJUDGED for reason in ranking.reasons.values())
    if not count:
        return ""
    other = f"--criterion {BY_WEIGHTS} --scope local"
    return f"{plural(count, 'group')} cannot be judged by criterion {options.criterion!r}: try {other}. "


def _without(size: int, gone: NDArray[np.int64]) -> NDArray[np.bool_]:
    mask = np.ones(size, bool)
    mask[gone] = False
    return mask
