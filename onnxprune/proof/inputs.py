"""Inputs to compare two models on: seeded, of several batch sizes and symbolic sizes, integers within their range."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from onnxprune.model.graph import Graph
from onnxprune.model.infer import Facts
from onnxprune.model.lookup import compared_with, table_size
from onnxprune.model.sizes import ANONYMOUS, default_size, input_shapes
from onnxprune.model.statics import free_sizes
from onnxprune.model.tensors import FLOATS

SAMPLES = "samples"  # the name of the case that is not random


@dataclass(frozen=True)
class Case:
    """One feed. `optional` cases count only if the original itself accepts their sizes."""

    name: str
    feed: dict[str, NDArray[Any]]
    optional: bool

    @property
    def words(self) -> str:
        """What is fed, in a sentence."""
        return f"the {SAMPLES}" if self.name == SAMPLES else f"random inputs ({self.name})"


LARGER = {2: 512, 3: 1024, 4: 320}
"""Sizes of symbolic dimensions (by rank of the input) for models that do not run with the default ones."""
SIGNAL = 16_000
MAX_BATCHES = 4


def larger_size(rank: int, axis: int, dtype: int) -> int:
    """Size of a symbolic dimension: see LARGER; a second of a signal, batch 1."""
    if rank == 2 and dtype in FLOATS:
        return SIGNAL if axis else 1
    return LARGER.get(rank, 64) if axis else 1


def cases(graph: Graph, facts: Facts, seed: int = 0, *, larger: bool = False, batch: int | None = None) -> list[Case]:
    """The default sizes twice (two seeds, two scales), then larger batches and other symbolic sizes, if any."""
    base, shapes = dict(facts.symbols), facts.inputs
    if larger:
        shapes, base = input_shapes(graph.model, None, larger_size)
    elif batch is not None:
        base.update(dict.fromkeys(_batch_symbols(graph), batch))
        shapes, _ = input_shapes(graph.model, base, lambda *of: default_size(*of) if of[1] else batch)
    result = [
        Case("seed 0", feed(graph, shapes, seed, 1.0), False),
        Case("seed 1", feed(graph, shapes, seed + 1, 0.5), False),
    ]
    free = {**free_sizes(graph.model, facts), **base}
    for number, sizes in enumerate((*_other_sizes(graph, base), *_larger_sizes(graph, free))):
        shapes, _ = input_shapes(graph.model, sizes, _unnamed)
        if shapes != facts.inputs:
            result.append(Case(_describe(sizes), feed(graph, shapes, seed + 2 + number, 1.0), True))
    return result


def literal_batches(graph: Graph) -> list[int]:
    """First sizes of Reshape targets: batches that may have been hard-coded when the file was made."""
    found = set()
    for node in graph.nodes:
        target = graph.constants.get(node.inputs[1]) if node.op_type == "Reshape" and len(node.inputs) > 1 else None
        if target is not None and target.size:
            found.add(int(target.array().ravel()[0]))
    return sorted(size for size in found if size > 1)[:MAX_BATCHES]


def _unnamed(rank: int, axis: int, dtype: int) -> int:
    return 2 if axis == 0 else default_size(rank, axis, dtype)


def _other_sizes(graph: Graph, base: dict[str, int]) -> Iterator[dict[str, int]]:
    batch = _batch_symbols(graph)
    yield {s: 2 if s in batch else n for s, n in base.items()}
    if any(s not in batch for s in base):
        yield {s: 3 if s in batch else max(n * 3 // 4, 2) for s, n in base.items()}


def _larger_sizes(graph: Graph, free: dict[str, int]) -> Iterator[dict[str, int]]:
    """Odd and larger than assumed, one batch: there a size shows that was written down as if it were fixed."""
    batch = _batch_symbols(graph)
    fixed = {s for s in free if s in batch or s.endswith("[0]")}
    if fixed != set(free):
        yield {s: n if s in fixed else (n * 5 // 4) | 1 for s, n in free.items()}


def _batch_symbols(graph: Graph) -> set[str]:
    """Symbols on the first axis of an input."""
    found = set()
    for value in graph.model.proto.graph.input:
        dims = value.type.tensor_type.shape.dim
        if len(dims) and dims[0].dim_param not in ANONYMOUS:
            found.add(dims[0].dim_param)
    return found


def _describe(sizes: dict[str, int]) -> str:
    return ", ".join(f"{s}={n}" for s, n in sizes.items()) or "batch 2"


def feed(graph: Graph, shapes: dict[str, tuple[int, ...]], seed: int, scale: float) -> dict[str, NDArray[Any]]:
    """Normal numbers of the given standard deviation; integers below the size of the table that they look up."""
    rng = np.random.default_rng(seed)
    result: dict[str, NDArray[Any]] = {}
    for value in graph.model.proto.graph.input:
        if value.name not in shapes:
            continue
        shape = shapes[value.name]
        dtype = value.type.tensor_type.elem_type
        if dtype == TensorProto.STRING:
            result[value.name] = np.full(shape, "text")  # not of objects: these would be pickled
            continue
        kind = np.dtype(helper.tensor_dtype_to_np_dtype(dtype))
        if kind.kind in "iu":
            result[value.name] = _integers(graph, value.name, shape, seed, rng).astype(kind)
        elif kind.kind == "b":
            result[value.name] = np.ones(shape, bool)
        else:
            result[value.name] = (rng.standard_normal(shape) * scale).astype(kind)
    return result


def _integers(
    graph: Graph, name: str, shape: tuple[int, ...], seed: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """A switch (a single number that the graph compares with constants) takes their values in turn."""
    switches = compared_with(graph, name) if int(np.prod(shape)) == 1 else []
    if switches:
        choices = [*switches, switches[-1] + 1]
        return np.full(shape, choices[seed % len(choices)], np.int64)
    return rng.integers(0, table_size(graph, name) or 2, shape)
