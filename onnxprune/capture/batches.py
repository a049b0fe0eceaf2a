"""The first samples of calibration data, for what is too expensive to do on all of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from onnxprune.data.batch import Batch, samples_of
from onnxprune.data.specs import input_specs
from onnxprune.model.load import Model

WALKED, LEAST_WALKED = 30_000_000_000, 128  # multiply-accumulates of a walk; samples that are walked in any case
Batches = list[dict[str, NDArray[Any]]]


def known(model: Model, feed: Mapping[str, NDArray[Any]]) -> Batch:
    """A feed that says where its samples are: what the model declares, where it does not say it itself."""
    if isinstance(feed, Batch):
        return feed
    specs = input_specs(model)
    axes = {spec.name: spec.axis if spec.batched else None for spec in specs}
    return Batch(feed, axes, samples=samples_of(feed), fixed=not all(spec.batched for spec in specs))


def first_samples(model: Model, batches: Batches, count: int) -> Batches:
    """Batches of `count` samples in all, or as many as there are. Batches of a size that the model fixes stay whole."""
    result: Batches = []
    for batch in batches:
        if count <= 0:
            break
        whole = known(model, batch)
        result.append(whole.take(0, count))
        count -= whole.samples
    return result


def affordable(model: Model, macs: int, batches: Batches, held_out: int) -> Batches:
    """The batches with fewer of the samples that are fitted if walking a network of `macs` over all would take long.

    Positions are sampled, too, so more samples add little.
    """
    fitted = batches[: len(batches) - held_out]
    if not held_out or not fitted:
        return batches
    return [*first_samples(model, fitted, max(LEAST_WALKED, WALKED // max(macs, 1))), *batches[len(fitted) :]]


def sample_count(batches: Sequence[Mapping[str, NDArray[Any]]]) -> int:
    """How many samples there are in all."""
    return sum(map(samples_of, batches))
