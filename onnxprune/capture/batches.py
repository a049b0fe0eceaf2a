"""The first samples of calibration data, for what is too expensive to do on all of it."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from onnxprune.data.specs import input_specs
from onnxprune.model.load import Model

WALKED, LEAST_WALKED = 30_000_000_000, 128  # multiply-accumulates of a walk; samples that are walked in any case
Batches = list[dict[str, NDArray[Any]]]


def first_samples(model: Model, batches: Batches, count: int) -> Batches:
    """Batches of `count` samples in all, or as many as there are. Batches of a size that the model fixes stay whole."""
    divisible = all(spec.batched for spec in input_specs(model))
    result: Batches = []
    for batch in batches:
        if count <= 0:
            break
        rows = sample_count([batch])
        result.append({name: array[:count] for name, array in batch.items()} if divisible else batch)
        count -= rows
    return result


def affordable(model: Model, macs: int, batches: Batches, held_out: int) -> Batches:
    """The batches with fewer of the samples that are fitted if walking a network of `macs` over all would take long.

    Positions are sampled, too, so more samples add little.
    """
    fitted = batches[: len(batches) - held_out]
    if not held_out or not fitted:
        return batches
    return [*first_samples(model, fitted, max(LEAST_WALKED, WALKED // max(macs, 1))), *batches[len(fitted) :]]


def sample_count(batches: Batches) -> int:
    """How many samples there are in all."""
    return sum(max(array.shape[0] if array.ndim else 1 for array in batch.values()) for batch in batches)
