"""Operators of floats between quantisers, and the operators on integers that compute the same: one entry for each.

    Q(f(DQ(x0, s0, z0), DQ(x1, s1, z1)), sy, zy)  =  g(x0, s0, z0, x1, s1, z1, sy, zy)

`f` is the operator of floats, `g` that on integers; an entry says in which order g takes what. Moves are the same
operator on both: MaxPool(DQ(x)) = DQ(MaxPool(x)), since a grid keeps the order of numbers, and has 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import onnx
from onnx import TensorProto

from onnxprune.model.graph import Graph, Node
from onnxprune.model.integers import MICROSOFT

SUFFIX = ".integers"
"""Behind the name of a value: its integers, so that their quantiser can be written again."""
BYTES = (TensorProto.UINT8, TensorProto.INT8)
BIAS = 2
Check = Callable[[Graph, Node], "str | None"]
"""Why this call has no such operator; None if it has."""


@dataclass(frozen=True)
class Operator:
    """g of an f. `inputs`, in its order: "x0" the integers of f's input 0, "s0" and "z0" their scale and zero point,
    "b2" a bias in 32 bits, "sy" and "zy" the grid of the output, "each" x, s and z of every input. `alike`: all its
    values are of one type; otherwise factors may be signed where the first value is not. `opset`: it wants to know of
    which opset f is, as an attribute. `dropped`: attributes of f that it has not; `check` sees to it that they say
    nothing.
    """

    name: str
    domain: str
    inputs: tuple[str, ...]
    alike: bool = False
    opset: bool = False
    dropped: frozenset[str] = frozenset()
    check: Check | None = None

    def slots(self, count: int) -> tuple[str, ...]:
        """`inputs`, if f has so many."""
        if "each" not in self.inputs:
            return self.inputs
        each = (f"{kind}{slot}" for slot in range(count) for kind in "xsz")
        return (*self.inputs[: self.inputs.index("each")], *each)

    def count(self, given: int) -> int:
        """How many inputs f has, if g has so many."""
        if "each" in self.inputs:
            return (given - len(self.inputs) + 1) // 3
        return sum(one[0] in "xb" for one in self.inputs)

    def takes(self, types: Sequence[int]) -> bool:
        """Whether it takes values of these types, that of the output last."""
        if any(one not in BYTES for one in types):
            return False
        first, *factors, last = types
        signed = all(one in (first, TensorProto.INT8) for one in factors)
        return first == last and (signed if not self.alike else set(types) == {first})


# ---- what they do not take -------------------------------------------------------------------------------------
def _gemm(graph: Graph, node: Node) -> str | None:
    plain = all(node.attribute(name, 1.0) == 1.0 for name in ("alpha", "beta"))
    return None if plain else "its product or its bias has a factor (alpha, beta)"


def _average(graph: Graph, node: Node) -> str | None:
    return "it has dilations" if any(one != 1 for one in node.attribute("dilations", ())) else None


def _resize(graph: Graph, node: Node) -> str | None:
    mode = node.attribute("mode", "nearest")
    if mode != "nearest":
        return f"mode {mode} computes new values"
    crops = node.attribute("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"
    return "it gives a number of its own outside of its input" if crops else None


def _one_output(graph: Graph, node: Node) -> str | None:
    return "it also gives positions" if len([key for key in node.outputs if key]) > 1 else None


PRODUCT = ("x0", "s0", "z0", "x1", "s1", "z1", "sy", "zy")
UNARY = ("x0", "s0", "z0", "sy", "zy")
OPERATORS: Mapping[str, Operator] = {
    "Conv": Operator("QLinearConv", "", (*PRODUCT, "b2")),
    "MatMul": Operator("QLinearMatMul", "", PRODUCT),
    "Gemm": Operator("QGemm", MICROSOFT, (*PRODUCT[:6], "b2", "sy", "zy"), dropped=frozenset({"beta"}), check=_gemm),
    "Add": Operator("QLinearAdd", MICROSOFT, PRODUCT, alike=True),
    "Mul": Operator("QLinearMul", MICROSOFT, PRODUCT, alike=True),
    "Sigmoid": Operator("QLinearSigmoid", MICROSOFT, UNARY, alike=True),
    "LeakyRelu": Operator("QLinearLeakyRelu", MICROSOFT, UNARY, alike=True),
    "Softmax": Operator("QLinearSoftmax", MICROSOFT, UNARY, alike=True, opset=True),
    "AveragePool": Operator(
        "QLinearAveragePool", MICROSOFT, UNARY, alike=True, dropped=frozenset({"dilations"}), check=_average
    ),
    "GlobalAveragePool": Operator("QLinearGlobalAveragePool", MICROSOFT, UNARY, alike=True),
    "Concat": Operator("QLinearConcat", MICROSOFT, ("sy", "zy", "each"), alike=True),
}
"""By the operator of floats."""
FLOATS: Mapping[tuple[str, str], str] = {(one.domain, one.name): name for name, one in OPERATORS.items()}
"""The way back."""
MOVES: Mapping[str, Check | None] = {
    "MaxPool": _one_output,
    "Resize": _resize,
    "Pad": None,  # of what, see the rule that writes it
    **dict.fromkeys(("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Split", "Gather")),
}


def takes_bytes(op_type: str, opset: int, dtype: int) -> bool:
    """Whether an operator of ONNX takes values of this type in this opset."""
    schema = onnx.defs.get_schema(op_type, opset, "")
    first = schema.inputs[0].type_str
    name = f"tensor({TensorProto.DataType.Name(dtype).lower()})"
    return any(name in one.allowed_type_strs for one in schema.type_constraints if one.type_param_str == first)
