"""The sparse operators as functions of a model: what they mean, and what runs where their library is missing.

Each function has the name and the signature of an operator of the library (domain `onnxprune`). A runtime with the
library takes its kernel; any other inlines the function, computes the dense weight once, when it loads the model, and
runs the dense operator. So one file runs everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx import AttributeProto, FunctionProto, NodeProto, TensorProto, helper

DOMAIN = "onnxprune"
VERSION = 1
LEAST_OPSET = 13
"""The bodies are valid from here to the newest opset, and are written for the opset of the model they go to."""

_CONVOLUTION = ("strides", "pads", "dilations", "group")
ACTIVATIONS = ("", "Relu", "Clip")


@dataclass(frozen=True)
class Operator:
    """A family and what is fused behind it. `name` is the operator's name."""

    family: str  # SparseConv, SparseMatMul, DepthwiseConv
    add: bool = False
    activation: str = ""

    @property
    def name(self) -> str:
        return f"{self.family}{'Add' if self.add else ''}{self.activation}"


FLOAT_OPERATORS = tuple(
    Operator(family, add, activation)
    for family, adds in (("SparseConv", (False, True)), ("SparseMatMul", (False,)), ("DepthwiseConv", (False,)))
    for add in adds
    for activation in ACTIVATIONS
)


def function(operator: Operator, opset: int) -> FunctionProto:
    """The function of one operator, for models of an opset (at least LEAST_OPSET)."""
    sparse = operator.family != "DepthwiseConv"
    inputs = ["x", "values", "gaps", "bias"] if sparse else ["x", "weight", "bias"]
    attributes = ["weight_shape", *(["block"] if sparse else [])]
    body = dense_weight() if sparse else []
    if operator.family == "SparseMatMul":
        body += [
            helper.make_node("Transpose", ["weight"], ["transposed"], perm=[1, 0]),
            helper.make_node("MatMul", ["x", "transposed"], ["product"]),
            helper.make_node("Add", ["product", "bias"], ["result"]),
        ]
    else:
        attributes += _CONVOLUTION
        body.append(helper.make_node("Conv", ["x", "weight", "bias"], ["result"]))
        for name in _CONVOLUTION:
            refer(body[-1], name, AttributeProto.INT if name == "group" else AttributeProto.INTS)
    if operator.add:
        inputs.append("summand")
        body.append(helper.make_node("Add", ["result", "summand"], ["sum"]))
    last = "sum" if operator.add else "result"
    if operator.activation == "Relu":
        body.append(helper.make_node("Relu", [last], ["y"]))
    elif operator.activation == "Clip":
        attributes += ["low", "high"]
        body += [constant("low", "value_float", "low"), constant("high", "value_float", "high")]
        body.append(helper.make_node("Clip", [last, "low", "high"], ["y"]))
    else:
        body[-1].output[0] = "y"
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_function(DOMAIN, operator.name, inputs, ["y"], body, opsets, attributes=attributes)


def dense_weight() -> list[NodeProto]:
    """Nodes that compute `weight` from `values`, `gaps`, and the attributes weight_shape and block (storage.py)."""
    node = helper.make_node
    return [
        constant("shape", "value_ints", "weight_shape"),
        constant("rows", "value_int", "block"),
        literal("zero", 0),
        literal("one", 1),
        literal("minus_one", -1),
        literal("column", [-1, 1]),
        node("Reshape", ["rows", "one"], ["rows_"]),
        node("Slice", ["shape", "zero", "one"], ["count"]),
        # the number of columns is all weights by rows; row blocks are rounded up
        node("ConstantOfShape", ["shape"], ["like"], value=helper.make_tensor("value", TensorProto.FLOAT, [1], [0.0])),
        node("Size", ["like"], ["size"]),
        node("Div", ["size", "count"], ["depth"]),
        node("Add", ["count", "rows_"], ["above"]),
        node("Sub", ["above", "one"], ["rounded"]),
        node("Div", ["rounded", "rows_"], ["row_blocks"]),
        node("Concat", ["row_blocks", "depth", "rows_"], ["grid"], axis=0),
        node("Concat", ["minus_one", "rows_"], ["list"], axis=0),
        node("Concat", ["minus_one", "depth"], ["matrix"], axis=0),
        node("ConstantOfShape", ["grid"], ["empty"], value=helper.make_tensor("value", TensorProto.FLOAT, [1], [0.0])),
        node("Reshape", ["empty", "list"], ["no_blocks"]),
        node("Cast", ["gaps"], ["steps"], to=TensorProto.INT64),
        node("Constant", [], ["axis"], value_int=0),
        node("CumSum", ["steps", "axis"], ["after"]),
        node("Sub", ["after", "one"], ["position"]),
        node("Reshape", ["position", "column"], ["positions"]),
        node("Reshape", ["values", "list"], ["stored"]),
        node("ScatterND", ["no_blocks", "positions", "stored"], ["blocks"]),
        node("Reshape", ["blocks", "grid"], ["by_column"]),
        node("Transpose", ["by_column"], ["by_row"], perm=[0, 2, 1]),
        node("Reshape", ["by_row", "matrix"], ["filled"]),
        node("Slice", ["filled", "zero", "count"], ["flat"]),
        node("Reshape", ["flat", "shape"], ["weight"]),
    ]


def literal(name: str, value: int | Sequence[int]) -> NodeProto:
    """A Constant of one row of integers."""
    values = [value] if isinstance(value, int) else list(value)
    return helper.make_node("Constant", [], [name], value_ints=values)


def constant(name: str, form: str, attribute: str) -> NodeProto:
    """A Constant whose value is an attribute of the function."""
    node = helper.make_node("Constant", [], [name])
    kinds = {
        "value_int": AttributeProto.INT,
        "value_ints": AttributeProto.INTS,
        "value_float": AttributeProto.FLOAT,
    }
    node.attribute.append(AttributeProto(name=form, ref_attr_name=attribute, type=kinds[form]))
    return node


def refer(node: NodeProto, name: str, kind: AttributeProto.AttributeType) -> None:
    """Give a node the function's attribute of the same name."""
    node.attribute.append(AttributeProto(name=name, ref_attr_name=name, type=kind))
