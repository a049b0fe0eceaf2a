"""The outputs of a network on calibration data while some of its units are masked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.capture.session import open_session
from onnxprune.errors import DataError, ModelError
from onnxprune.results.providers import Threads
from onnxprune.trace.groups import Trace
from onnxprune.trace.reference import build_reference

Array = NDArray[Any]
MOST_BYTES = 1 << 31


class MaskedNetwork:
    """The masked reference in one session, which serves all masks. Raises ModelError for a model of 2 GB and more."""

    def __init__(
        self, trace: Trace, batches: list[dict[str, Array]], threads: Threads = 0, *, outputs: Sequence[str] = ()
    ) -> None:
        """`outputs` are values (top-level names) that it gives besides its own outputs."""
        if trace.graph.model.size_bytes >= MOST_BYTES:
            raise ModelError("the masked network must fit into one message of less than 2 GB")
        self._reference = build_reference(trace, outputs)
        self._batches = batches
        self._units = trace.unit_count
        self._session = open_session(self._reference.model.complete_proto(), threads)
        self._whole = self._reference.feed(np.ones(self._units, bool))
        self.outputs = [o.name for o in self._session.get_outputs()]

    def run(self, gone: NDArray[np.int64]) -> Iterator[list[Array]]:
        """Per batch the outputs without the units `gone`. Raises DataError if the network does not run."""
        masks = {**self._whole, **self._changed(gone)}
        for batch in self._batches:
            try:
                yield self._session.run(None, {**batch, **masks})
            except Exception as error:  # onnxruntime raises many types
                raise DataError(f"ONNX Runtime cannot run the model on the calibration data: {error}") from error

    def _changed(self, gone: NDArray[np.int64]) -> dict[str, Array]:
        """The masks that differ from those that keep everything."""
        keep = np.ones(self._units, bool)
        keep[gone] = False
        return {m.name: m.value(keep) for m in self._reference.masks if not keep[m.labels].all()}
