"""Which nodes can compute in integers, as ONNX Runtime's kernels for the CPU do, and why the others cannot.

A *layer* multiplies by a weight. A *step* computes on values between layers, on grids of its own. A *move* gives what
it was given, on the same grid. Steps and moves are worth integers only where they lie between nodes that have them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from onnx import TensorProto

from onnxprune.model.graph import Graph, Node
from onnxprune.model.infer import Facts
from onnxprune.model.integers import QUANTISED, final, has_quantisers
from onnxprune.model.tensors import dtype_name

Kind = Literal["layer", "step", "move"]
Rule = Callable[[Graph, Facts, Node], "str | None"]
"""Why a call of the operator cannot; None if it can."""
RECTIFIERS = frozenset({"Relu", "Clip"})
"""Computed by the grid of their output: nothing below or above it is on it."""


@dataclass(frozen=True)
class Candidate:
    """A node that computes with floats; `reason`: why it cannot compute with integers."""

    node: int
    kind: Kind
    reason: str | None = None


def candidates(graph: Graph, facts: Facts) -> dict[int, Candidate]:
    """By index, all nodes with float values that multiply by weights, or have kernels for integers."""
    found: dict[int, Candidate] = {}
    already = QUANTISED if has_quantisers(graph) else None
    for node in graph.nodes:
        stored = final(node) if node.outputs and node.scope == 0 else None
        if stored is not None:
            found[node.index] = Candidate(node.index, "layer", stored)
        known = RULES.get(node.op_type) if not node.domain else None
        if known is None or not node.outputs or node.outputs[0] in graph.computed:
            continue
        if facts.dtypes.get(node.inputs[0]) == TensorProto.INT64 or node.outputs[0] in facts.values:
            continue  # arithmetic on sizes
        kind, rule = known
        found[node.index] = Candidate(
            node.index, kind, already or _place(node) or _types(graph, facts, node) or rule(graph, facts, node)
        )
    return found


def between(
    graph: Graph, found: Mapping[int, Candidate], layers: Collection[int], without: Collection[int] = ()
) -> set[int]:
    """`layers` with the steps and moves between them: all that these read comes from such nodes, and some of those read
    them.

    `without`: steps and moves that stay as they are.
    """
    chosen = set(layers) | {
        index for index, one in found.items() if one.kind != "layer" and one.reason is None and index not in without
    }
    while True:
        lost = {index for index in chosen - set(layers) if not _inside(graph, graph.nodes[index], chosen)}
        if not lost:
            return settled(graph, found, chosen)
        chosen -= lost


def settled(graph: Graph, found: Mapping[int, Candidate], chosen: Collection[int]) -> set[int]:
    """The chosen nodes, and what follows for others from how ONNX Runtime reads quantisers.

    - Rectifiers go with what is before them: of two quantisers in a row it makes one, which computes something else.
    - A layer of floats between two quantisers becomes one of integers there, with weights that it rounds by itself. So
      such a layer is chosen, too; or, if it has to stay float, those that read it are not.
    """
    result = _with_rectifiers(graph, chosen)
    for _ in range(len(graph.nodes)):
        held = next((node for node in graph.nodes if node.index not in result and _held(graph, node, result)), None)
        if held is None:
            break
        one = found.get(held.index)
        if one is not None and one.reason is None:
            result.add(held.index)
        else:
            result -= {reader for reader, _ in graph.consumers.get(_rectified(graph, held), ())}
        result = _with_rectifiers(graph, result)
    return result


def values_of(graph: Graph, chosen: Collection[int]) -> list[str]:
    """The float values on which the chosen nodes work, constants apart, in the order of the graph."""
    found: dict[str, None] = {}
    for node in graph.nodes:
        if node.index in chosen:
            keys = [*_data(node), *(key for key in node.outputs if key)]
            found.update(dict.fromkeys(key for key in keys if key not in graph.constants))
    return list(found)


def moved(graph: Graph, found: Mapping[int, Candidate], chosen: Collection[int]) -> dict[str, str]:
    """What moves give -> the value that they move, whose grid it has."""
    result: dict[str, str] = {}
    for node in graph.nodes:
        if node.index in chosen and found[node.index].kind == "move":
            source = result.get(node.inputs[0], node.inputs[0])
            result |= {key: source for key in node.outputs if key}
    return result


HELD = frozenset({"Conv", "ConvTranspose", "Gemm"})


# ---- inner -----------------------------------------------------------------------------------------------------
def _with_rectifiers(graph: Graph, chosen: Collection[int]) -> set[int]:
    result = set(chosen)
    for node in graph.nodes:
        if node.op_type in RECTIFIERS and not node.domain and node.inputs[0] in graph.producer:
            maker = graph.producer[node.inputs[0]]
            if maker not in result or not _alone(graph, node.inputs[0]):
                result.discard(node.index)
            elif graph.nodes[maker].scope == node.scope == 0:
                result.add(node.index)
    return result


def _alone(graph: Graph, key: str) -> bool:
    """Whether a value has one reader, and is nothing else."""
    return len(graph.consumers.get(key, ())) == 1 and key not in graph.fixed


def _rectified(graph: Graph, node: Node) -> str:
    """The output of a node, or that of the rectifier behind it."""
    key = node.outputs[0]
    if _alone(graph, key):
        behind = graph.nodes[graph.consumers[key][0][0]]
        if behind.op_type in RECTIFIERS and not behind.domain:
            return behind.outputs[0]
    return key


def _held(graph: Graph, node: Node, chosen: Collection[int]) -> bool:
    """Whether a layer lies between two values that are rounded: somebody among the chosen makes or reads them."""
    if node.op_type not in HELD or node.domain or node.scope or node.inputs[1] not in graph.constants:
        return False
    before = graph.producer.get(node.inputs[0], -1) in chosen or _read(graph, node.inputs[0], chosen)
    return before and _read(graph, _rectified(graph, node), chosen)


def _read(graph: Graph, key: str, chosen: Collection[int]) -> bool:
    return any(reader in chosen for reader, _ in graph.consumers.get(key, ()))


def _inside(graph: Graph, node: Node, chosen: Collection[int]) -> bool:
    """Moves may begin or end at a float value; steps may not."""
    made = [graph.producer.get(key, -1) in chosen for key in _data(node) if key not in graph.constants]
    read = [index in chosen for key in node.outputs for index, _ in graph.consumers.get(key, ())]
    ends = any(key in graph.fixed for key in node.outputs if key)
    return bool(made) and all(made) and (any(read) or (ends and not read))


def _data(node: Node) -> tuple[str, ...]:
    """The inputs that hold numbers, not sizes, bounds or biases."""
    many = {"Concat": len(node.inputs), "Add": 2, "Mul": 2, "MatMul": 2}.get(node.op_type, 1)
    return tuple(key for key in node.inputs[:many] if key)


def _place(node: Node) -> str | None:
    return "it is in a body of control flow" if node.scope else None


def _types(graph: Graph, facts: Facts, node: Node) -> str | None:
    types = [graph.constants[k].dtype if k in graph.constants else facts.dtypes.get(k, 0) for k in _data(node)]
    wrong = next((one for one in types if one != TensorProto.FLOAT), None)
    return None if wrong is None else f"its values are {dtype_name(wrong)}, not FLOAT"


def _any(graph: Graph, facts: Facts, node: Node) -> str | None:
    return None


def _weighted(graph: Graph, facts: Facts, node: Node) -> str | None:
    key = node.inputs[1]
    if key in graph.fixed and key not in graph.producer:
        return f"its weight is {graph.fixed[key]}"
    if key not in graph.model.tensors or key in graph.overridable:
        return "its weight is computed, not a constant"
    readers = {(graph.nodes[index].op_type, slot) for index, slot in graph.consumers[key]}
    if len(readers) > 1:
        return "its weight is read by operators of several kinds"
    bias = node.inputs[2] if len(node.inputs) > 2 else ""
    if bias and bias not in graph.model.tensors:
        return "its bias is computed, not a constant"
    if bias and len(graph.consumers[bias]) > 1:
        return "its bias is read by other nodes, too"
    return None


def _gemm(graph: Graph, facts: Facts, node: Node) -> str | None:
    if node.attribute("transA", 0):
        return "its first factor is transposed"
    if node.attribute("alpha", 1.0) != 1.0 or node.attribute("beta", 1.0) != 1.0:
        return "its product or its bias has a factor (alpha, beta)"
    return _weighted(graph, facts, node)


def _matmul(graph: Graph, facts: Facts, node: Node) -> str | None:
    if node.inputs[0] in graph.constants:
        return "its first factor is a constant"
    return _weighted(graph, facts, node) if node.inputs[1] in graph.constants else None


def _transposed(graph: Graph, facts: Facts, node: Node) -> str | None:
    return "ONNX Runtime has no kernel with integers for it"


def _with_scalars(graph: Graph, facts: Facts, node: Node) -> str | None:
    sizes = [graph.constants[key].size for key in node.inputs if key in graph.constants]
    return "it has a constant of more than one number" if any(size > 1 for size in sizes) else None


def _concat(graph: Graph, facts: Facts, node: Node) -> str | None:
    return "it has a constant part" if any(key in graph.constants for key in node.inputs) else None


def _resize(graph: Graph, facts: Facts, node: Node) -> str | None:
    mode = node.attribute("mode", "nearest")
    return None if mode in ("nearest", "linear") else f"mode {mode} has no kernel with integers"


def _pad(graph: Graph, facts: Facts, node: Node) -> str | None:
    if node.attribute("mode", "constant") != "constant":
        return None
    value = node.inputs[2] if len(node.inputs) > 2 else ""
    if value and (value not in graph.constants or graph.constants[value].array().any()):
        return "it pads with something other than 0"
    return None


def _pool(graph: Graph, facts: Facts, node: Node) -> str | None:
    shape = facts.shapes.get(node.inputs[0])
    if shape is None or len(shape) not in (3, 4):
        return "the rank of its input has no kernel with integers"
    return "it also gives positions" if len([key for key in node.outputs if key]) > 1 else None


RULES: Mapping[str, tuple[Kind, Rule]] = {
    "Conv": ("layer", _weighted),
    "ConvTranspose": ("layer", _transposed),
    "Gemm": ("layer", _gemm),
    "MatMul": ("layer", _matmul),
    "Add": ("step", _with_scalars),
    "Mul": ("step", _with_scalars),
    "Sigmoid": ("step", _any),
    "LeakyRelu": ("step", _any),
    "Softmax": ("step", _any),
    "Concat": ("step", _concat),
    "AveragePool": ("move", _pool),  # the library writes it on the grid of its input
    "GlobalAveragePool": ("step", _pool),
    "Relu": ("step", _any),
    "Clip": ("step", _any),
    "MaxPool": ("move", _pool),
    "Resize": ("move", _resize),
    "Pad": ("move", _pad),
    **dict.fromkeys(
        ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Split", "Gather"), ("move", _any)
    ),
}
"""Operators and their rules. All others stay as they are."""


def named(graph: Graph, nodes: Collection[int]) -> Sequence[str]:
    """Labels, in the order of the graph."""
    return [node.label for node in graph.nodes if node.index in nodes]
