"""Which values the integers of an input may have, as far as the graph says: rows of a table or of another value,
lengths, counts, switches.
"""

from __future__ import annotations

from collections.abc import Iterator

from onnxprune.model.cached import LAST, TOTAL, Cache
from onnxprune.model.graph import Graph, Node
from onnxprune.model.infer import Facts, Shape, value_of

PASSED_ON = frozenset({"Cast", "Identity", "Unsqueeze", "Squeeze", "Reshape", "Flatten", "Transpose"})
PICKED = frozenset(
    {"Clip", "Compress", "Concat", "Expand", "Gather", "GatherElements", "GatherND", "Max", "Min", "Pad", "ReduceMax"}
    | {"ReduceMin", "ReverseSequence", "ScatterElements", "ScatterND", "Slice", "Split", "Tile", "TopK", "Trilu"}
    | {"Unique", "Where"}
)
"""Their first input goes on in part, or repeatedly, or beside others."""
ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Div", "Max", "Min", "Clip", "Ceil", "Floor", "ReduceMax", "ReduceMin"})
"""A length goes on as another length."""
COMPARES = frozenset({"Less", "LessOrEqual", "Greater", "GreaterOrEqual"})
_TABLES = {("Gather", 1): 0, ("EmbedLayerNormalization", 0): 2, ("EmbedLayerNormalization", 1): 4} | {
    ("EmbedLayerNormalization", 8): 3
}
"""(operator, slot of the indices) -> slot of the table."""
_JOINED = {"Concat": None, "Max": None, "Min": None, "Where": {1, 2}, "ScatterElements": {0, 2}, "ScatterND": {0, 2}}
"""Slots that go on besides, or instead of, the first one; None: all."""
_FIRST_OUTPUT = frozenset({"TopK", "Unique"})
"""Their other outputs are positions."""
_ROWS = {("Gather", 1): "axis", ("GatherElements", 1): "axis", ("ScatterElements", 1): "axis"} | {
    ("GatherBlockQuantized", 1): "gather_axis"
}
"""(operator, slot of the indices) -> the attribute that says along which axis of the first input."""
_BY_TUPLES = frozenset({("GatherND", 1), ("ScatterND", 1)})
_RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
_LENGTHS = 4  # slot of a recurrent operator
_MADE = frozenset({("Expand", 1), ("Tile", 1), ("ConstantOfShape", 0)})
_MANY = 3  # of what is made up: several such sizes are multiplied


def table_size(graph: Graph, name: str, passing: frozenset[str] = PASSED_ON) -> int | None:
    """Rows of the smallest constant table that all integers of input `name` look up; None if they look up nothing.

    With `passing` PASSED_ON | PICKED: that some of them look up.
    """
    sizes = []
    for node, slot in _uses(graph, name, passing):
        place = _TABLES.get((node.op_type, slot))
        table = graph.constants.get(node.inputs[place]) if place is not None else None
        if table is not None and table.shape:
            sizes.append(table.shape[node.attribute("axis", 0) if node.op_type == "Gather" else 0])
    return min(sizes, default=None)


def rows_named(graph: Graph, facts: Facts, name: str, passing: frozenset[str] = PASSED_ON | PICKED) -> int | None:
    """Rows of the smallest value, constant or computed, whose rows some integers of an input name, at the sizes of
    `facts`; None if there is none, or its size is unknown.

    With `passing` ARITHMETIC as well: rows of what is named by numbers that are computed from them.
    """
    sizes = [table_size(graph, name, passing)]
    for node, slot in _uses(graph, name, passing):
        sizes += _named(graph, facts, node, slot)
    return min((size for size in sizes if size is not None), default=None)


def names_computed_rows(graph: Graph, name: str) -> bool:
    """Whether some integers of an input name rows of what is no constant of the file."""
    return any(
        ((node.op_type, slot) in _ROWS or (node.op_type, slot) in _BY_TUPLES) and node.inputs[0] not in graph.constants
        for node, slot in _uses(graph, name, PASSED_ON | PICKED)
    )


def _named(graph: Graph, facts: Facts, node: Node, slot: int) -> list[int | None]:
    """Sizes of the axes that this input of a node names places on."""
    data = facts.shapes.get(node.inputs[0])
    if (node.op_type, slot) in _ROWS:
        return [_size(data, node.attribute(_ROWS[node.op_type, slot], 0))]
    if (node.op_type, slot) in _BY_TUPLES:
        first, tuples = node.attribute("batch_dims", 0), facts.shapes.get(node.inputs[1])
        return list((data or ())[first : first + ((tuples[-1] if tuples else None) or 1)])
    if node.op_type == "OneHot" and slot == 0:
        depth = value_of(graph, facts, node.inputs[1])
        return [int(depth.ravel()[0])] if depth is not None and depth.size == 1 else []
    return []


def is_length(graph: Graph, name: str) -> bool:
    """Whether the integers of an input say how long something is, or how many there are."""
    return any(_measures(graph, node, slot) for node, slot in _uses(graph, name, PASSED_ON | PICKED | ARITHMETIC))


def longest(graph: Graph, facts: Facts, name: str) -> int | None:
    """The least of the sizes that such lengths are of, as far as they are known at the sizes of `facts`."""
    found = (
        _measured(graph, facts, node, slot)
        for node, slot in _uses(graph, name, PASSED_ON | PICKED | ARITHMETIC)
        if _measures(graph, node, slot)
    )
    return min((size for size in found if size is not None and size > 1), default=None)


def exact_length(graph: Graph, facts: Facts, name: str) -> int | None:
    """Where an operator takes one value only (GroupQueryAttention): all tokens with those before, the place of the last
    one, or 1 for every token where these are counted.
    """
    for node, slot in _uses(graph, name, PASSED_ON):
        cache = Cache.of(node, [facts.shapes.get(key) for key in node.inputs])
        if cache is not None and cache.total is not None and slot in (LAST, TOTAL):
            return cache.total - (slot == LAST)
        if node.op_type == "ReduceSum" and slot == 0 and _ends_cache(graph, node.outputs[0]):
            return 1
    return None


def _ends_cache(graph: Graph, counted: str) -> bool:
    """Whether a count of tokens says where those of GroupQueryAttention end."""
    return any(
        node.op_type == "GroupQueryAttention" and slot == LAST
        for node, slot in _uses(graph, counted, PASSED_ON | ARITHMETIC)
    )


def compared_with(graph: Graph, name: str) -> list[int]:
    """Constants that the integers of this input are tested for equality with: it is a switch."""
    found = []
    for index, slot in graph.consumers.get(name, ()):
        node = graph.nodes[index]
        if node.op_type == "Equal":
            constant = graph.constants.get(node.inputs[1 - slot])
            if constant is not None and constant.size == 1:
                found.append(int(constant.array().ravel()[0]))
    return sorted(set(found))


def _uses(graph: Graph, name: str, passing: frozenset[str]) -> Iterator[tuple[Node, int]]:
    """(node, slot) of all that read an input, also behind operators that pass it on."""
    todo, seen = [name], {name}
    while todo:
        for index, slot in graph.consumers.get(todo.pop(), ()):
            node = graph.nodes[index]
            yield node, slot
            if node.op_type in passing and _goes_on(node, slot, passing):
                outputs = node.outputs[:1] if node.op_type in _FIRST_OUTPUT else node.outputs
                fresh = [key for key in outputs if key and key not in seen]
                todo += fresh
                seen.update(fresh)


def _goes_on(node: Node, slot: int, passing: frozenset[str]) -> bool:
    """Whether the numbers of a slot go on to the output: as they are or, where `passing` says so, by arithmetic."""
    if node.op_type in ARITHMETIC - PICKED and passing > PASSED_ON:
        return True
    slots = _JOINED.get(node.op_type, {0})
    return slots is None or slot in slots


def _measures(graph: Graph, node: Node, slot: int) -> bool:
    """Whether an operator takes this input for a length or a count."""
    if node.op_type in COMPARES:
        return node.inputs[1 - slot] not in graph.constants
    return (node.op_type in _RECURRENT and slot == _LENGTHS) or (node.op_type, slot) in _MADE | {
        ("Slice", 1),
        ("Slice", 2),
        ("ReverseSequence", 1),
        ("Range", 1),
        ("TopK", 1),
    }


def _measured(graph: Graph, facts: Facts, node: Node, slot: int) -> int | None:
    """The size that it is a length of."""
    if (node.op_type, slot) in _MADE:
        return _MANY
    if node.op_type == "Range":
        return None
    shape = facts.shapes.get(node.inputs[1 - slot] if node.op_type in COMPARES else node.inputs[0])
    if node.op_type in COMPARES:
        return None if shape is None or None in shape else max((size or 1 for size in shape), default=None)
    if node.op_type in _RECURRENT:
        return _size(shape, 1 if node.attribute("layout", 0) else 0)
    if node.op_type == "ReverseSequence":
        return _size(shape, node.attribute("time_axis", 0))
    if node.op_type == "TopK":
        return _size(shape, node.attribute("axis", -1))
    axes = graph.constants.get(node.inputs[3]) if len(node.inputs) > 3 and node.inputs[3] else None
    named = [0] if axes is None else axes.array().ravel().tolist()
    sizes = [_size(shape, axis) for axis in named]
    return min((size for size in sizes if size is not None), default=None)


def _size(shape: Shape | None, axis: int) -> int | None:
    return None if shape is None or not -len(shape) <= axis < len(shape) else shape[axis]
