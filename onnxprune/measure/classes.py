"""Which axis of an output counts classes, where the network says so: the one over which a softmax normalises it."""

from __future__ import annotations

from dataclasses import dataclass

from onnxprune.model.graph import Graph, build
from onnxprune.model.load import Model

PASSED = frozenset({"Identity", "Cast", "Transpose"})
NORMALISED = frozenset({"Softmax", "LogSoftmax"})
ONE_AXIS = 13  # from this operator set on a softmax is over one axis, before over that and all behind it


@dataclass(frozen=True)
class ClassAxis:
    """`axis` may count from the end. `together`: the softmax was over all axes from this one on."""

    axis: int
    together: bool = False

    def of(self, shape: tuple[int, ...]) -> int | None:
        """The axis in a value of this shape; None if it holds no classes, or is not the only one."""
        axis = self.axis + len(shape) if self.axis < 0 else self.axis
        alone = not self.together or axis == len(shape) - 1
        return axis if alone and 0 <= axis < len(shape) and shape[axis] > 1 else None


def class_axes(model: Model) -> dict[str, ClassAxis]:
    """By output of the model."""
    graph = build(model)
    found = {value.name: _class_axis(graph, value.name) for value in model.proto.graph.output}
    return {name: axis for name, axis in found.items() if axis is not None}


def _class_axis(graph: Graph, key: str) -> ClassAxis | None:
    if key not in graph.producer:
        return None
    node = graph.nodes[graph.producer[key]]
    if node.domain:
        return None
    if node.op_type in NORMALISED:
        late = graph.model.opset() >= ONE_AXIS
        return ClassAxis(node.attribute("axis", -1 if late else 1), not late)
    before = _class_axis(graph, node.inputs[0]) if node.op_type in PASSED else None
    order = node.attribute("perm") if node.op_type == "Transpose" else None
    if before is None or node.op_type != "Transpose":
        return before
    if order is None or (before.together and before.axis % len(order) != len(order) - 1):
        return None
    return ClassAxis(list(order).index(before.axis % len(order)))
