"""What reconstruction aims at: what the original gives inside, and at its outputs on held-out samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from onnxprune.capture.training import Goals, observer
from onnxprune.model.load import Model
from onnxprune.repair.importance import Importance
from onnxprune.repair.minibatches import Feeds, Minibatches
from onnxprune.results.providers import Threads, counted
from onnxprune.trace.groups import Trace

Bools = NDArray[np.bool_]
Divided = Mapping[str, NDArray[np.float64]]
"""By value, numbers of its channels (axis 1)."""


class Teacher:
    """What the original gives at some values, as far as the cut network has them, and what its positions count.
    `divided`: by value, by what its channels are to be divided.
    """

    def __init__(
        self,
        trace: Trace,
        keep: Bools,
        keys: Sequence[str],
        importance: Importance | None = None,
        divided: Divided | None = None,
        threads: Threads = 1,
    ) -> None:
        self._trace, self._keep, self._keys = trace, keep, keys
        self._divided = divided or {}
        together = importance is not None and set(keys) <= set(importance.values)
        self._importance = importance.observing(keys) if importance is not None and together else importance
        self._session = None if together else observer(trace.graph.model, keys, threads)

    def __call__(self, feeds: Feeds) -> Goals:
        weights, seen = self._importance.with_values(feeds) if self._importance else ({}, {})
        values = [seen[key] for key in self._keys] if self._session is None else self._session.run(None, feeds)
        targets = [self._trace.kept_part(key, self._keep, v) for key, v in zip(self._keys, values, strict=True)]
        for k, key in enumerate(self._keys):
            if key in self._divided:
                targets[k] = targets[k] / self._divided[key].reshape(-1, *[1] * (targets[k].ndim - 2)).astype(
                    np.float32
                )
        return Goals(targets, {k: weights[key] for k, key in enumerate(self._keys) if key in weights})


class Outputs:
    """Relative error of the outputs (see `sensitivity.judged`) on the held-out samples, all positions alike."""

    def __init__(
        self, trace: Trace, keep: Bools, places: Mapping[str, str], samples: Minibatches, threads: Threads = 0
    ) -> None:
        self._keys, self._threads = list(places), counted(threads, 0)
        teacher = Teacher(trace, keep, list(places.values()), threads=counted(threads, 1))
        self._feeds = samples.judged()
        self._wanted = [teacher(feeds).targets for feeds in self._feeds]
        self.finite = all(np.isfinite(value).all() for values in self._wanted for value in values)

    def error(self, model: Model, most: int | None = None) -> float:
        """`most`: of the feeds."""
        session = observer(model, self._keys, self._threads)
        found = [session.run(None, feeds) for feeds in self._feeds[:most]]
        worst = 0.0
        for k in range(len(self._keys)):
            wanted = np.concatenate([w[k].ravel() for w in self._wanted[:most]]).astype(np.float64)
            got = np.concatenate([f[k].ravel() for f in found]).astype(np.float64)
            worst += float(np.mean((got - wanted) ** 2) / max(np.var(wanted), 1e-12)) / len(self._keys)
        return worst
