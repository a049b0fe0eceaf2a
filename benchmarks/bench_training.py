"""How many images reconstruction sees in a minute, and how many the machine could: a table of bench_self.py.

The limit is what ONNX Runtime's own forward passes take of the arithmetic that a step needs: one pass of the original
and three of the cut network (forward, and two products of the same size backward), with nothing in between.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np

import onnxprune
from onnxprune.capture.grad import native
from onnxprune.capture.session import open_session
from onnxprune.cut import cut
from onnxprune.model.load import Model
from onnxprune.repair.lessons import Effort
from onnxprune.repair.reconstruct import reconstruct
from onnxprune.trace import Trace, trace_model

IMAGES, HELD_OUT, STEPS, BATCH, SIDE = 168, 8, (40, 64), 16, 224
HEAD = ["", "images a minute", "of the limit"]


def rebuilding(path: Path) -> list[list[str]]:
    """Rows of a table, for the network at `path` with three quarters of the inner channels of its blocks."""
    trace = trace_model(onnxprune.load(path))
    keep = np.ones(trace.unit_count, bool)
    for group in trace.prunable:
        keep[group.units[: group.size // 32 * 8]] = False
    small = cut(trace, keep)
    images = np.random.default_rng(0).standard_normal((IMAGES, 3, SIDE, SIDE)).astype(np.float32)
    batches = [{"x": images[at : at + HELD_OUT]} for at in range(0, IMAGES, HELD_OUT)]
    limit = 60 / (_forward(trace.graph.model, images) + 3 * _forward(small, images))
    found = []
    for name, there in (("operators of ONNX alone", False), ("with those of the library", native.is_there())):
        with contextlib.nullcontext() if there else _without():
            speed = 60 / _per_image(trace, keep, small, batches)
        found.append([name, f"{speed:,.0f}", f"{speed / limit:.0%}"])
    return [*found, ["the limit", f"{limit:,.0f}", ""]]


@contextlib.contextmanager
def _without() -> Iterator[None]:
    with patch.object(native, "is_there", lambda threads=0: False):
        yield


def _per_image(trace: Trace, keep: np.ndarray, small: Model, batches: list[dict[str, np.ndarray]]) -> float:
    """Seconds of the processor that one image more takes, one thread."""
    taken = []
    for steps in STEPS:
        since = time.process_time()
        reconstruct(trace, keep, small, batches, 1, effort=Effort(exactly=steps), threads=1)
        taken.append(time.process_time() - since)
    return (taken[1] - taken[0]) / (STEPS[1] - STEPS[0]) / BATCH


def _forward(model: Model, images: np.ndarray) -> float:
    """The same of a forward pass in a batch."""
    session, size = open_session(model.complete_proto(), 1), HELD_OUT
    times = []
    for at in range(0, 10 * size, size):
        since = time.process_time()
        session.run(None, {"x": images[at : at + size]})
        times.append((time.process_time() - since) / size)
    return float(np.median(times))
