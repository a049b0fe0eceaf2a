"""Times of single kernels, as the runtime's own profile has them."""

from __future__ import annotations

import functools
import json
import math
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onnxprune.errors import ModelError
from onnxprune.measure.latency.layers import OPSET, TYPES, Signature, Widths, one_node
from onnxprune.measure.timing import Floats, timed_session, warm_up

Feed = Mapping[str, NDArray[Any]]
SECONDS, LEAST, MOST = 0.15, 8, 40  # how long a set of kernels is run, and how often
CHUNK = 64 << 20  # bytes of inputs and weights that are timed together
REPEATED = frozenset({"Conv", "ConvTranspose"})  # kernels that go through images one after the other
SHORT, LONG, IMAGES = 20e-6, 40e-6, 16  # seconds of a kernel: of which there are to be more, how long, at most how many
BODIES = frozenset({"If", "Loop", "Scan"})  # their time is that of the kernels in them
LAYOUT = frozenset({"ReorderInput", "ReorderOutput"})
_KERNEL = "_kernel_time"


Kernels = dict[tuple[str, str, str], float]
"""(name, operator, number) of every kernel -> its seconds per run."""


def kernel_times(model: onnx.ModelProto | Path, feed: Feed, threads: int) -> Kernels:
    """The lower half of the runs averaged: what took longer was disturbed.

    Raises ModelError if the runtime cannot run the model.
    """
    return kernel_times_in_turn([model], [feed], threads)[0]


def kernel_times_in_turn(
    models: Sequence[onnx.ModelProto | Path], feeds: Sequence[Feed], threads: int, *, seconds: float = SECONDS
) -> list[Kernels]:
    """The same of several models that are run in turn, for about `seconds` each: what disturbs one disturbs all."""
    with tempfile.TemporaryDirectory(prefix="onnxprune-") as folder:
        try:
            sessions = [timed_session(m, threads, profile=Path(folder) / f"p{k}") for k, m in enumerate(models)]
            runs = [functools.partial(s.run, None, feed) for s, feed in zip(sessions, feeds, strict=True)]
            once = max(warm_up(run, most=seconds) for run in runs)
            count = int(min(max(seconds / max(once, 1e-9), LEAST), MOST))
            for _ in range(count):
                for run in runs:
                    run()
            profiles = [json.loads(Path(s.end_profiling()).read_text("utf-8", "replace")) for s in sessions]
        except Exception as error:  # onnxruntime raises many types
            raise ModelError(f"ONNX Runtime cannot run it for timing: {error}") from error
    return [_kernels(events, count) for events in profiles]


def _kernels(events: Sequence[Mapping[str, Any]], count: int) -> Kernels:
    """Of the last `count` runs of a profile."""
    starts = sorted(event["ts"] for event in events if event.get("name") == "model_run")
    first = starts[-count]
    found: dict[tuple[str, str, str], list[float]] = {}
    for event in events:
        if event.get("cat") != "Node" or not event["name"].endswith(_KERNEL) or event["ts"] < first:
            continue
        args = event.get("args", {})
        if args.get("op_name") not in BODIES:
            key = event["name"][: -len(_KERNEL)], args.get("op_name", ""), args.get("node_index", "")
            found.setdefault(key, []).append(event["dur"] + 0.5)  # the runtime cuts to whole microseconds
    return {key: _usual(times, count) * 1e-6 for key, times in found.items()}


def _usual(times: list[float], count: int) -> float:
    """Mean of the lower half, for kernels in loops times how often they run."""
    ordered = np.sort(times)[: max(len(times) // 2, 1)]
    return float(ordered.mean()) * len(times) / count


def layer_times(signature: Signature, points: Sequence[Widths], threads: int) -> Floats:
    """Seconds of the layer at each of the widths; those of conversions of the layout are not counted.

    A profile has whole microseconds. Convolutions that take a few are run on several images at once, one after the
    other in the same kernel: what is left out is what starting a kernel takes, which no width changes.
    """
    if signature.op not in REPEATED:
        return _layer_times(signature, points, threads)
    once = float(_layer_times(signature, [max(points)], threads)[0])
    times = int(min(max(np.ceil(LONG / once), 1), IMAGES)) if once < SHORT else 1
    batch, *positions = signature.rest
    return _layer_times(replace(signature, rest=(times * batch, *positions)), points, threads) / times


def _layer_times(signature: Signature, points: Sequence[Widths], threads: int) -> Floats:
    found = np.zeros(len(points))
    start = 0
    while start < len(points):
        end, size = start, 0
        while end < len(points) and (end == start or size + _bytes(signature, points[end]) <= CHUNK):
            size += _bytes(signature, points[end])
            end += 1
        model, feed = _side_by_side(signature, points[start:end])
        for (name, operator, _), seconds in kernel_times(model, feed, threads).items():
            which = re.match(r"p(\d+)_", name)
            if which and operator not in LAYOUT:
                found[start + int(which[1])] += seconds
        start = end
    if not (found > 0).all():
        raise ModelError("the runtime's profile names kernels in an unknown way")
    return found


def _bytes(signature: Signature, at: Widths) -> int:
    k, n, blocks = at
    return 4 * blocks * (k * n * math.prod(signature.kernel) + (k + n) * math.prod(signature.rest))


def _side_by_side(signature: Signature, points: Sequence[Widths]) -> tuple[onnx.ModelProto, dict[str, NDArray[Any]]]:
    """One model with the layer at all these widths, each with inputs of its own."""
    feed: dict[str, NDArray[Any]] = {}
    weights: list[TensorProto] = []
    nodes, outputs = [], []

    def given(name: str, shape: tuple[int, ...], dtype: int) -> str:
        feed[name] = np.full(shape, 0.5 if dtype in TYPES else 64, helper.tensor_dtype_to_np_dtype(dtype))
        return name

    def constant(name: str, shape: tuple[int, ...], dtype: int) -> str:
        value = 6 if name.endswith("high") else 0.01 if dtype in TYPES else 1 if shape else 0
        array = np.full(shape, value, helper.tensor_dtype_to_np_dtype(dtype))
        weights.append(numpy_helper.from_array(array, name))
        return name

    for number, at in enumerate(points):
        made, last = one_node(signature, at, f"p{number}_", given, constant)
        nodes += made
        kind = TensorProto.UINT8 if signature.integers else signature.dtype
        outputs.append(helper.make_tensor_value_info(last, kind, None))
    types = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in feed.items()}
    inputs = [helper.make_tensor_value_info(name, types[name], array.shape) for name, array in feed.items()]
    graph = helper.make_graph(nodes, "layers", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8), feed
