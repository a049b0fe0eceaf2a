"""Does the data fit the model? Shapes from the headers, then every value once, in bounded pieces."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.data.column import Column, Positions, Shape
from onnxprune.data.convert import family
from onnxprune.data.feed import Feed
from onnxprune.data.specs import InputSpec
from onnxprune.errors import DataError
from onnxprune.model.graph import Graph
from onnxprune.model.lookup import table_size

_PIECE_BYTES = 16 << 20


def check_shapes(spec: InputSpec, column: Column) -> None:
    """Rank and fixed sizes of every row, and one shape within each group. Raises DataError."""
    fixed = spec.item
    mixed = len(column.shapes()) > 1
    for row in range(column.rows if mixed else min(1, column.rows)):
        shape = column.shape(row)
        if not _fits(shape, fixed):
            sizes = [*map(str, shape[: spec.axis]), "N", *map(str, shape[spec.axis :])]
            shown = "(" + ", ".join(sizes) + ")"
            raise DataError(f"{column.label(row)}: shape {shown} does not fit input {spec}", hint=_hint(spec, shape))
        first = row - row % spec.group
        if shape != column.shape(first):
            raise DataError(
                f"{column.label(row)}: shape {shape} differs from {column.shape(first)} within a batch of {spec.group}",
                hint=f"The model fixes the batch of {spec.name!r} at {spec.group}: those samples must be of one size.",
            )


def _fits(shape: Shape, fixed: Sequence[int | str | None]) -> bool:
    return len(shape) == len(fixed) and all(
        not isinstance(want, int) or size == want for size, want in zip(shape, fixed, strict=True)
    )


def _hint(spec: InputSpec, shape: Shape) -> str | None:
    if len(shape) == len(spec.shape) - 2:
        return "The first axis counts the samples; a single sample needs one of size 1: array[None]."
    if len(shape) == 3 and len(spec.shape) == 4:
        fixed = spec.item
        if _fits((shape[2], *shape[:2]), fixed) or _fits((*shape[1:], shape[0]), fixed):
            return "The channels are on the other axis: numpy.moveaxis mends that."
        if isinstance(fixed[1], int) or isinstance(fixed[2], int):
            return "Images (a folder, or uint8 arrays) are resized with --preprocess."
    return None


def check_symbols(feeds: Sequence[Feed]) -> None:
    """A symbol has one size within a sample, over all inputs. Raises DataError."""
    uniform = all(feed.even for feed in feeds)
    samples = min((feed.samples for feed in feeds if not feed.shared), default=1)
    for sample in range(1 if uniform else samples):
        sizes: dict[str, tuple[int, str]] = {}
        for feed in feeds:
            for symbol, size in zip(feed.spec.shape, feed.shape(sample), strict=False):
                if not isinstance(symbol, str):
                    continue
                known, other = sizes.setdefault(symbol, (size, feed.spec.name))
                if known != size:
                    raise DataError(
                        f"sample {sample}: {symbol!r} is {known} in input {other!r} and {size} in {feed.spec.name!r}",
                        hint="One symbol of the model is one size: pad or cut the data.",
                    )


def check_values(feed: Feed, rows: Positions, graph: Graph) -> None:
    """Every value of `rows`: no NaN, no infinity, integers within the table that they look up. Raises DataError.

    Reads pieces of at most 16 MB (or one row), so that a mapped file never has to fit into memory.
    """
    spec = feed.spec
    kind = family(spec.numpy)
    table = table_size(graph, spec.name) if kind == "integer" else None
    for piece in _pieces(feed, rows):
        values = feed.column.read(piece)
        if kind in ("float", "complex"):
            _require(np.isfinite(values), values, feed, piece, "is not a finite number")
        elif table is not None:
            good = (values >= -table) & (values < table)
            _require(good, values, feed, piece, f"is outside of the table of {table} rows that it looks up")


def _pieces(feed: Feed, rows: Positions) -> Iterator[Positions]:
    """Parts of `rows` of one shape."""
    column, mixed, start = feed.column, len(feed.column.shapes()) > 1, 0
    while start < len(rows):
        shape = column.shape(int(rows[start]))
        step = max(1, _PIECE_BYTES // max(1, math.prod(shape) * feed.spec.numpy.itemsize))
        stop = min(start + step, len(rows))
        if mixed:
            stop = next((i for i in range(start + 1, stop) if column.shape(int(rows[i])) != shape), stop)
        yield rows[start:stop]
        start = stop


def _require(good: NDArray[np.bool_], values: NDArray[Any], feed: Feed, rows: Positions, problem: str) -> None:
    if good.all():
        return
    place = tuple(int(i) for i in np.argwhere(~good)[0])
    where = feed.column.label(int(rows[place[0]])) + (f", position {place[1:]}" if place[1:] else "")
    raise DataError(f"input {feed.spec.name!r}, {where}: {values[place]} {problem}")
