"""What a crew of workers captures of a network, or tries in it: how it is asked here, and how it is answered there.

Workers have the network and the samples; batches are named, and drawn there again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from onnxprune.capture.batches import first_samples
from onnxprune.capture.features import Linear, linear_layer
from onnxprune.capture.kept import digest_of_feeds, key_of
from onnxprune.capture.moments import Moments
from onnxprune.capture.samples import Samples, features_of
from onnxprune.capture.sensitivity import Trial, output_errors
from onnxprune.capture.shards import Shard, borders, part_of, plus, whole
from onnxprune.capture.walker import Array, Walker
from onnxprune.data.batch import samples_of
from onnxprune.errors import ModelError
from onnxprune.model.graph import Graph
from onnxprune.model.plain import shape_of
from onnxprune.results.crew import Crew
from onnxprune.results.progress import Watch
from onnxprune.results.providers import Threads
from onnxprune.trace.groups import Trace

CAPTURED, TRIED = "captured", "tried"
MOST_BYTES = 1 << 30
"""Of the sums of one shard: more is not worth sending."""
TOGETHER = 4
"""Groups that are tried by one worker: each of them compares with the network as it was, which is run once for all."""
Batches = list[dict[str, Array]]
Part = Mapping[str, Any]


def captured(
    graph: Graph, layers: Sequence[Linear], batches: Batches, crew: Crew, watch: Watch
) -> dict[int, tuple[Moments, float]] | None:
    """By node the moments of the layers over all batches, and what their errors are relative to, as `shards.summed`
    gives them. None where they are better summed up here. Raises ClusterError.
    """
    rows = [samples_of(batch) for batch in batches]
    edges = borders(len(batches))
    if len(edges) < 2 or not layers or _bytes(graph, layers) > MOST_BYTES:
        return None
    key = key_of(watch.memory, graph.model)
    nodes = [layer.node for layer in layers]
    named = _named(batches)
    parts = [{**named, "nodes": nodes, "start": start, "stop": stop} for start, stop in edges]
    slots = [watch.memory.slot("shard", [key, part]) for part in parts]
    there = {number: found[0] for number, slot in enumerate(slots) if (found := slot.load()) is not None}
    missing = [number for number in range(len(parts)) if number not in there]
    total = _Total(len(layers))
    total.take(there)
    for place, found in crew.each(CAPTURED, [parts[number] for number in missing]):
        if not found:
            return None
        number = missing[place]
        slots[number].put(found[0])
        there[number] = found[0]
        total.take(there)
        watch.say(f"shard {number + 1} of {len(parts)} of the samples captured by a worker")
    return total.of(layers, rows)


def capture(trace: Trace, samples: Samples, part: Part, threads: int) -> list[Any]:
    """The answer: per layer its sums over the batches of the part. Raises ValueError, ModelError."""
    fitted = samples.batches[: len(samples.batches) - samples.held_out] or samples.batches
    batches = _drawn(trace, fitted, part)[part["start"] : part["stop"]]
    layers = [_layer(trace.graph, node) for node in part["nodes"]]
    walker = Walker(trace.graph.model, batches, trace.facts.dtypes, threads)
    shards = part_of(trace.graph, walker, layers, part["rows"], part["start"])
    return [_plain(shard) for shard in shards]


def tried(
    trace: Trace, trials: Sequence[Sequence[Trial]], batches: Batches, crew: Crew, threads: Threads, watch: Watch
) -> list[list[float]]:
    """What `output_errors` gives. Raises ClusterError."""
    named = _named(batches)
    chunks = [trials[start : start + TOGETHER] for start in range(0, len(trials), TOGETHER)]
    parts = [
        {**named, "trials": [[(one.count, dict(one.weights)) for one in group] for group in chunk]} for chunk in chunks
    ]
    result: dict[int, list[list[float]]] = {}
    done = 0
    for number, found in crew.each(TRIED, parts):
        result[number] = found[0] if found else output_errors(trace, chunks[number], batches, threads=threads)
        done += len(chunks[number])
        watch(done, len(trials))
    return [errors for number in range(len(chunks)) for errors in result[number]]


def try_out(trace: Trace, samples: Samples, part: Part, threads: int) -> list[list[float]]:
    """The answer: the errors of the trials of the part. Raises ValueError."""
    held_out = samples.batches[len(samples.batches) - samples.held_out :] or samples.batches
    trials = [[Trial(count, weights) for count, weights in group] for group in part["trials"]]
    return output_errors(trace, trials, _drawn(trace, held_out, part), threads=threads)


# ---- inner -----------------------------------------------------------------------------------------------------
class _Total:
    """Sums of shards that are added in their order, whichever comes first."""

    def __init__(self, layers: int) -> None:
        self._moments: list[Moments | None] = [None] * layers
        self._powers: list[float | None] = [None] * layers
        self._counts: list[list[int]] = [[] for _ in range(layers)]
        self._next = 0

    def take(self, there: dict[int, Any]) -> None:
        """Add what is next, and what is there behind it."""
        while self._next in there:
            for number, plain in enumerate(there.pop(self._next)):
                self._add(number, plain)
            self._next += 1

    def _add(self, number: int, plain: Sequence[Any]) -> None:
        gram, cross, target, target_sum, positions, counts, power = plain
        part = Moments(gram, cross, target, target_sum, positions)
        old = self._moments[number]
        if old is None:  # a copy: the part may be waiting to be kept
            whole_sums = Moments(gram.copy(), cross.copy(), target.copy(), target_sum.copy(), positions)
            self._moments[number], self._powers[number] = whole_sums, power
        else:
            plus(old, part)
        self._counts[number] += counts

    def of(self, layers: Sequence[Linear], rows: Sequence[int]) -> dict[int, tuple[Moments, float]] | None:
        """None if a shard took other numbers of positions for granted than there were."""
        if not all(whole(counts, rows) for counts in self._counts):
            return None
        found = {}
        for layer, moments, power in zip(layers, self._moments, self._powers, strict=True):
            assert moments is not None
            found[layer.node] = moments, moments.power if power is None else power
        return found


def _plain(shard: Shard) -> tuple[Any, ...]:
    one = shard.moments
    return one.gram, one.cross, one.target, one.target_sum, one.positions, shard.counts, shard.power


def _bytes(graph: Graph, layers: Sequence[Linear]) -> int:
    """What the sums of all layers take."""
    total = 0
    for layer in layers:
        shape = shape_of(graph, layer.weight)
        features = features_of(layer, shape)
        total += 8 * (layer.groups * (features + 1) ** 2 + (features + 1) * math.prod(shape) // max(features, 1))
    return total


def _layer(graph: Graph, node: int) -> Linear:
    found = linear_layer(graph, graph.nodes[node], shared_bias=True, implied=True)
    if found is None:
        raise ModelError(f"node {node} is no layer")
    return found


def _named(batches: Batches) -> dict[str, Any]:
    """How batches are named: how many samples each has, and what the first and the last hold."""
    return {"rows": [samples_of(batch) for batch in batches], "digest": digest_of_feeds([batches[0], batches[-1]])}


def _drawn(trace: Trace, batches: Batches, part: Part) -> Batches:
    """The first of these batches, which the part names. Raises ValueError if they are others."""
    found = first_samples(trace.graph.model, batches, sum(part["rows"]))
    if not found or _named(found) != {name: part[name] for name in ("rows", "digest")}:
        raise ValueError("the samples make other batches here")
    return found
