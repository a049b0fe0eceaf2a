"""What a position inside of a network counts: errors of layers are weighted by what the outputs would show of them.

Most of the map of a detector is background, where the outputs say nothing whatever is a little off; what it finds
stands at a few positions, whose errors a plain mean hardly sees. The weight of a position is

    w = UNIFORM + (1 - UNIFORM) min(f / mean f, MOST),

f the information that the outputs have of it (`capture.fisher`). An output that is as sensitive everywhere, such as a
box, counts where the uneven ones at the same positions say something. Where all information is spread evenly (a
classifier's logits, an image) there are no weights, and nothing to pay for them.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from onnxprune.capture.batches import first_samples, known
from onnxprune.capture.features import residual_partner
from onnxprune.capture.fisher import Information, information, of_channels
from onnxprune.capture.sensitivity import judged, last_layers
from onnxprune.capture.shapes import inferred_shapes
from onnxprune.data.batch import Batch, joined
from onnxprune.model.graph import Graph
from onnxprune.model.load import Model
from onnxprune.results.providers import Threads
from onnxprune.trace.groups import Trace

Array = NDArray[Any]
Floats = NDArray[np.float32]
Feeds = dict[str, Array]
CHANNELS = {"Conv": 1, "ConvTranspose": 1, "Gemm": -1, "MatMul": -1}
UNIFORM, MOST = 0.5, 100.0
EVEN = 0.5  # (sum f)^2 / (n sum f^2) from which on information f of n positions is called even
MEASURED = 32  # samples that scales and means are measured on
SILENT = 1e-3  # of the sensitivity of the most sensitive channel: what is below counts as if it were as much
LEAST = 1e-30
LARGEST_MODEL = 1 << 30


@dataclass(frozen=True)
class Importance:
    """Weights of the positions of `values`, whose mean is 1 or less."""

    values: tuple[str, ...]
    _information: Information
    _scales: Mapping[str, Floats]
    _shares: Mapping[str, Sequence[float]]
    _means: Mapping[str, float]
    _model: Model

    @staticmethod
    def measured(trace: Trace, batches: Sequence[Feeds], threads: Threads = 0) -> Importance | None:
        """From samples. None where all positions count the same, where samples differ in shape, or where it is unknown
        for a logit which of its axes are positions of one sample.
        """
        model = trace.graph.model
        if model.size_bytes > LARGEST_MODEL or all(len(trace.axes(key)) <= 2 for key in judged(trace)):
            return None
        some = [one for b in first_samples(model, list(batches), MEASURED) for one in known(model, b).one_by_one()]
        if len({_shapes(one) for one in some}) != 1:
            return None
        values = _plain_values(trace, some[0])
        logits = {key: values.get(key) for found in last_layers(trace).values() for key in found}
        of_logits = {key: axis for key, axis in logits.items() if axis is not None}
        if not of_logits or len(of_logits) < len(logits):
            return None
        found = information(trace.graph, some[0], of_logits, values, threads)
        if found is None:
            return None
        scales, uneven = _scales(found, of_logits, some)
        if not uneven:
            return None
        shares = _shares(found, scales, uneven)
        means: dict[str, float] = dict.fromkeys(found.values, 0.0)
        for feeds in some:
            for key, told in found.weights(feeds, scales, shares, _signs(feeds)).items():
                means[key] += float(told.mean(dtype=np.float64)) / len(some)
        if not all(math.isfinite(mean) for mean in means.values()):
            return None
        return Importance(found.values, found, scales, shares, means, model)

    def of(self, feeds: Feeds) -> dict[str, Floats]:
        """The weights for a batch; the same sample always gets the same."""
        return self.with_values(feeds)[0]

    def observing(self, keys: Sequence[str]) -> Importance:
        """The same, whose `with_values` gives these, which are among its `values`."""
        return replace(self, _information=self._information.observing(keys))

    def with_values(self, feeds: Feeds) -> tuple[dict[str, Floats], dict[str, Floats]]:
        """The weights for a batch, and what the network gives on it."""
        parts = [self._one(one) for one in known(self._model, feeds).one_by_one()]
        told, seen = ({key: np.concatenate([part[k][key] for part in parts]) for key in parts[0][k]} for k in (0, 1))
        return told, seen

    def _one(self, feeds: Feeds) -> tuple[dict[str, Floats], dict[str, Floats]]:
        told, seen = self._information.weights_and_values(feeds, self._scales, self._shares, _signs(feeds))
        return {key: _weights(one, max(self._means[key], LEAST)) for key, one in told.items()}, seen


def _weights(told: Floats, mean: float) -> Floats:
    """Where it is no number, as much as on average."""
    share = np.nan_to_num(told / np.float32(mean), nan=1.0, posinf=MOST)
    return np.asarray(UNIFORM + (1 - UNIFORM) * np.minimum(share, MOST), np.float32)


def _plain_values(trace: Trace, one: Batch) -> dict[str, int]:
    """The float32 values of `channel_axes` that have a row for every sample, and lose nothing but channels."""
    proto = trace.graph.model.complete_proto()
    first, _ = inferred_shapes(proto, one)
    divisible = not one.fixed
    twice, _ = inferred_shapes(proto, joined([one, one])) if divisible else (first, {})
    found: dict[str, int] = {}
    for key, axis in channel_axes(trace.graph).items():
        shape = first.get(key, ())
        rows = divisible and (shape[:1] != (1,) or twice.get(key) != (2, *shape[1:]))
        if len(shape) < 2 or rows or trace.facts.dtypes.get(key) != TensorProto.FLOAT:
            continue
        labelled = {k for k, labels in enumerate(trace.axes(key)) if labels is not None and labels.any()}
        if labelled <= {axis % len(shape)}:
            found[key] = axis
    return found


def channel_axes(graph: Graph) -> dict[str, int]:
    """The outputs of the layers with weights, and the residual sums behind them, with their axis of channels."""
    found: dict[str, int] = {}
    for node in graph.nodes:
        if node.scope == 0 and not node.domain and node.op_type in CHANNELS and node.inputs[1] in graph.constants:
            partner = residual_partner(graph, node.outputs[0])
            found |= dict.fromkeys([node.outputs[0], *(partner[:1] if partner else ())], CHANNELS[node.op_type])
    return found


def _scales(
    found: Information, logits: Mapping[str, int], some: Sequence[Feeds]
) -> tuple[dict[str, Floats], frozenset[str]]:
    """Factors of the channels, with which their sum is 1 over all positions, and the logits whose positions differ.

    Channels may have other units than those beside them (a box in pixels, a probability), or say nothing on these
    samples (a class that is not there). Dividing each by its mean would count the latter as much as any other, leaving
    all as they are would let units decide: they are divided by the square root of it.
    """
    means: dict[str, Floats] = {}
    for feeds in some:
        for key, slopes in found.sensitivity(feeds, _signs(feeds)).items():
            axis = logits[key] % slopes.ndim
            others = tuple(i for i in range(slopes.ndim) if i != axis)
            mean = slopes.mean(axis=others, keepdims=True).reshape(of_channels(slopes.shape, axis))
            means[key] = means.get(key, np.float32(0)) + np.maximum(mean, LEAST) / len(some)
    scales: dict[str, Floats] = {}
    maps: dict[str, list[Floats]] = {key: [] for key in logits}
    for feeds in some:
        for key, slopes in found.sensitivity(feeds, _signs(feeds)).items():
            roots = np.sqrt(np.maximum(means[key], SILENT * means[key].max()))
            scales[key] = np.asarray(1 / (roots * roots.sum() * found.positions[key]), np.float32)
            maps[key].append((slopes * scales[key]).sum(axis=logits[key]))
    uneven = frozenset(key for key, parts in maps.items() if not _even(np.stack(parts)))
    return scales, uneven


def _shares(found: Information, scales: Mapping[str, Floats], uneven: frozenset[str]) -> dict[str, list[float]]:
    """What logits that are even take over of those beside them that are not: the mean, UNIFORM of 1 mixed in."""
    shares: dict[str, list[float]] = {}
    for key, others in found.beside.items():
        telling = [other for other in others if other in uneven]
        if key not in uneven and telling:
            share = (1 - UNIFORM) / len(telling)
            # the channel sums are 1 / positions on average
            shares[key] = [UNIFORM, *(share * found.positions[other] if other in telling else 0.0 for other in others)]
    return shares


def _even(sensitivities: Floats) -> bool:
    """(feeds, rows, ...) of a logit: whether there are no places, or all of them have about the same."""
    whole = sensitivities.astype(np.float64)
    if math.prod(whole.shape[2:]) == 1:
        return True
    return float(whole.sum()) ** 2 >= EVEN * whole.size * float(np.sum(whole**2))


def _shapes(feeds: Feeds) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple((name, array.shape) for name, array in sorted(feeds.items()))


def _signs(feeds: Feeds) -> np.random.Generator:
    """Random signs that depend on the samples alone, not on what came before."""
    seed = 0
    for _, array in sorted(feeds.items()):
        content = repr(array.tolist()).encode() if array.dtype.kind == "O" else np.ascontiguousarray(array).tobytes()
        seed = zlib.crc32(content, seed)
    return np.random.default_rng(seed)
