"""Which values the integers of an input may have, as far as the graph says: rows of a table or of another value,
lengths, counts, switches.
"""

from __future__ import annotations

from collections.abc import Iterator

from onnxprune.model.graph import Graph, Node
from onnxprune.model.infer import Facts, Shape

PASSED_ON = frozenset({"Cast", "Identity", "Unsqueeze", "Squeeze", "Reshape", "Flatten", "Transpose"})
PICKED = frozenset({"Gather", "GatherElements", "GatherND", "Slice", "Split", "Expand", "Tile"})
"""Their first input goes on in part, or repeatedly."""
ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Div", "Max", "Min", "Clip", "Ceil", "Floor", "ReduceMax", "ReduceMin"})
"""A length goes on as another length."""
COMPARES = frozenset({"Less", "LessOrEqual", "Greater", "GreaterOrEqual"})
_TABLES = {("Gather", 1): 0, ("EmbedLayerNormalization", 0): 2, ("EmbedLayerNormalization", 1): 3}
"""(operator, slot of the indices) -> slot of the table."""
_ROWS = frozenset({("Gather", 1), ("GatherElements", 1), ("ScatterElements", 1)})
"""(operator, slot of the indices), along the attribute `axis`."""
_RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
_LENGTHS = 4  # slot of a recurrent operator
_MADE = frozenset({("Expand", 1), ("Tile", 1), ("ConstantOfShape", 0)})
_MANY = 3  # of what is made up: several such sizes are multiplied
_QUERY, _PAST, _LAST, _TOTAL = 0, 3, 5, 6  # slots of GroupQueryAttention


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


def rows_named(graph: Graph, facts: Facts, name: str) -> int | None:
    """Rows of the smallest value, constant or computed, whose rows some integers of an input name, at the sizes of
    `facts`; None if there is none, or its size is unknown.
    """
    sizes = [table_size(graph, name, PASSED_ON | PICKED)]
    for node, slot in _uses(graph, name, PASSED_ON | PICKED):
        if (node.op_type, slot) in _ROWS and not node.domain:
            sizes.append(_size(facts.shapes.get(node.inputs[0]), node.attribute("axis", 0)))
        elif node.op_type == "GatherND" and slot == 1:
            sizes.append(_size(facts.shapes.get(node.inputs[0]), node.attribute("batch_dims", 0)))
        elif node.op_type == "ScatterND" and slot == 1:
            sizes.append(_size(facts.shapes.get(node.inputs[0]), 0))
    return min((size for size in sizes if size is not None), default=None)


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
    """Where an operator takes one value only (GroupQueryAttention): all tokens with those before, or the last one."""
    for node, slot in _uses(graph, name, PASSED_ON):
        if node.op_type == "GroupQueryAttention" and slot in (_LAST, _TOTAL) and len(node.inputs) > _TOTAL:
            now = _size(facts.shapes.get(node.inputs[_QUERY]), 1)
            before = _size(facts.shapes.get(node.inputs[_PAST]), 2) if node.inputs[_PAST] else 0
            if now is not None and before is not None:
                return now + before - (slot == _LAST)
    return None


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
            joined = (node.op_type == "Concat" and passing != PASSED_ON) or (
                node.op_type in ARITHMETIC and node.op_type in passing
            )
            if joined or (slot == 0 and node.op_type in passing):
                fresh = [key for key in node.outputs if key and key not in seen]
                todo += fresh
                seen.update(fresh)


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
