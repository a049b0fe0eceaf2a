"""How fast a model is beside another one, for the benchmarks of gains: timed in turn, in this process."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from onnxprune.measure.timing import interleaved, paired_ratio, timed_session, undisturbed, warm_up
from onnxprune.model.graph import build
from onnxprune.model.infer import infer
from onnxprune.model.load import load
from onnxprune.proof.inputs import feed

SECONDS, LEAST, MOST = 3.0, 15, 600


def faster(original: Path, candidate: Path, threads: int) -> tuple[float, float, float, float]:
    """Times as fast, the quartiles of the ratios of runs next to each other, and seconds of the original."""
    graph = build(load(original))
    inputs = feed(graph, infer(graph).inputs, 0, 1.0)
    runs = [functools.partial(timed_session(one, threads).run, None, inputs) for one in (original, candidate)]
    once = sum(warm_up(run) for run in runs)
    times = undisturbed(interleaved(runs, int(min(max(SECONDS / max(once, 2e-3), LEAST), MOST))))
    low, high = np.quantile(times[:, 0] / times[:, 1], (0.25, 0.75))
    return 1 / paired_ratio(times), float(low), float(high), float(np.median(times[:, 0]))
