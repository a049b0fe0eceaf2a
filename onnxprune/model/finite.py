"""Weights that hold NaN or infinity: of a damaged file, or of one that overflowed when its type became a narrower one.

What multiplies them is lost, and nothing can be ranked, refitted or compared by them: an error says which weight it is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from onnxprune.errors import ModelError, NotFinite
from onnxprune.model.folding import source
from onnxprune.model.graph import Constant, Graph, Node, build
from onnxprune.model.load import Model
from onnxprune.model.tensors import FLOATS

MULTIPLIED = frozenset(
    {"Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", "BatchNormalization", "LSTM", "GRU", "RNN", "Mul"}
)
"""Operators for which an infinite weight makes no sense; elsewhere it may be a mask or a bound."""
AGAIN = "Export the model again: the file is damaged, or a narrower type overflowed."


@dataclass(frozen=True)
class Damage:
    """`count` of the `size` numbers of a weight are no finite ones."""

    weight: str
    node: str
    count: int
    size: int

    def __str__(self) -> str:
        return f"the weight {self.weight!r} of {self.node!r} holds NaN or infinity: {self.count} of {self.size} numbers"


def damage(graph: Graph, nodes: Iterable[Node]) -> Iterator[tuple[Node, Damage]]:
    """What is wrong with the weights that the nodes read, be it through others."""
    for node in nodes:
        for key in node.inputs:
            path = source(graph, key) if key else None
            if path is None:
                continue
            constant = graph.constants[path[0].inputs[0] if path else key]
            bad = _bad(constant, infinite=node.op_type in MULTIPLIED)
            if bad:
                yield node, Damage(constant.name, node.label, bad, constant.size)


def culprit(graph: Graph) -> Damage | None:
    """The first weight of a model that can be to blame for values that are not finite."""
    return next((found for _, found in damage(graph, graph.nodes)), None)


@contextlib.contextmanager
def blaming(model: Model) -> Iterator[None]:
    """Values that are not finite are an error; if a weight is to blame, it says so."""
    try:
        yield
    except NotFinite as error:
        found = culprit(build(model))
        if found is None:
            raise
        raise ModelError(f"{error.message}, since {found}", hint=AGAIN) from error


def _bad(constant: Constant, *, infinite: bool) -> int:
    if constant.dtype not in FLOATS:
        return 0
    array = constant.array()
    return int(np.count_nonzero(~np.isfinite(array) if infinite else np.isnan(array)))
