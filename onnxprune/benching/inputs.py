"""What the models are fed: sizes that are given or chosen (and said), values from data or seeded noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.benching.options import Sizes
from onnxprune.benching.results import InputUsed
from onnxprune.data import Calibration, InputSpec, input_specs
from onnxprune.data.batch import Batch
from onnxprune.data.specs import type_name
from onnxprune.errors import DataError, UsageError, did_you_mean
from onnxprune.model.graph import build
from onnxprune.model.infer import infer
from onnxprune.model.load import Model
from onnxprune.model.sizes import input_shapes
from onnxprune.proof.inputs import feed, larger_size

Feed = dict[str, NDArray[Any]]
MOST_FEEDS = 16
MOST_BYTES = 1 << 28  # of all feeds of one setting


@dataclass(frozen=True)
class Fed:
    """The feeds of one model in one setting. `samples`: how many one feed holds. `notes`: what was made up for."""

    feeds: tuple[Feed, ...]
    samples: int
    used: tuple[InputUsed, ...]
    source: str
    notes: tuple[str, ...] = ()


def check_shapes(given: Sizes, models: Sequence[Model]) -> None:
    """Raise UsageError for a name that is neither an input nor a symbolic size of any model."""
    known: dict[str, None] = {}
    for model in models:
        for spec in input_specs(model):
            known.update(dict.fromkeys((spec.name, *(s for s in spec.shape if isinstance(s, str)))))
    for name in given:
        if name not in known:
            raise UsageError(
                f"--shape: {name!r} is neither an input nor a symbolic size of the models.",
                hint=f"{did_you_mean(name, known)}Known: {', '.join(known) or 'none'}.",
            )


def noise(model: Model, given: Sizes, batch: int | None, seed: int, *, larger: bool = False) -> Fed:
    """One feed of seeded noise. Sizes are those `given`, then `batch` for the first axes, then a choice by rank.

    `larger` chooses more, for models that do not run on the usual choice. Raises UsageError for sizes that contradict
    the model.
    """
    specs = input_specs(model)
    sizes = _sizes(specs, given, batch)

    graph, taken = build(model), dict(sizes)
    chosen = input_shapes(model, None, larger_size)[0] if larger else infer(graph).inputs
    shapes = {
        spec.name: tuple(_size(spec, axis, taken, chosen[spec.name]) for axis in range(len(spec.shape)))
        for spec in specs
    }
    one = feed(graph, shapes, seed, 1.0)
    used = tuple(
        InputUsed(spec.name, type_name(spec), shapes[spec.name], tuple(_chosen(spec, shapes[spec.name], sizes)))
        for spec in specs
    )
    return Fed((one,), _samples(specs, one, batch), used, f"noise, seed {seed}")


def _size(spec: InputSpec, axis: int, taken: dict[str, int], chosen: tuple[int, ...]) -> int:
    """The size of an axis: the model's, the one that is known, or the one chosen, which then holds for its symbol."""
    declared = spec.shape[axis]
    return declared if isinstance(declared, int) else taken.setdefault(_key(spec, axis), chosen[axis])


def _key(spec: InputSpec, axis: int) -> str:
    """What a free size is called: its symbol, or input[axis]."""
    return str(spec.shape[axis] or f"{spec.name}[{axis}]")


def _sizes(specs: Sequence[InputSpec], given: Sizes, batch: int | None) -> dict[str, int]:
    """Symbol, or input[axis] where it has none -> size."""
    found: dict[str, int] = {}

    def put(key: str, size: int, why: str) -> None:
        if found.setdefault(key, size) != size:
            raise UsageError(f"{why}: the size {key!r} would be both {found[key]} and {size}")

    for spec in specs:
        for size in spec.shape:
            if isinstance(size, str) and size in given:
                if len(given[size]) != 1:
                    raise UsageError(f"--shape {size}: a symbolic size is one number")
                put(size, given[size][0], "--shape")
        for axis, (declared, size) in enumerate(_pairs(spec, given)):
            if isinstance(declared, int):
                if declared != size:
                    raise UsageError(f"--shape {spec.name}: the model fixes axis {axis} at {declared}, not {size}")
            else:
                put(_key(spec, axis), size, f"--shape {spec.name}")
    if batch is not None:
        if not any(spec.batched for spec in specs):
            fixed = sorted({spec.group for spec in specs})
            if fixed != [batch]:
                raise UsageError(f"--batch {batch}: the model fixes its batch at {', '.join(map(str, fixed))}")
        for spec in specs:
            if spec.batched:
                put(_key(spec, spec.axis), batch, "--batch and --shape")
    return found


def _pairs(spec: InputSpec, given: Sizes) -> Iterator[tuple[int | str | None, int]]:
    if spec.name not in given or spec.name in spec.shape:
        return iter(())
    if len(given[spec.name]) != len(spec.shape):
        raise UsageError(
            f"--shape {spec.name}: the model has {len(spec.shape)} axes, not {len(given[spec.name])}: {spec}"
        )
    return zip(spec.shape, given[spec.name], strict=True)


def _chosen(spec: InputSpec, shape: tuple[int, ...], sizes: dict[str, int]) -> Iterator[str]:
    """Sizes that nobody gave."""
    for axis, (declared, size) in enumerate(zip(spec.shape, shape, strict=True)):
        if not isinstance(declared, int) and _key(spec, axis) not in sizes:
            yield f"{declared or f'axis {axis}'}={size}"


def _samples(specs: Sequence[InputSpec], one: Feed, batch: int | None) -> int:
    """Samples of one feed: its batch, whether given, chosen or fixed."""
    if batch is not None:
        return batch
    batched = [spec for spec in specs if spec.batched] or [spec for spec in specs if spec.shape]
    return max((int(one[spec.name].shape[spec.axis]) for spec in batched[:1]), default=1)


def from_data(data: Calibration, batch: int | None) -> Fed:
    """Feeds of `batch` samples each, the same for every model; a few samples are repeated to fill one. DataError."""
    wanted = batch or 1
    if data.fixed_batch:
        group = data.rows_per_sample
        if batch not in (None, group):
            raise UsageError(f"--batch {batch}: the model fixes its batch at {group}")
        wanted = 1
    feeds: list[Feed] = []
    notes: list[str] = []
    total = 0
    for one in data.batches(wanted):
        if one.samples == wanted or data.fixed_batch:
            feeds.append(one)
            total += sum(array.nbytes for array in one.values())
        if len(feeds) == MOST_FEEDS or total > MOST_BYTES:
            break
    if not feeds:
        first = next(iter(data.batches(wanted)))
        feeds = [_repeated(first, wanted)]
        notes.append(f"{first.samples} samples of equal shape were repeated to fill a batch of {wanted}")
    used = tuple(InputUsed(s.name, type_name(s), tuple(feeds[0][s.name].shape)) for s in data.specs)
    if any(a.shape != feeds[0][name].shape for one in feeds for name, a in one.items()):
        notes.append("shapes differ between samples; those of the first are shown")
    samples = data.rows_per_sample if data.fixed_batch else wanted
    return Fed(tuple(feeds), samples, used, data.source, tuple(notes))


def _repeated(one: Batch, wanted: int) -> Feed:
    """Its samples again and again, until there are as many as wanted."""
    picked = range(wanted)
    return {n: a if (k := one.axes[n]) is None else np.take(a, picked, axis=k, mode="wrap") for n, a in one.items()}


def from_feed(model: Model, one: Feed, source: str) -> Fed:
    """Exactly this feed of the model, whatever its sizes; `source` says where it is from."""
    specs = [spec for spec in input_specs(model) if spec.name in one]
    used = tuple(InputUsed(spec.name, type_name(spec), tuple(one[spec.name].shape)) for spec in specs)
    return Fed((one,), _samples(specs, one, None), used, source)


def write_feeds(feeds: Sequence[Feed], folder: Path, name: str) -> list[str]:
    """One .npz each, names with an x in front so that any name is one; their paths. Raises DataError."""
    paths = []
    for number, one in enumerate(feeds):
        path = folder / f"{name}.{number}.npz"
        for key, array in one.items():
            if array.dtype == object:
                raise DataError(f"input {key!r} holds text of a kind that cannot be fed")
        with open(path, "wb") as file:
            np.savez(file, **{f"x{key}": array for key, array in one.items()})  # type: ignore[arg-type]
        paths.append(str(path))
    return paths
