"""Sizes that a model takes, where operators refuse those that its inputs are assumed to have.

Images have sides; tables of positions, literal targets of Reshape and products with constants force a size; networks
that halve their input need a multiple of something. What is tried are the sides that images have, then sizes that the
first operator which refuses meets, then smaller and larger ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator, Mapping, Sequence

from onnxprune.model.facts import Facts, Shape, complete
from onnxprune.model.graph import Graph, Node
from onnxprune.model.partial import Partial
from onnxprune.model.positions import outside
from onnxprune.model.sizes import OpenSize, open_sizes, other_sides

Sizes = dict[str, int]
SMALLER = (24, 16, 8, 4, 2, 1)
LARGER = (48, 64, 96, 128, 256, 384, 512, 1024)
MOST_TRIES, LEAST_TRIES, NODES = 80, 12, 40_000
"""How many sizes are tried: fewer for large graphs, of which NODES in all are inferred."""
WINDOWS = frozenset({"Conv", "MaxPool", "AveragePool", "LpPool"})
BROADCASTS = frozenset(
    {"Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean", "Min", "Mod"}
    | {"Mul", "Or", "Pow", "Sub", "Sum", "Where", "Xor"}
)
RECURRENT = frozenset({"LSTM", "GRU", "RNN"})


def fitting(
    graph: Graph, facts: Facts, inferred: Callable[[Sizes], Facts], given: Container[str] = frozenset()
) -> Facts:
    """The facts of the first sizes that no operator refuses, or else `facts`, of which some do.

    `inferred` gives the facts for sizes of symbols (and of axes without a symbol, as sizes.py names them). Those whose
    names are `given` are left alone.
    """
    tries = max(LEAST_TRIES, min(MOST_TRIES, NODES // max(len(graph.nodes), 1)))
    open_ = [one for one in open_sizes(graph.model) if one.name not in given]
    if not open_:
        return facts
    best, chosen = facts, Sizes()
    seen: set[tuple[tuple[str, int], ...]] = {()}
    progress = True
    while progress:
        progress = False
        for sizes in _candidates(graph, best, open_, chosen):
            key = tuple(sorted(sizes.items()))
            if key in seen:
                continue
            if tries == 0:
                return facts
            seen.add(key)
            tries -= 1
            found = inferred(sizes)
            if not found.refused:
                return found
            if _first(graph, found) > _first(graph, best):  # it gets farther: go on from here
                best, chosen, progress = found, sizes, True
                break
    return facts


def _first(graph: Graph, facts: Facts) -> int:
    """The first node that refuses."""
    refused = set(facts.refused)
    return next((node.index for node in graph.nodes if node.label in refused), len(graph.nodes))


def _candidates(graph: Graph, facts: Facts, open_: Sequence[OpenSize], chosen: Sizes) -> Iterator[Sizes]:
    names = list(dict.fromkeys(one.name for one in open_))
    first = {one.name for one in open_ if one.axis == 0}
    inner = [name for name in names if name not in first]
    now = {one.name: chosen.get(one.name, facts.inputs[one.input][one.axis]) for one in open_}
    node = graph.nodes[min(_first(graph, facts), len(graph.nodes) - 1)]
    forced = _forced(graph, facts, node)
    met = {size for key in node.inputs for size in facts.shapes.get(key) or ()}
    if not chosen:
        yield from other_sides(graph.model)
    for value in forced:  # one axis alone, those first whose size the operator meets; then all together
        for name in sorted(names, key=lambda name: (name in first, now[name] not in met)):
            yield {**chosen, name: value}
    for value in forced:
        if len(inner) > 1:
            yield {**chosen, **dict.fromkeys(inner, value)}
    for value in (*SMALLER, *LARGER):
        if inner:
            yield {**chosen, **dict.fromkeys(inner, value)}
    for name in inner if len(inner) > 1 else ():
        for value in SMALLER:
            yield {**chosen, name: value}


def _forced(graph: Graph, facts: Facts, node: Node) -> list[int]:
    """Sizes that the inputs of a node have, and that its constants hold. Those that do not go together come first, then
    those of constants.
    """
    found: list[int] = []
    if node.op_type in BROADCASTS:
        found = [size for sizes in _aligned([facts.shapes.get(key) for key in node.inputs]) for size in sorted(sizes)]
    for key in sorted((k for k in node.inputs if k), key=lambda k: k not in graph.constants):
        constant = graph.constants.get(key)
        if constant is not None and len(constant.shape) == 1 and constant.size <= 8 and node.op_type == "Reshape":
            found += [int(size) for size in constant.array().tolist()]
        found += [size for size in facts.shapes.get(key) or () if size is not None]
    return [size for size in dict.fromkeys(found) if size > 1]


# ---- what operators ask of sizes and onnx does not check ---------------------------------------------------------
def contradicted(node: Node, facts: Facts, known: Sequence[Partial | None]) -> bool:
    """Whether the sizes of a node's inputs, or what is `known` of their values, contradict each other, as far as onnx's
    inference does not say it.
    """
    shapes = [facts.shapes.get(key) for key in node.inputs]
    if outside(node, shapes, known):
        return True
    result = facts.shapes.get(node.outputs[0]) if node.outputs else None
    if node.domain or not shapes or not complete(shapes[0]):
        return False
    if node.op_type in WINDOWS and complete(result) and any(int(size or 0) < 1 for size in (result or ())[2:]):
        return True
    check = _CHECKS.get(node.op_type)
    return check is not None and check(node, shapes, result)


def _reshape(node: Node, shapes: Sequence[Shape | None], result: Shape | None) -> bool:
    return complete(result) and _count(shapes[0]) != _count(result)


def _count(shape: Shape | None) -> int:
    return math.prod(int(size or 0) for size in shape or ())


def _gemm(node: Node, shapes: Sequence[Shape | None], result: Shape | None) -> bool:
    a, b = shapes[0] or (), shapes[1] or ()
    if len(a) != 2 or len(b) != 2:
        return False
    return _differ(a[0 if node.attribute("transA", 0) else 1], b[1 if node.attribute("transB", 0) else 0])


def _conv(node: Node, shapes: Sequence[Shape | None], result: Shape | None) -> bool:
    x, w = shapes[0] or (), shapes[1] or ()
    wide = w[1] * node.attribute("group", 1) if len(w) > 2 and w[1] is not None else None
    return len(x) > 2 and _differ(x[1], wide)


def _recurrent(node: Node, shapes: Sequence[Shape | None], result: Shape | None) -> bool:
    x, w = shapes[0] or (), shapes[1] or ()
    state = shapes[5] if len(shapes) > 5 else None
    rows = bool(state) and not node.attribute("layout", 0) and len(x) == 3 and _differ(x[1], (state or (0, 0))[1])
    return (len(x) == 3 and len(w) == 3 and _differ(x[2], w[2])) or rows


def _broadcast(node: Node, shapes: Sequence[Shape | None], result: Shape | None) -> bool:
    """Axes from the last one on are of one size, or of size 1."""
    return bool(_aligned(shapes))


def _aligned(shapes: Sequence[Shape | None]) -> list[set[int]]:
    """The different sizes, from the last axis on, that meet on one axis and do not go together."""
    found = []
    for axis in range(1, max((len(shape) for shape in shapes if shape is not None), default=0) + 1):
        met = {shape[-axis] for shape in shapes if shape is not None and len(shape) >= axis}
        sizes = {size for size in met if size is not None and size != 1}
        if len(sizes) > 1:
            found.append(sizes)
    return found


def _differ(a: int | None, b: int | None) -> bool:
    return a is not None and b is not None and a != b


_CHECKS: Mapping[str, Callable[[Node, Sequence[Shape | None], Shape | None], bool]] = {
    **dict.fromkeys(BROADCASTS, _broadcast),
    "Reshape": _reshape,
    "Gemm": _gemm,
    "Conv": _conv,
    **dict.fromkeys(RECURRENT, _recurrent),
}
