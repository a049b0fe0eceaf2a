"""Sizes for the dimensions that a model's inputs leave open: what such inputs usually have, or else what fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from onnx import TensorProto, TensorShapeProto, TypeProto

from onnxprune.model.graph import Graph
from onnxprune.model.load import Model
from onnxprune.model.tensors import FLOATS

Default = Callable[[int, int, int], int]
"""The size of an axis: of (rank of the input, axis, its TensorProto type, or INT64 for what comes with texts)."""
ANONYMOUS = frozenset({"", "?", "-1", "None", "unk"})
"""What exporters write as the symbol of a dimension that has none; twice the same says nothing."""
LARGEST_BATCH = 512
SIDES = (64, 48, 32, 96, 128, 256, 320, 512)
"""What the sides of images are if they cannot be the default: lines of text have few pixels."""


def size_name(name: str, axis: int, dim: TensorShapeProto.Dimension) -> str:
    """What an open size of the input `name` is called: its symbol, or input[axis] where it has none."""
    return f"{name}[{axis}]" if dim.dim_param in ANONYMOUS else dim.dim_param


def default_size(rank: int, axis: int, dtype: int) -> int:
    """Size of a symbolic dimension: batch 1, 224 pixels, 32 tokens (integers, and what comes with them), 512 values of
    a signal, 256 steps, 16 x 112 x 112 frames.
    """
    if axis == 0:
        return 1
    if rank == 2:
        return 512 if dtype in FLOATS else 32
    return {3: 256, 4: 224, 5: 16 if axis <= 2 else 112}.get(rank, 16)


def input_shapes(
    model: Model, sizes: Mapping[str, int] | None = None, default: Default = default_size
) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    """Concrete shapes of the graph's inputs (initializers left out) and the sizes that the symbols took.

    `sizes`: of symbols, and of dimensions without a name as input[axis].
    """
    symbols = dict(sizes or {})
    shapes: dict[str, tuple[int, ...]] = {}
    texts, states = _texts(model), _states(model)
    for name, kind in _open_inputs(model):
        dims, dtype = kind.shape.dim, TensorProto.INT64 if texts else kind.elem_type
        shape = []
        for axis, dim in enumerate(dims):
            if dim.HasField("dim_value") and dim.dim_value > 0:
                shape.append(dim.dim_value)
                continue
            symbol, usual = size_name(name, axis, dim), default(len(dims), 0 if name in states else axis, dtype)
            named = dim.dim_param == symbol
            shape.append(symbols.setdefault(symbol, usual) if named else symbols.get(symbol, usual))
        shapes[name] = tuple(shape)
    return shapes, symbols


@dataclass(frozen=True)
class OpenSize:
    """A dimension that an input leaves open, by the name that `size_name` gives it."""

    name: str
    input: str
    axis: int


def open_sizes(model: Model) -> list[OpenSize]:
    """All that the inputs leave open."""
    return [
        OpenSize(size_name(name, axis, dim), name, axis)
        for name, kind in _open_inputs(model)
        for axis, dim in enumerate(kind.shape.dim)
        if dim.dim_value <= 0
    ]


def sizes_of(model: Model, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """The sizes of what the inputs leave open, in a feed of these shapes."""
    found: dict[str, int] = {}
    for one in open_sizes(model):
        if one.axis < len(shapes.get(one.input, ())):
            found.setdefault(one.name, shapes[one.input][one.axis])
    return found


def literal_batches(graph: Graph) -> list[int]:
    """Batches that may have been written down when the file was made: sizes that a Reshape or Expand gives the first
    axis, the ones that most of them give first.
    """
    counts = Counter[int]()
    for node in graph.nodes:
        constant = graph.constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
        if node.op_type in ("Reshape", "Expand") and constant is not None and constant.size:
            first = int(constant.array().ravel()[0])
            counts.update([first] if 1 < first <= LARGEST_BATCH else [])
    return [size for size, _ in counts.most_common()]


def other_sides(model: Model) -> Iterator[dict[str, int]]:
    """Other sizes for the sides of images (axes from 2 on, of inputs of rank 4 and 5) that the model leaves open."""
    free = [
        size_name(name, axis, dim)
        for name, kind in _open_inputs(model)
        if len(kind.shape.dim) in (4, 5)
        for axis, dim in enumerate(kind.shape.dim)
        if axis >= 2 and dim.dim_value <= 0
    ]
    if free:
        for side in SIDES:
            yield dict.fromkeys(free, side)


def _states(model: Model) -> set[str]:
    """Inputs such as the state of a recurrent layer, (2, open, 128), beside others that have an open first axis: what
    is open there counts samples as well.
    """
    dims = {name: [max(dim.dim_value, 0) for dim in kind.shape.dim] for name, kind in _open_inputs(model)}
    open_first = any(sizes and not sizes[0] for sizes in dims.values())
    states = (name for name, sizes in dims.items() if len(sizes) > 2 and not sizes[1] and sizes.count(0) == 1)
    return set(states) if open_first else set()


def _texts(model: Model) -> bool:
    """Whether integers come in rows: then what else comes in rows, such as a mask, belongs to them."""
    return any(len(kind.shape.dim) == 2 and kind.elem_type not in FLOATS for _, kind in _open_inputs(model))


def _open_inputs(model: Model) -> Iterator[tuple[str, TypeProto.Tensor]]:
    for value in model.proto.graph.input:
        if value.name not in model.tensors and value.type.HasField("tensor_type"):
            yield value.name, value.type.tensor_type
