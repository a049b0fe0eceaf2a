"""Inputs to compare two models on: seeded, of several batch sizes and symbolic sizes, integers within their range."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, ValueInfoProto, helper

from onnxprune.model.graph import Graph
from onnxprune.model.infer import Facts, infer
from onnxprune.model.lookup import (
    ARITHMETIC,
    PASSED_ON,
    PICKED,
    compared_with,
    exact_length,
    is_length,
    longest,
    names_computed_rows,
    rows_named,
    table_size,
)
from onnxprune.model.sizes import ANONYMOUS, default_size, input_shapes, size_name
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
SMALLER = (16, 5)
"""The same, for all dimensions but batches."""
SIGNAL = 16_000
BATCH = 5  # of inputs that are to tell
SCALES = (4.0, 0.05)  # of such inputs: what saturates, and what rounds to nothing


def larger_size(rank: int, axis: int, dtype: int) -> int:
    """Size of a symbolic dimension: see LARGER; a second of a signal, batch 1."""
    if rank == 2 and dtype in FLOATS:
        return SIGNAL if axis else 1
    return LARGER.get(rank, 64) if axis else 1


@dataclass(frozen=True)
class Sizing:
    """What is assumed of open sizes, where the usual ones do not run: `larger` ones, a `batch`, a `side` for all but
    batches. Not `lengths`: where integers are lengths, they are 0 and 1.
    """

    larger: bool = False
    batch: int | None = None
    side: int | None = None
    lengths: bool = True


def cases(graph: Graph, facts: Facts, seed: int = 0, sizing: Sizing = Sizing()) -> list[Case]:
    """The default sizes twice (two seeds, two scales), then larger batches and other symbolic sizes, if any."""
    base, shapes = _sizes(graph, facts, sizing)
    draw = _Drawn(graph, sizing.lengths)
    result = [
        draw("seed 0", shapes, seed, optional=False),
        # where a switch has another value there, the branch behind it may want other sizes
        draw("seed 1", shapes, seed + 1, 0.5, optional=bool(_settings(graph))),
    ]
    free = {**free_sizes(graph.model, facts), **base}
    for number, sizes in enumerate((*_other_sizes(graph, base), *_larger_sizes(graph, free))):
        shapes, _ = input_shapes(graph.model, sizes, _unnamed)
        if shapes != facts.inputs:
            result.append(draw(_describe(sizes), shapes, seed + 2 + number))
    return result


def telling_cases(graph: Graph, facts: Facts, seed: int = 0, sizing: Sizing = Sizing()) -> list[Case]:
    """More inputs, where those of `cases` do not tell whether something is wrong: larger and smaller values, more rows,
    and what branches for other settings may want.
    """
    base, shapes = _sizes(graph, facts, sizing)
    draw = _Drawn(graph, sizing.lengths)
    found = [draw(f"values of {scale:g}", shapes, seed + 10 + k, scale) for k, scale in enumerate(SCALES)]
    symbols = _batch_symbols(graph)
    if symbols and sizing.batch is None:
        sizes = {**base, **dict.fromkeys(symbols, BATCH)}
        found.append(draw(_describe(sizes), input_shapes(graph.model, sizes, default_size)[0], seed + 20))
    for sizes, shapes in _scaled_sizes(graph, {**free_sizes(graph.model, facts), **base}):
        for k in range(_settings(graph)):
            found.append(draw(f"{_describe(sizes)}, setting {k + 1}", shapes, seed + 30 + k))
    return found


@dataclass(frozen=True)
class _Drawn:
    """Cases of random inputs."""

    graph: Graph
    lengths: bool

    def __call__(
        self, name: str, shapes: dict[str, tuple[int, ...]], seed: int, scale: float = 1.0, *, optional: bool = True
    ) -> Case:
        return Case(name, feed(self.graph, shapes, seed, scale, lengths=self.lengths), optional)


def has_lengths(graph: Graph) -> bool:
    """Whether some integers are lengths."""
    return any(is_length(graph, value.name) for value in graph.model.proto.graph.input if _is_integer(value))


def _sizes(graph: Graph, facts: Facts, sizing: Sizing) -> tuple[dict[str, int], dict[str, tuple[int, ...]]]:
    """Sizes of the symbols, and shapes of the inputs."""
    base, side, batch = dict(facts.symbols), sizing.side, sizing.batch
    if sizing.larger:
        shapes, base = input_shapes(graph.model, None, larger_size)
        return base, shapes
    if side is not None:
        rest = _batch_symbols(graph)
        base = {s: n if s in rest else side for s, n in base.items()}
        return base, input_shapes(graph.model, base, lambda *of: side if of[1] else default_size(*of))[0]
    if batch is not None:
        base.update(dict.fromkeys(_batch_symbols(graph), batch))
        return base, input_shapes(graph.model, base, lambda *of: default_size(*of) if of[1] else batch)[0]
    return base, facts.inputs


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


def _scaled_sizes(graph: Graph, free: dict[str, int]) -> Iterator[tuple[dict[str, int], dict[str, tuple[int, ...]]]]:
    """Half and twice the assumed sizes, as a branch for another rate or resolution may want them; and the shapes."""
    batch = _batch_symbols(graph)
    for factor in (0.5, 2.0):
        sizes = {
            s: n if s in batch or s.endswith("[0]") or n == 1 else max(int(n * factor), 1) for s, n in free.items()
        }
        if sizes != free:
            yield sizes, input_shapes(graph.model, sizes, _unnamed)[0]


def _settings(graph: Graph) -> int:
    """How many seeds in a row give all values that the switches are compared with, and others; 0 without switches."""
    single = [value for value in graph.model.proto.graph.input if _is_single(value)]
    compared = [compared_with(graph, value.name) for value in single if _is_integer(value)]
    choices = [2 for value in single if value.type.tensor_type.elem_type == TensorProto.BOOL]
    return max([*choices, *(len(switches) + 1 for switches in compared if switches)], default=0)


def _is_single(value: ValueInfoProto) -> bool:
    return all(dim.dim_value == 1 for dim in value.type.tensor_type.shape.dim)


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


def feed(
    graph: Graph, shapes: dict[str, tuple[int, ...]], seed: int, scale: float, *, lengths: bool = True
) -> dict[str, NDArray[Any]]:
    """Normal numbers of the given standard deviation; integers that exist: rows of the table or the value that they
    name, lengths of what they measure (not `lengths`: 0 and 1).
    """
    rng = np.random.default_rng(seed)
    draw = _Integers(graph, shapes, seed, rng, lengths)
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
            result[value.name] = draw(value.name, shape).astype(kind)
        elif kind.kind == "b":
            on = seed % 2 == 0 or not _is_single(value)  # a switch takes both values, a mask leaves nothing out
            result[value.name] = np.full(shape, on, bool)
        else:
            result[value.name] = (rng.standard_normal(shape) * scale).astype(kind)
    return result


def _is_integer(value: ValueInfoProto) -> bool:
    dtype = value.type.tensor_type.elem_type
    known = dtype not in (TensorProto.UNDEFINED, TensorProto.STRING)
    return known and np.dtype(helper.tensor_dtype_to_np_dtype(dtype)).kind in "iu"


class _Integers:
    """Integers of inputs of given shapes."""

    def __init__(
        self, graph: Graph, shapes: dict[str, tuple[int, ...]], seed: int, rng: np.random.Generator, lengths: bool
    ) -> None:
        self._graph, self._shapes, self._seed, self._rng, self._lengths = graph, shapes, seed, rng, lengths

    def __call__(self, name: str, shape: tuple[int, ...]) -> NDArray[np.int64]:
        """A switch (a single number that the graph compares with constants) takes their values in turn."""
        switches = compared_with(self._graph, name) if int(np.prod(shape)) == 1 else []
        if switches:
            choices = [*switches, switches[-1] + 1]
            return np.full(shape, choices[self._seed % len(choices)], np.int64)
        length = self._lengths and is_length(self._graph, name)
        table = table_size(self._graph, name)
        if not length and table is not None and not names_computed_rows(self._graph, name):  # spares an inference
            return self._rng.integers(0, table, shape)
        if not self._lengths or not self._graph.consumers.get(name):
            return self._rng.integers(0, 2, shape)
        exact = exact_length(self._graph, self._facts, name)
        if exact is not None:
            return np.full(shape, exact, np.int64)
        rows = rows_named(self._graph, self._facts, name)
        if rows is not None:
            return self._rng.integers(0, max(rows, 1), shape)
        if not length:
            rows = rows_named(self._graph, self._facts, name, PASSED_ON | PICKED | ARITHMETIC)
            return self._rng.integers(0, 2 if rows is None else min(max(rows, 1), 2), shape)
        most = longest(self._graph, self._facts, name) or self._others(name)
        return self._rng.integers((most + 1) // 2, most + 1, shape)

    @cached_property
    def _facts(self) -> Facts:
        """At these sizes."""
        sizes = {}
        for value in self._graph.model.proto.graph.input:
            for axis, size in enumerate(self._shapes.get(value.name, ())):
                dim = value.type.tensor_type.shape.dim[axis]
                if dim.dim_value <= 0:
                    sizes[size_name(value.name, axis, dim)] = size
        return infer(self._graph, sizes)

    def _others(self, name: str) -> int:
        """The least size of an axis, of another input, that is left open and counts no batch; of any, if there is
        none: something must be that long.
        """
        inputs = [v for v in self._graph.model.proto.graph.input if v.name in self._shapes and v.name != name]
        axes = [
            (dim.dim_value <= 0, size)
            for value in inputs
            for dim, size in list(zip(value.type.tensor_type.shape.dim, self._shapes[value.name], strict=True))[1:]
            if size > 1
        ]
        return min((size for free, size in axes if free), default=min((size for _, size in axes), default=2))
