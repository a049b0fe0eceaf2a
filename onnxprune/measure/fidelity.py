"""Does the candidate do what the original does? Without labels, on samples that no weight was fitted to.

a is an output of the original, b the candidate's, over all samples:

- relative error: ||a - b|| / ||a|| (Frobenius), and the largest |a - b|;
- cosine: of the flattened values of one sample, mean over the samples (two zero vectors: 1; one: 0);
- agreement of class scores: the share of samples whose largest entry is at the same index (top-1; ties go to the
  lowest index). Class scores are floats of shape (N, C) or (N, C, 1, .., 1) with C >= 2. Nothing in a model tells
  scores from other vectors. Of another shape, an output that a softmax gives has its classes on the axis of that: then
  the share of the places with the same top class is taken, the mean over the samples. For what is left there is no
  agreement, with a reason;
- agreement of integers, booleans and strings: the share of equal elements.

The samples are the axis of an output that is as long as a feed has samples, the first such one; where there is none,
what one feed gives is one sample. The interval of an agreement counts samples, not elements: those of one sample hang
together.

Elements that are the same NaN or infinity in both models are left out of the sums; one that is not finite in one model
only makes the errors infinite. Both are counted. Values are compared batch by batch and dropped.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from onnxprune.capture.session import open_session
from onnxprune.data.batch import samples_of
from onnxprune.errors import DataError, ModelError
from onnxprune.measure.classes import class_axes
from onnxprune.measure.files import as_file
from onnxprune.measure.tally import Tally, counting_axes, tally
from onnxprune.model.load import Model, load
from onnxprune.model.random import is_random, seeded
from onnxprune.results import Fidelity, OutputFidelity

Array = NDArray[Any]
_TYPES = {
    f"tensor({name})"
    for name in (
        *("float16", "float", "double", "bool", "string"),
        *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    )
}


def fidelity(
    original: Model | Path,
    candidate: Model | Path,
    batches: Iterable[Mapping[str, Array]],
    *,
    threads: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Fidelity:
    """Run both on every feed and compare all outputs. `progress` hears (feeds done, feeds in all; where
    `batches` has no length, done).

    Raises ModelError (a model cannot be loaded, an output is missing), DataError (one does not run on the feeds, or
    there are none).
    """
    known = original if isinstance(original, Model) else load(original)
    if is_random(known.proto):
        original, candidate = with_seeds(known), with_seeds(candidate)
    with _session(original, "the original", threads) as a, _session(candidate, "the candidate", threads) as b:
        kinds = {value.name: value.type for value in a.get_outputs()}
        missing = sorted(set(kinds) - {value.name for value in b.get_outputs()})
        if missing:
            raise ModelError(f"the candidate has no output {missing[0]!r}")
        names = [name for name, kind in kinds.items() if kind in _TYPES]
        classes, counting = class_axes(known), counting_axes(known)
        tallies: dict[str, Tally] = {}
        samples = 0
        for number, feed in enumerate(batches):
            rows = samples_of(feed)
            first, second = _run(a, names, feed, "the original"), _run(b, names, feed, "the candidate")
            for name, x, y in zip(names, first, second, strict=True):
                if name not in tallies:
                    tallies[name] = tally(x, classes.get(name), counting.get(name, ()))
                tallies[name].add(x, y, rows)
            samples += rows
            if progress is not None:
                progress(number + 1, len(batches) if isinstance(batches, Sized) else number + 1)
    if not samples:
        raise DataError("there are no samples to compare the models on")
    return Fidelity(
        samples,
        tuple(
            tallies[name].result(name)
            if name in tallies
            else OutputFidelity(name, None, None, None, None, f"it is a {kind}, which is not compared", 0)
            for name, kind in kinds.items()
        ),
    )


def _run(session: Any, names: list[str], feed: Mapping[str, Array], what: str) -> list[Array]:
    if not names:
        return []
    try:
        found: list[Array] = session.run(names, dict(feed))
    except Exception as error:  # onnxruntime raises many types
        raise DataError(f"{what} does not run on the samples: {error}") from error
    return found


@contextlib.contextmanager
def _session(model: Model | Path, what: str, threads: int) -> Iterator[Any]:
    with as_file(model) as path:
        try:
            session = open_session(path, threads, literal=False)
        except Exception as error:  # onnxruntime raises many types
            raise ModelError(f"ONNX Runtime cannot load {what}: {error}") from error
        yield session


def with_seeds(model: Model | Path) -> Model:
    """A model whose nodes that draw numbers draw the same in every session."""
    found = model if isinstance(model, Model) else load(model)
    return found.replace(seeded(found.proto), found.tensors)
