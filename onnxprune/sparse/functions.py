"""The sparse operators as functions of a model: what they mean, and what runs where their library is missing.

Each function has the name and the signature of an operator of the library (domain `onnxprune`). A runtime with the
library takes its kernel; any other inlines the function, computes the dense weight once, when it loads the model, and
runs the dense operator. So one file runs everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from onnx import AttributeProto, FunctionProto, NodeProto, TensorProto, helper

from onnxprune.native.marks import DOMAIN, mark

VERSION = 1
LEAST_OPSET = 13
"""The bodies are valid from here to the newest opset, and are written for the opset of the model they go to."""

_CONVOLUTION = ("strides", "pads", "dilations", "group")


@dataclass(frozen=True)
class Operator:
    """A family and what is fused behind it. `name` is the operator's name."""

    family: str
    add: bool = False
    activation: str = ""  # Relu, Clip

    @property
    def name(self) -> str:
        return f"{self.family}{'Add' if self.add else ''}{self.activation}"


def function(operator: Operator, opset: int) -> FunctionProto:
    """The function of one operator, for models of an opset (at least LEAST_OPSET)."""
    body, inputs, attributes = _FAMILIES[operator.family]()
    if operator.add:
        inputs = [*inputs, "summand"]
        body.append(helper.make_node("Add", ["result", "summand"], ["sum"]))
    last = "sum" if operator.add else "result"
    if operator.activation == "Relu":
        body.append(helper.make_node("Relu", [last], ["y"]))
    elif operator.activation == "Clip":
        attributes = [*attributes, "low", "high"]
        body += [constant("low", "value_float", "low"), constant("high", "value_float", "high")]
        body.append(helper.make_node("Clip", [last, "low", "high"], ["y"]))
    else:
        body[-1].output[0] = "y"
    opsets = [helper.make_opsetid("", opset)]
    made = helper.make_function(DOMAIN, operator.name, inputs, ["y"], body, opsets, attributes=attributes)
    mark(made)
    return made


Parts = tuple[list[NodeProto], list[str], list[str]]
"""Nodes that compute `result`, inputs, attributes."""


def _sparse_conv() -> Parts:
    body = [*dense_weight(), _convolved("Conv", ["x", "weight", "bias"])]
    return body, ["x", "values", "gaps", "bias"], ["weight_shape", "block", *_CONVOLUTION]


def _depthwise_conv() -> Parts:
    return [_convolved("Conv", ["x", "weight", "bias"])], ["x", "weight", "bias"], ["weight_shape", *_CONVOLUTION]


def _sparse_matmul() -> Parts:
    body = [
        *dense_weight(),
        helper.make_node("Transpose", ["weight"], ["transposed"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "transposed"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["result"]),
    ]
    return body, ["x", "values", "gaps", "bias"], ["weight_shape", "block"]


def _sparse_qconv() -> Parts:
    weight = ["x", "x_scale", "x_zero", "weight", "scale", "zeros", "y_scale", "y_zero", "bias"]
    body = [*dense_integers(convolution=True), _convolved("QLinearConv", weight)]
    inputs = ["x", "x_scale", "x_zero", "values", "gaps", "scale", "y_scale", "y_zero", "bias"]
    return body, inputs, ["weight_shape", "block", *_CONVOLUTION]


def _sparse_qmatmul() -> Parts:
    node = helper.make_node
    body = [
        *dense_integers(convolution=False),
        node("Transpose", ["weight"], ["transposed"], perm=[1, 0]),
        node("MatMulInteger", ["x", "transposed", "x_zero"], ["integers"]),
        node("Cast", ["integers"], ["product"], to=TensorProto.FLOAT),
        node("Mul", ["x_scale", "scale"], ["scales"]),
        node("Mul", ["product", "scales"], ["scaled"]),
        node("Add", ["scaled", "bias"], ["result"]),
    ]
    return body, ["x", "x_scale", "x_zero", "values", "gaps", "scale", "bias"], ["weight_shape", "block"]


_FAMILIES: dict[str, Callable[[], Parts]] = {
    "SparseConv": _sparse_conv,
    "SparseMatMul": _sparse_matmul,
    "DepthwiseConv": _depthwise_conv,
    "SparseQConv": _sparse_qconv,
    "SparseQMatMul": _sparse_qmatmul,
}


def _convolved(kind: str, inputs: Sequence[str]) -> NodeProto:
    node = helper.make_node(kind, list(inputs), ["result"])
    for name in _CONVOLUTION:
        refer(node, name, AttributeProto.INT if name == "group" else AttributeProto.INTS)
    return node


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


def dense_integers(*, convolution: bool) -> list[NodeProto]:
    """Nodes that compute the int8 `weight` and `zeros`, its zero points, as `encode_integers` stored it."""
    node = helper.make_node
    zero = helper.make_tensor("value", TensorProto.INT8, [1], [0])
    body = [
        constant("shape", "value_ints", "weight_shape"),
        constant("rows", "value_int", "block"),
        *(literal(name, value) for name, value in (("zero", 0), ("one", 1), ("two", 2), ("minus_one", -1))),
        *(literal(name, value) for name, value in (("three", 3), ("four", 4), ("far", 1 << 31))),
        literal("column", [-1, 1]),
        node("Reshape", ["rows", "one"], ["rows_"]),
        node("Slice", ["shape", "zero", "one"], ["count"]),
        node("Slice", ["shape", "one", "two"], ["channels"]),
        node("Slice", ["shape", "two", "far"], ["kernel"]),
        # four channels of one tap make a column of blocks
        node("Add", ["channels", "three"], ["channels_above"]),
        node("Div", ["channels_above", "four"], ["fours"]),
        node("Mul", ["fours", "four"], ["wide"]),
        node("ConstantOfShape", ["kernel"], ["like"], value=zero),
        node("Size", ["like"], ["taps"]),
        node("Mul", ["fours", "taps"], ["columns"]),
        node("Add", ["count", "rows_"], ["above"]),
        node("Sub", ["above", "one"], ["rounded"]),
        node("Div", ["rounded", "rows_"], ["row_blocks"]),
        node("Mul", ["rows_", "four"], ["size"]),
        node("Mul", ["row_blocks", "columns"], ["places"]),
        node("Concat", ["places", "size"], ["list"], axis=0),
        node("Concat", ["minus_one", "size"], ["stored_shape"], axis=0),
        node("Concat", ["row_blocks", "columns", "rows_", "four"], ["grid"], axis=0),
        node("Concat", ["minus_one", "kernel", "wide"], ["by_tap_shape"], axis=0),
        node("ConstantOfShape", ["list"], ["no_blocks"], value=zero),
        node("Cast", ["gaps"], ["steps"], to=TensorProto.INT64),
        node("Constant", [], ["axis"], value_int=0),
        node("CumSum", ["steps", "axis"], ["after"]),
        node("Sub", ["after", "one"], ["position"]),
        node("Reshape", ["position", "column"], ["positions"]),
        node("Reshape", ["values", "stored_shape"], ["stored"]),
        node("ScatterND", ["no_blocks", "positions", "stored"], ["blocks"]),
        node("Reshape", ["blocks", "grid"], ["by_column"]),
        node("Transpose", ["by_column"], ["by_row"], perm=[0, 2, 1, 3]),
        node("Reshape", ["by_row", "by_tap_shape"], ["filled"]),
        node("Slice", ["filled", "zero", "count", "zero"], ["of_rows"]),
        node("Slice", ["of_rows", "zero", "channels", "minus_one"], ["by_tap"]),
    ]
    if not convolution:
        body[-1].output[0] = "weight"
        return body
    # channels back from the end to the second place, over one axis or two alike
    return [
        *body,
        node("Concat", ["count", "minus_one", "channels"], ["taps_last"], axis=0),
        node("Reshape", ["by_tap", "taps_last"], ["flat"]),
        node("Transpose", ["flat"], ["channels_first"], perm=[0, 2, 1]),
        node("Reshape", ["channels_first", "shape"], ["weight"]),
        node("ConstantOfShape", ["count"], ["zeros"], value=zero),
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
