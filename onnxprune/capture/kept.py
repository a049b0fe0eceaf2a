"""Models in the memory of a run that may be killed: under which key, and in which form."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import numpy as np
import onnx

from onnxprune.capture.samples import Samples
from onnxprune.model.load import Model
from onnxprune.model.tensors import LazyTensor
from onnxprune.results.kept.codec import Types, digest
from onnxprune.results.kept.memory import Memory, Slot

T = TypeVar("T")
SPREAD = 16
"""Samples that stand for those that are too many to be held."""


def key_of(memory: Memory, model: Model, *more: Any) -> str:
    """Of everything that is computed from `model` and `more`, in any form that `results.kept.codec` knows. The samples
    and the original are those of the run.
    """
    if not memory.keeps:
        return ""
    found = hashlib.sha256(model.proto.SerializeToString(deterministic=True))
    for name in sorted(model.tensors):
        array = model.tensors[name].array()
        found.update(f"{name}{array.dtype.name}{array.shape}".encode())
        found.update(repr(array.tolist()).encode() if array.dtype.kind in "OSU" else array.tobytes())
    return digest([found.hexdigest(), *more])


def digest_of(samples: Samples) -> str:
    """Of all values that are held, and of some of those that are read when they are needed."""
    found = hashlib.sha256(f"{samples.held_out} {samples.independent}".encode())
    more = () if samples.more is None else (samples.more.fit, samples.more.judge)
    others = [one for one in more if one is not None]
    read = [one.batch(k, k + 1) for one in others for k in range(0, one.samples, -(-one.samples // SPREAD))]
    found.update(f"{[one.samples for one in others]}".encode())
    return digest_of_feeds((*samples.batches, *read), found)


def digest_of_feeds(feeds: Iterable[Mapping[str, Any]], start: Any = None) -> str:
    """Of all their values; `start`: a digest that is gone on with."""
    found = hashlib.sha256() if start is None else start
    for feed in feeds:
        for name in sorted(feed):
            found.update(f"{name}{feed[name].dtype}{feed[name].shape}".encode())
            array = feed[name]
            found.update(repr(array.tolist()).encode() if array.dtype.kind in "OSU" else array.tobytes())
    return str(found.hexdigest())


def frozen(model: Model, base: Model) -> tuple[Any, ...]:
    """A model that was made of `base`, in a form that can be kept: its graph, and the weights that are others."""
    graph = np.frombuffer(model.proto.SerializeToString(deterministic=True), np.uint8)
    there = base.tensors
    weights = [
        (name, None if one is there.get(name) else (one.array(), one.dtype)) for name, one in model.tensors.items()
    ]
    return graph, weights


def thawed(found: tuple[Any, ...], base: Model) -> Model:
    """The model again."""
    graph, weights = found
    proto = onnx.ModelProto()
    proto.ParseFromString(graph.tobytes())
    return base.replace(proto, {name: _tensor(name, weight, base) for name, weight in weights})


def repeated(slot: Slot, base: Model, compute: Callable[[], tuple[Model, T]], types: Types = ()) -> tuple[Model, T]:
    """A model that `compute` makes of `base`, and what else it gives, whose dataclasses are `types`; or what an earlier
    run left of both.
    """
    found = slot.load(types)
    if found is not None:
        model, more = found[0]
        return thawed(model, base), more
    made = compute()
    slot.put_made(lambda: (frozen(made[0], base), made[1]))
    return made


def _tensor(name: str, weight: tuple[Any, int] | None, base: Model) -> LazyTensor:
    old = base.tensors.get(name)
    if weight is None:
        assert old is not None
        return old
    array, dtype = weight
    if old is not None and old.dtype == dtype:
        return old.with_array(array)
    return LazyTensor.from_array(name, array, dtype)
