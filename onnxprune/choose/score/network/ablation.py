"""s_i = change of the network's outputs when unit i is masked and nothing else changes: the oracle of one removal.

Per output of floating-point numbers, over at most 32 samples, f with everything and f_i without unit i:

    class scores:  mean over rows of  KL(p || p_i) = sum_c p_c (log p_c - log p_i,c)
    other values:  sum (f - f_i)^2 / sum f^2

and the mean over outputs. Class scores are: an output whose last axis has several entries that are not negative and
sum to 1 (p = f), and any other output of rank 2 with several columns (p = softmax f). Outputs of integers, and those
whose shape depends on what is masked, are not compared. A run of the network per unit: the price of an oracle. It is
an oracle of one removal: what several cost together is not the sum, least of all in a residual stream.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.capture.batches import first_samples
from onnxprune.capture.masked import MaskedNetwork
from onnxprune.choose.score.network.registry import Network, network_criterion
from onnxprune.choose.score.registry import FloatArray, Needs
from onnxprune.errors import ModelError, NotFinite

Array = NDArray[Any]
Measure = Callable[[FloatArray, FloatArray], tuple[float, float]]
"""(f, f_i) of one batch -> what is summed over batches, and what the sum is divided by."""
SAMPLES = 32
SUMS_TO_ONE, LEAST_PROBABILITY = 1e-3, 1e-12
FLOATS = frozenset({"float16", "bfloat16", "float32", "float64"})


@network_criterion(
    "ablation", needs=Needs.DATA, source="Molchanov et al., Pruning CNNs for Efficient Inference, ICLR 2017 (oracle)"
)
def ablation(network: Network) -> list[FloatArray]:
    """Change of the network's outputs when a unit is masked: one run of the network per unit."""
    batches = first_samples(network.trace.graph.model, network.batches, SAMPLES)
    runs = MaskedNetwork(network.trace, batches, network.threads)
    whole = list(runs.run(np.zeros(0, np.int64)))
    measures = {k: _measure([outputs[k] for outputs in whole]) for k in range(len(runs.outputs)) if _floats(whole, k)}
    for k in measures:
        if not all(np.isfinite(outputs[k]).all() for outputs in whole):
            raise NotFinite(
                f"the output {runs.outputs[k]!r} holds NaN or infinity on the calibration samples",
                hint="check the samples, and how they are normalised",
            )
    units = [int(unit) for group in network.groups for unit in group.units]
    changes = np.zeros((len(measures), len(units)))
    for number, unit in enumerate(units):
        changes[:, number] = _changes(runs, unit, whole, measures)
        if network.progress is not None:
            network.progress(number + 1, len(units))
    scores = _combined(changes)
    bounds = np.cumsum([group.size for group in network.groups])[:-1]
    return list(np.split(scores, bounds)) if network.groups else []


def _floats(whole: list[list[Array]], output: int) -> bool:
    return all(isinstance(o[output], np.ndarray) and o[output].dtype.name in FLOATS for o in whole)


def _changes(
    runs: MaskedNetwork, unit: int, whole: list[list[Array]], measures: dict[int, Measure]
) -> NDArray[np.float64]:
    """(outputs,) the change of each without one unit; NaN where shapes differ, infinite where it is not finite."""
    total = np.zeros((len(measures), 2))
    for before, after in zip(whole, runs.run(np.array([unit])), strict=True):
        for row, (k, measure) in enumerate(measures.items()):
            if before[k].shape != after[k].shape:
                total[row] = np.nan
            elif not np.isfinite(after[k]).all():
                total[row, 0] += np.inf
            else:
                total[row] += measure(before[k].astype(np.float64), after[k].astype(np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(total[:, 1] == 0, total[:, 0], total[:, 0] / total[:, 1])


def _combined(changes: FloatArray) -> FloatArray:
    """(outputs, units) -> (units,). What turns an output into NaN or infinity counts like the largest change."""
    comparable = changes[~np.isnan(changes).any(axis=1)]
    if not len(comparable):
        raise ModelError(
            "ablation needs an output of floating-point numbers whose shape does not depend on the weights",
            hint="Choose another criterion.",
        )
    finite = np.isfinite(comparable)
    largest = np.where(finite, comparable, 0.0).max(axis=1, initial=0.0)
    return np.asarray(np.where(finite, comparable, largest[:, None]).mean(axis=0), np.float64)


def _measure(values: list[Array]) -> Measure:
    several = all(v.ndim >= 2 and v.shape[-1] > 1 for v in values)
    if several and all((v >= 0).all() and (np.abs(v.sum(axis=-1) - 1) <= SUMS_TO_ONE).all() for v in values):
        return _divergence_of_probabilities
    return _divergence_of_logits if several and all(v.ndim == 2 for v in values) else _squares


def _squares(f: FloatArray, changed: FloatArray) -> tuple[float, float]:
    return float(np.square(f - changed).sum()), float(np.square(f).sum())


def _divergence_of_probabilities(f: FloatArray, changed: FloatArray) -> tuple[float, float]:
    return _divergence(np.log(np.maximum(f, LEAST_PROBABILITY)), np.log(np.maximum(changed, LEAST_PROBABILITY)))


def _divergence_of_logits(f: FloatArray, changed: FloatArray) -> tuple[float, float]:
    return _divergence(_log_softmax(f), _log_softmax(changed))


def _divergence(f: FloatArray, changed: FloatArray) -> tuple[float, float]:
    return float((np.exp(f) * (f - changed)).sum()), float(f[..., 0].size)


def _log_softmax(f: FloatArray) -> FloatArray:
    shifted = f - f.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)), np.float64)
