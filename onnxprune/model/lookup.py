"""Which values the integers of an input may have, as far as the graph says."""

from __future__ import annotations

from onnxprune.model.graph import Graph

PASSED_ON = frozenset({"Cast", "Identity", "Unsqueeze", "Squeeze", "Reshape", "Flatten", "Transpose"})
_TABLES = {("Gather", 1): 0, ("EmbedLayerNormalization", 0): 2, ("EmbedLayerNormalization", 1): 3}
"""(operator, slot of the indices) -> slot of the table."""


def table_size(graph: Graph, name: str) -> int | None:
    """Rows of the smallest constant table that the integers of input `name` look up; None if they look up nothing."""
    todo, seen, sizes = [name], {name}, []
    while todo:
        for index, slot in graph.consumers.get(todo.pop(), ()):
            node = graph.nodes[index]
            place = _TABLES.get((node.op_type, slot))
            table = graph.constants.get(node.inputs[place]) if place is not None else None
            if table is not None and table.shape:
                axis = node.attribute("axis", 0) if node.op_type == "Gather" else 0
                sizes.append(table.shape[axis])
            elif node.op_type in PASSED_ON and slot == 0:
                todo.extend(o for o in node.outputs if o not in seen)
                seen.update(node.outputs)
    return min(sizes, default=None)


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
