"""Timing and profiling all models of a run together, and what comes of it as values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from onnxprune.benching.candidates import Candidate, Session
from onnxprune.benching.causes import causes, weights_of
from onnxprune.benching.kernels import layer_names, read_kernels
from onnxprune.benching.preemption import Paired, Samples, paired
from onnxprune.benching.profile import compare, layers_of, profile
from onnxprune.benching.results import (
    Comparison,
    Estimate,
    Measurement,
    Profile,
    ProfileComparison,
    Setting,
    SettingResult,
    Spread,
)
from onnxprune.benching.statistics import (
    Floats,
    Ints,
    outliers,
    resolution,
    spread,
    time_quantile,
    verdict,
)
from onnxprune.benching.tasks import run_job
from onnxprune.errors import ModelError
from onnxprune.model.graph import build

PROFILE_SKIP = 3
PROFILE_RUNS = 50
PROFILE_SECONDS = 3.0
TAIL = 59  # of fewer times, all are below the 95th percentile with a probability of more than 5 %: 0.95 ** 59 = 0.049
DISTURBED = 0.2  # of the runs; more is said
_PER_MODEL = ("inferences", "warmup", "stable")


def timed(session: Session, candidates: Sequence[Candidate], setting: Setting) -> SettingResult:
    """All candidates in turn; the first is the reference. Raises ModelError if the process that runs them fails."""
    job = {
        "kind": "time",
        "models": [c.job(setting) for c in candidates],
        "threads": setting.threads,
        "provider": setting.provider,
        "seconds": session.seconds,
        "runs": session.runs,
        "seed": session.seed,
    }
    result = run_job(session.folder, "time", job)
    if "error" in result:
        raise ModelError(f"ONNX Runtime failed while all models were timed: {result['error']}")
    with np.load(session.folder / "time.npz", allow_pickle=False) as arrays:
        samples = Samples(**{key: arrays[key] for key in ("times", "waited", "cpu", "blocks")}, threads=setting.threads)
    times, blocks = samples.times, samples.blocks
    measured = [
        _measurement(candidate, setting, times[:, k], blocks, {key: result[key][k] for key in _PER_MODEL}, session.seed)
        for k, candidate in enumerate(candidates)
    ]
    comparisons = tuple(
        _comparison(candidates[k].name, candidates[0].name, paired(samples, k, 0, session.seed))
        for k in range(1, len(candidates))
    )
    return SettingResult(setting, len(times), len(np.unique(blocks)), result["sessions"], tuple(measured), comparisons)


def _measurement(
    candidate: Candidate, setting: Setting, times: Floats, blocks: Ints, how: Mapping[str, Any], seed: int
) -> Measurement:
    """`times` (rounds, samples): seconds per inference."""
    flat, owners = times.ravel(), np.repeat(blocks, times.shape[1])
    latency = time_quantile(flat, owners, 0.5, seed)
    samples, probes = candidate.fed[setting].samples, candidate.probes[setting]
    return Measurement(
        model=candidate.name,
        latency=latency,
        tail=time_quantile(flat, owners, 0.95, seed) if len(flat) >= TAIL else None,
        throughput=Estimate(
            samples / latency.value, samples / latency.high, samples / latency.low if latency.low else math.inf
        ),
        samples=samples,
        load=spread([p["load_s"] for p in probes]),
        first_run=spread([p["first_run_s"] for p in probes]),
        peak_memory=_memory(probes, "peak_bytes"),
        runtime_memory=_memory(probes, "runtime_bytes"),
        timed=len(flat),
        outliers=outliers(times),
        quantiles=tuple(np.quantile(flat, np.linspace(0, 1, 101)).tolist()),
        **how,
    )


def _memory(probes: Sequence[Mapping[str, Any]], key: str) -> Spread | None:
    found = [probe[key] for probe in probes if probe[key] is not None]
    return spread(found) if found else None


def _comparison(name: str, reference: str, found: Paired) -> Comparison:
    ratio = found.ratio
    said = None
    if found.disturbed > DISTURBED:
        said = f"other programs interrupted {found.disturbed * 100:.0f} % of the runs: their waiting is taken out"
    return Comparison(name, reference, ratio, verdict(ratio), True, found.rounds, resolution(ratio), said)


def profiled(
    session: Session, candidates: Sequence[Candidate], setting: Setting
) -> tuple[tuple[Profile, ...], tuple[ProfileComparison, ...]]:
    """Profiles of all candidates, run in turn, and each beside the first."""
    job = {
        "kind": "profile",
        "models": [c.job(setting) for c in candidates],
        "threads": setting.threads,
        "provider": setting.provider,
        "seconds": PROFILE_SECONDS,
        "runs": PROFILE_RUNS + PROFILE_SKIP,
        "skip": PROFILE_SKIP,
        "seed": session.seed,
    }
    result = run_job(session.folder, "profile", job)
    if "error" in result:
        raise ModelError(f"ONNX Runtime failed while the models were profiled: {result['error']}")
    kernels = [read_kernels(session.folder / file, PROFILE_SKIP) for file in result["files"]]
    graphs = [build(candidate.model) for candidate in candidates]
    names = [layer_names(graph, found) for graph, found in zip(graphs, kernels, strict=True)]
    layers = [layers_of(found, called) for found, called in zip(kernels, names, strict=True)]
    profiles = tuple(
        profile(c.name, found, called) for c, found, called in zip(candidates, kernels, names, strict=True)
    )
    weights = [weights_of(graph) for graph in graphs]
    compared = tuple(
        replace(
            compare(candidates[0].name, layers[0], candidates[k].name, layers[k]),
            causes=causes(layers[0], layers[k], weights[0], weights[k]),
        )
        for k in range(1, len(candidates))
    )
    return profiles, compared
