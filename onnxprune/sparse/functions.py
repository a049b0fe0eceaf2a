"""The sparse operators as functions of a model: what they mean, and what runs where their library is missing.

Each function has the name and the signature of an operator of the library (domain `onnxprune`). A runtime with the
library takes its kernel; any other inlines the function, computes the dense weight once, when it loads the model, and
runs the dense operator. So one file runs everywhere. Bodies are written for the opset of the model they go to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from onnx import AttributeProto, FunctionProto, TensorProto, helper

from onnxprune.native.marks import DOMAIN, mark
from onnxprune.sparse.bodies import Body, dense_integers, dense_weight

VERSION = 1
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
    """The function of one operator, for models of an opset (at least LEAST_OPSET of bodies.py)."""
    body = Body(opset)
    inputs, attributes = _FAMILIES[operator.family](body)
    if operator.add:
        inputs = [*inputs, "summand"]
        body.node("Add", ["result", "summand"], "sum")
    last = "sum" if operator.add else "result"
    if operator.activation == "Relu":
        body.node("Relu", [last], "y")
    elif operator.activation == "Clip":
        attributes = [*attributes, "low", "high"]
        _clip(body, last)
    else:
        body.nodes[-1].output[0] = "y"
    opsets = [helper.make_opsetid("", opset)]
    attributes = [*attributes, *body.attributes]
    made = helper.make_function(DOMAIN, operator.name, inputs, ["y"], body.nodes, opsets, attributes=attributes)
    mark(made)
    return made


Parts = tuple[list[str], list[str]]
"""Inputs and attributes of a function whose body computes `result`."""


def _sparse_conv(body: Body) -> Parts:
    dense_weight(body)
    _convolved(body, "Conv", ["x", "weight", "bias"])
    return ["x", "values", "gaps", "bias"], ["weight_shape", "block", *_CONVOLUTION]


def _depthwise_conv(body: Body) -> Parts:
    _convolved(body, "Conv", ["x", "weight", "bias"])
    return ["x", "weight", "bias"], ["weight_shape", *_CONVOLUTION]


def _sparse_matmul(body: Body) -> Parts:
    dense_weight(body)
    body.node("Transpose", ["weight"], "transposed", perm=[1, 0])
    body.node("MatMul", ["x", "transposed"], "product")
    body.node("Add", ["product", "bias"], "result")
    return ["x", "values", "gaps", "bias"], ["weight_shape", "block"]


def _sparse_qconv(body: Body) -> Parts:
    dense_integers(body, convolution=True)
    weight = ["x", "x_scale", "x_zero", "weight", "scale", "zeros", "y_scale", "y_zero", "bias"]
    _convolved(body, "QLinearConv", weight)
    inputs = ["x", "x_scale", "x_zero", "values", "gaps", "scale", "y_scale", "y_zero", "bias"]
    return inputs, ["weight_shape", "block", *_CONVOLUTION]


def _sparse_qmatmul(body: Body) -> Parts:
    dense_integers(body, convolution=False)
    body.node("Transpose", ["weight"], "transposed", perm=[1, 0])
    body.node("MatMulInteger", ["x", "transposed", "x_zero"], "integers")
    body.node("Cast", ["integers"], "product", to=TensorProto.FLOAT)
    body.node("Mul", ["x_scale", "scale"], "scales")
    body.node("Mul", ["product", "scales"], "scaled")
    body.node("Add", ["scaled", "bias"], "result")
    return ["x", "x_scale", "x_zero", "values", "gaps", "scale", "bias"], ["weight_shape", "block"]


_FAMILIES: dict[str, Callable[[Body], Parts]] = {
    "SparseConv": _sparse_conv,
    "SparseMatMul": _sparse_matmul,
    "DepthwiseConv": _depthwise_conv,
    "SparseQConv": _sparse_qconv,
    "SparseQMatMul": _sparse_qmatmul,
}


def _convolved(body: Body, kind: str, inputs: Sequence[str]) -> None:
    node = body.node(kind, inputs, "result")
    for name in _CONVOLUTION:
        body.refer(node, name, AttributeProto.INT if name == "group" else AttributeProto.INTS)


def _clip(body: Body, x: str) -> None:
    """Bounds are inputs since opset 11."""
    if body.opset >= 11:
        body.constant("low", "value_float", "low")
        body.constant("high", "value_float", "high")
        body.node("Clip", [x, "low", "high"], "y")
        return
    node = body.node("Clip", [x], "y")
    body.refer(node, "min", AttributeProto.FLOAT, "low")
    body.refer(node, "max", AttributeProto.FLOAT, "high")
