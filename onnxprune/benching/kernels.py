"""The runtime's profile as values: kernels with their time in every run, under the names of the model's own layers.

ONNX Runtime optimises a graph before it runs it, and names what it makes after the parts: a convolution with its
activation in the blocked layout (NCHWc) is called after the activation's output, with `_nchwc` behind.
"""

from __future__ import annotations

import bisect
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxprune.model.graph import Graph, Node

LAYOUT = frozenset({"ReorderInput", "ReorderOutput"})
_KERNEL = "_kernel_time"
_BLOCKED = re.compile(r"_nchwc(_token_\d+)*$")
_SUFFIX = re.compile(r"(_nchwc)?(_token_\d+)*$")
_FUSED = re.compile(r"^fused |/\w*Fusion\w*/?$")
_MOST_FUSED = 4  # convolution, normalisation, addition, activation
_BODIES = frozenset({"If", "Loop", "Scan"})  # their time is that of the kernels in them


@dataclass(frozen=True)
class Kernel:
    """One kernel of a session. `microseconds`: per run. Shapes are those of its inputs (weights too) and outputs."""

    name: str
    operator: str
    provider: str
    blocked: bool
    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]
    microseconds: tuple[float, ...]

    @property
    def layout(self) -> bool:
        """Whether it only changes the layout."""
        return self.operator in LAYOUT


def read_kernels(path: Path, skip: int) -> list[Kernel]:
    """Kernels in the order in which they first ran; the first `skip` runs are left out."""
    events = json.loads(path.read_text("utf-8", "replace"))
    runs = sorted((e["ts"], e["ts"] + e["dur"]) for e in events if e.get("name") == "model_run")
    starts = [start for start, _ in runs]
    found: dict[tuple[str, str, str], list[float]] = {}
    first: dict[tuple[str, str, str], dict[str, Any]] = {}
    for event in events:
        if event.get("cat") != "Node" or not event["name"].endswith(_KERNEL):
            continue
        run = bisect.bisect_right(starts, event["ts"]) - 1 - skip
        args = event.get("args", {})
        if run < 0 or args.get("op_name") in _BODIES:
            continue
        key = (event["name"], args.get("op_name", ""), args.get("node_index", ""))
        first.setdefault(key, args)
        times = found.setdefault(key, [0.0] * (len(runs) - skip))
        times[run] += event["dur"]
    return [_kernel(key, first[key], times) for key, times in found.items()]


def _kernel(key: tuple[str, str, str], args: dict[str, Any], times: list[float]) -> Kernel:
    name = key[0][: -len(_KERNEL)]
    return Kernel(
        name,
        key[1],
        args.get("provider", ""),
        _BLOCKED.search(name) is not None,
        _shapes(args.get("input_type_shape", ())),
        _shapes(args.get("output_type_shape", ())),
        tuple(times),
    )


def _shapes(found: Iterable[dict[str, list[int]]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(size) for size in shape) for one in found for shape in one.values())


def layer_names(graph: Graph, kernels: Iterable[Kernel]) -> list[str]:
    """For each kernel the label of the layer of the model whose work it does, or its own name."""
    labels = {node.label for node in graph.nodes}
    found = []
    for kernel in kernels:
        name = _FUSED.sub("", _SUFFIX.sub("", kernel.name))
        index = None if name in labels else graph.producer.get(name)
        node = None if index is None else _fused(graph, graph.nodes[index], kernel.operator)
        own = name if name in labels else kernel.name  # of the runtime's making: its number tells it from others
        found.append(own if node is None else node.label)
    return found


def _fused(graph: Graph, node: Node, operator: str) -> Node:
    """The node of this operator that was fused with those behind it, whose last one is `node`; else `node`."""
    near = [node]
    for _ in range(_MOST_FUSED):
        for one in near:
            if one.op_type == operator:
                return one
        near = [graph.nodes[graph.producer[key]] for one in near for key in one.inputs if key in graph.producer]
    return node
