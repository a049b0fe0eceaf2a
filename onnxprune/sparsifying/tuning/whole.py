"""The network as a whole: layers timed alone mislead, since conversions between layouts hang on the neighbours.

A few sets of layers are run in turn with the dense network; the fastest is improved, greedily: layers that are neither
clearly faster nor clearly slower by themselves, or that have a neighbour to which it matters, change sides, all of one
kind together. What is not surely faster than the dense network in the end is not chosen.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from onnxprune.benching import rounds
from onnxprune.benching.preemption import Samples, paired
from onnxprune.benching.results import FASTER, Estimate
from onnxprune.benching.statistics import MARGIN as SAME
from onnxprune.benching.statistics import verdict
from onnxprune.capture.samples import facts_for
from onnxprune.errors import ModelError
from onnxprune.measure.files import as_file
from onnxprune.measure.latency.runtime import Feed
from onnxprune.measure.timing import timed_session
from onnxprune.model.load import Model
from onnxprune.proof.inputs import feed as drawn
from onnxprune.results.system import usable_cores
from onnxprune.sparse.masks import Mask
from onnxprune.sparse.patterns import Pattern
from onnxprune.sparse.rewrite import rewrite
from onnxprune.sparsifying.tuning.cache import Cache, environment
from onnxprune.sparsifying.tuning.choose import MARGIN, Choice, as_choice, choose
from onnxprune.sparsifying.tuning.depthwise import neighbours
from onnxprune.sparsifying.tuning.edges import at_edges
from onnxprune.sparsifying.tuning.masks import random_mask
from onnxprune.sparsifying.tuning.pieces import Piece, pieces
from onnxprune.sparsifying.tuning.times import LayerTimes, Steps, layer_times
from onnxprune.trace.groups import Trace

SECONDS = 5.0
TRIAL_SHARE = 0.4  # of them for a trial
PATIENCE = 3
TRIALS = 6
DOUBTFUL = 0.25
"""A layer is worth a trial if alone the two ways differ by less than this share,"""
NOTEWORTHY = 0.01
"""and all of its kind take at least this share of the network's time."""


@dataclass(frozen=True)
class Tried:
    """A choice, what it was called, and the measured whole: time against the dense network, and milliseconds."""

    name: str
    choice: Choice
    ratio: Estimate
    ms: float

    @property
    def speedup(self) -> float:
        return 1 / self.ratio.value


@dataclass(frozen=True)
class Selection:
    """`choice`: what to do; `best`: what it was judged by, the fastest of what was `tried` against the dense network
    (None if nothing had to be); `times`: of the layers alone.
    """

    choice: Choice
    best: Tried | None
    tried: tuple[Tried, ...]
    times: Mapping[str, LayerTimes]


def select(
    traced: Trace,
    sparsity: float,
    patterns: Sequence[Pattern],
    *,
    threads: int = 0,
    cache: Path | None = None,
    progress: Steps | None = None,
    feed: Feed | None = None,
    weights: Sequence[str] | None = None,
    margin: float = MARGIN,
    seconds: float = SECONDS,
) -> Selection:
    """Time the layers one by one, choose, and judge the choice in the whole network; see `layer_times`.

    `feed` is what the network is run on, drawn numbers if it is None. `seconds`: for the comparison of whole networks.
    Raises ModelError if the network cannot be run.
    """
    times = layer_times(
        traced, sparsity, patterns, threads=threads, cache=cache, progress=progress, feed=feed, weights=weights
    )
    given = feed or drawn(traced.graph, traced.facts.inputs, 0, 1.0)
    judge = Judge(traced, sparsity, given, threads, Cache(cache, environment(threads)))
    alone = as_choice(choose(times, margin))
    if not alone.patterns:
        return Selection(alone, None, (), times)
    try:
        tried = _search(judge, times, alone, seconds)
    finally:
        judge.cache.save()
    best = _best(tried)
    sure = verdict(best.ratio) == FASTER
    return Selection(best.choice if sure else _nothing(alone, best), best, tuple(tried), times)


def _best(tried: Sequence[Tried]) -> Tried:
    """The one that is fastest even if it was lucky."""
    return min(tried, key=lambda one: one.ratio.high)


def _nothing(alone: Choice, best: Tried) -> Choice:
    low, high = 1 / best.ratio.high, 1 / best.ratio.low
    reason = f"the network as a whole is not surely faster: {best.speedup:.2f}x, between {low:.2f} and {high:.2f}x"
    return Choice({}, {**dict.fromkeys(alone.patterns, reason), **alone.dense})


def _search(judge: Judge, times: Mapping[str, LayerTimes], alone: Choice, seconds: float) -> list[Tried]:
    """All that was tried against the dense network."""
    tried = judge.race(_starts(judge, times, alone), seconds)
    first = _best(tried)
    best = first.choice
    for kind in _doubtful(times, first.ms, judge.edges)[:TRIALS]:
        other = _flipped(times, best, kind)
        (trial,) = judge.race({"trial": other}, seconds * TRIAL_SHARE, best)
        if verdict(trial.ratio) == FASTER:
            best = other
    if best != first.choice:
        tried += judge.race({f"{first.name}, improved": best}, seconds)
    return tried


def _starts(judge: Judge, times: Mapping[str, LayerTimes], alone: Choice) -> dict[str, Choice]:
    every = {weight: _fastest(layer) for weight, layer in times.items() if layer.sparse_ms}
    rest = {weight: layer.reason or "" for weight, layer in times.items() if not layer.sparse_ms}
    found = {
        "layers that are faster alone": replace(alone, depthwise=judge.beside(alone.patterns)),
        "the same, depthwise layers dense": alone,
        "all layers": Choice(every, rest, judge.beside(every)),
    }
    first: dict[str, Choice] = {}
    for name, choice in found.items():
        if choice.operators not in [other.operators for other in first.values()]:
            first[name] = choice
    return first


def _fastest(layer: LayerTimes) -> Pattern:
    return min(layer.sparse_ms, key=lambda pattern: layer.sparse_ms[pattern])


def _doubtful(times: Mapping[str, LayerTimes], whole_ms: float, edges: Collection[str]) -> list[str]:
    """Kinds of layers about which timing alone says little: first those of which one is at the `edges` (weights), the
    ones that take most time first.
    """
    total: dict[str, float] = {}
    outer = set()
    for weight, layer in times.items():
        if not layer.sparse_ms:
            continue
        if weight in edges:
            outer.add(layer.kind)
        if weight in edges or abs(layer.sparse_ms[_fastest(layer)] / layer.dense_ms - 1) < DOUBTFUL:
            total[layer.kind] = total.get(layer.kind, 0.0) + layer.dense_ms
    kinds = [kind for kind, ms in total.items() if ms > NOTEWORTHY * whole_ms]
    return sorted(kinds, key=lambda kind: (kind not in outer, -total[kind]))


def _flipped(times: Mapping[str, LayerTimes], choice: Choice, kind: str) -> Choice:
    """All layers of a kind change sides."""
    patterns, dense = dict(choice.patterns), dict(choice.dense)
    for weight, layer in times.items():
        if layer.kind != kind:
            continue
        if weight in patterns:
            del patterns[weight]
            dense[weight] = "the network as a whole is faster if it stays dense"
        else:
            patterns[weight] = _fastest(layer)
            dense.pop(weight, None)
    return replace(choice, patterns=patterns, dense=dense)


class Judge:
    """Runs networks with random masks of a choice in turn with the dense one, or with another choice."""

    def __init__(self, traced: Trace, sparsity: float, feed: Feed, threads: int, cache: Cache) -> None:
        self._model, self._sparsity, self._feed, self._threads = traced.graph.model, sparsity, feed, threads
        self.cache, self._graph = cache, traced.graph
        self._facts = facts_for(traced, {name: array.shape for name, array in feed.items()})
        self._found = pieces(traced.graph, self._facts)
        self.edges = at_edges(traced.graph, self._found)
        self._pieces = {piece.weight: piece for piece in self._found if isinstance(piece, Piece)}
        weights = sorted((name, tensor.shape) for name, tensor in self._model.tensors.items())
        text = self._model.proto.SerializeToString(deterministic=True) + repr((weights, self._facts.inputs)).encode()
        self._network = hashlib.sha256(text).hexdigest()

    def beside(self, sparse: Collection[str]) -> tuple[str, ...]:
        return neighbours(self._graph, self._found, sparse)

    def race(self, choices: Mapping[str, Choice], seconds: float, reference: Choice | None = None) -> list[Tried]:
        """Raises ModelError if the runtime cannot run one of them."""
        keys = {name: self._key(choice, reference) for name, choice in choices.items()}
        new = {name: choice for name, choice in choices.items() if self.cache.get(keys[name], 4) is None}
        if new:
            samples = self._samples([reference, *new.values()], seconds)
            for k, name in enumerate(new, start=1):
                ratio = paired(samples, k, 0).ratio
                numbers = (ratio.value, ratio.low, ratio.high, 1e3 * float(np.median(samples.corrected[:, k])))
                self.cache.put(keys[name], numbers, "a whole network: time / reference, its interval, ms")
        tried = []
        for name, choice in choices.items():
            value, low, high, ms = self.cache.get(keys[name], 4) or ()
            tried.append(Tried(name, choice, Estimate(value, low, high), ms))
        return tried

    def _key(self, choice: Choice, reference: Choice | None) -> str:
        said = [
            [(w, str(p)) for w, p in sorted(c.patterns.items())] + list(c.depthwise) for c in (choice, reference) if c
        ]
        text = f"{self._network} {self._sparsity:.6g} {said!r}"
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def _samples(self, choices: Sequence[Choice | None], seconds: float) -> Samples:
        """Longer, by PATIENCE, if it is not decided which of them are faster than the first."""
        with contextlib.ExitStack() as stack:
            paths = [stack.enter_context(as_file(self._built(choice))) for choice in choices]

            def subject(path: Path) -> rounds.Subject:
                session = timed_session(path, self._threads)
                return lambda _: session.run(None, self._feed)

            def subjects() -> list[rounds.Subject]:
                return [subject(path) for path in paths]

            try:
                found = self._measured(subjects, seconds)
                return found if _decided(found) else self._measured(subjects, PATIENCE * seconds)
            except Exception as error:  # onnxruntime raises many types
                raise ModelError(
                    f"the network cannot be run to be timed: {error}", hint="Give inputs that it accepts with --data."
                ) from error

    def _measured(self, subjects: rounds.Renew, seconds: float) -> Samples:
        found = rounds.measure(subjects, 1, seconds=seconds, rounds=None, seed=0)
        return Samples(found.times, found.waited, found.cpu, found.blocks, self._threads or usable_cores())

    def _built(self, choice: Choice | None) -> Model:
        if choice is None:
            return self._model
        masks: dict[str, Mask] = {}
        for weight, pattern in choice.patterns.items():
            piece = self._pieces[weight]
            masks[weight] = random_mask(piece.shape, pattern, self._sparsity, transposed=piece.transposed)
        return rewrite(self._model, masks, depthwise=choice.depthwise).model


def _decided(samples: Samples) -> bool:
    """Whether the interval of the one that seems fastest does not hold 1, or is narrow."""
    ratios = [paired(samples, k, 0).ratio for k in range(1, samples.times.shape[1])]
    best = min(ratios, key=lambda ratio: ratio.value)
    return not best.low <= 1 <= best.high or best.high / best.low < 1 + 2 * SAME
