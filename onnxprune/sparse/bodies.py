"""How the functions of sparse operators compute the dense weight, node by node, spelled for any opset from 9 on.

What older opsets cannot say is an attribute of the node instead (`spelled_*`): below 12 no constant can be made from
numbers that are an attribute, so there they are tensors; below 11 nothing adds up the gaps, so there are positions; 9
cannot cut at a computed index, so there are indices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, NodeProto, TensorProto, helper, numpy_helper

LEAST_OPSET = 9
FAR = (1 << 31) - 1
_FORMS = {
    "value_int": AttributeProto.INT,
    "value_ints": AttributeProto.INTS,
    "value_float": AttributeProto.FLOAT,
}


class Body:
    """Nodes of a function in the words of an opset. `attributes`: those they refer to besides the operator's own."""

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.nodes: list[NodeProto] = []
        self.attributes: list[str] = []

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> NodeProto:
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return self.nodes[-1]

    def refer(self, node: NodeProto, name: str, kind: AttributeProto.AttributeType, own: str = "") -> None:
        """Give a node the function's attribute of the same name, or of the name `own`."""
        node.attribute.append(AttributeProto(name=name, ref_attr_name=own or name, type=kind))

    def constant(self, name: str, form: str, attribute: str) -> None:
        """A Constant whose value is an attribute of the function: value_int, value_ints or value_float."""
        node = self.node("Constant", [], name)
        if self.opset >= 12:
            self.refer(node, form, _FORMS[form], attribute)
        else:
            self.attributes.append(f"{attribute}_tensor")
            self.refer(node, "value", AttributeProto.TENSOR, f"{attribute}_tensor")

    def literals(self, **values: int | Sequence[int]) -> None:
        """Constants of one row of integers."""
        for name, value in values.items():
            row = [value] if isinstance(value, int) else list(value)
            self.node("Constant", [], name, value=helper.make_tensor("value", TensorProto.INT64, [len(row)], row))

    def filled(self, shape: str, output: str, dtype: int = TensorProto.FLOAT) -> None:
        """Zeros of a shape."""
        self.node("ConstantOfShape", [shape], output, value=helper.make_tensor("value", dtype, [1], [0]))

    def part(self, x: str, start: int, end: int, output: str) -> None:
        """x[start:end] of one axis."""
        if self.opset < 10:
            self.node("Slice", [x], output, starts=[start], ends=[end])
        else:
            self.literals(**{f"{output}_start": start, f"{output}_end": end})
            self.node("Slice", [x, f"{output}_start", f"{output}_end"], output)

    def first(self, x: str, count: str, axis: int, output: str) -> None:
        """The first `count` indices of an axis."""
        if self.opset >= 10:
            self.literals(**{f"{output}_start": 0, f"{output}_axis": axis})
            self.node("Slice", [x, f"{output}_start", count, f"{output}_axis"], output)
            return
        self.attributes.append("rows_kept")  # the runtime computes no such indices when it loads a model
        self.refer(self.node("Constant", [], f"{output}_indices"), "value", AttributeProto.TENSOR, "rows_kept")
        self.node("Gather", [x, f"{output}_indices"], output, axis=axis)

    def scattered(self, zeros: str, stored: str, output: str) -> None:
        """The rows of `stored` at their places among the rows of `zeros`, which `gaps` (or positions) say."""
        if self.opset >= 11:
            self.literals(one_step=1, column=[-1, 1])
            self.node("Constant", [], "axis", value=helper.make_tensor("value", TensorProto.INT64, [], [0]))
            self.node("Cast", ["gaps"], "steps", to=TensorProto.INT64)
            self.node("CumSum", ["steps", "axis"], "after")
            self.node("Sub", ["after", "one_step"], "position")
            self.node("Reshape", ["position", "column"], "positions")
            self.node("ScatterND", [zeros, "positions", stored], output)
            return
        self.attributes.append("positions")
        self.refer(self.node("Constant", [], "column"), "value", AttributeProto.TENSOR, "positions")
        self.node("Shape", [stored], "stored_size")
        self.node("Expand", ["column", "stored_size"], "positions")
        self.node("Scatter", [zeros, "positions", stored], output, axis=0)


def spelled_weight(attributes: Mapping[str, Any], gaps: NDArray[np.uint8], opset: int) -> dict[str, TensorProto]:
    """What a node of this opset carries for its function alone, besides weight_shape and block: see above."""
    found = {}
    if opset < 12:
        numbers = {key: np.array(attributes[key], np.int64) for key in ("weight_shape", "block")}
        found = {f"{key}_tensor": numpy_helper.from_array(value) for key, value in numbers.items()}
    if opset < 11:
        positions = np.cumsum(gaps, dtype=np.int64) - 1
        found["positions"] = numpy_helper.from_array(positions.reshape(-1, 1))
    if opset < 10:
        found["rows_kept"] = numpy_helper.from_array(np.arange(attributes["weight_shape"][0], dtype=np.int64))
    return found


def spelled_bounds(low: float, high: float, opset: int) -> dict[str, TensorProto]:
    """The same for the bounds of a Clip, which became inputs one opset before constants could be made of attributes."""
    if opset != 11:
        return {}
    return {f"{k}_tensor": numpy_helper.from_array(np.array(v, np.float32)) for k, v in (("low", low), ("high", high))}


def dense_weight(body: Body) -> None:
    """Compute `weight` from `values`, `gaps`, and the attributes weight_shape and block (storage.py)."""
    body.constant("shape", "value_ints", "weight_shape")
    body.constant("rows", "value_int", "block")
    body.literals(one=1, minus_one=-1)
    body.node("Reshape", ["rows", "one"], "rows_")
    body.part("shape", 0, 1, "count")
    # the number of columns is all weights by rows; row blocks are rounded up
    body.filled("shape", "like")
    body.node("Size", ["like"], "size")
    body.node("Div", ["size", "count"], "depth")
    _row_blocks(body)
    body.node("Concat", ["row_blocks", "depth", "rows_"], "grid", axis=0)
    body.node("Concat", ["minus_one", "rows_"], "list", axis=0)
    body.node("Concat", ["minus_one", "depth"], "matrix", axis=0)
    body.filled("grid", "empty")
    body.node("Reshape", ["empty", "list"], "no_blocks")
    body.node("Reshape", ["values", "list"], "stored")
    body.scattered("no_blocks", "stored", "blocks")
    body.node("Reshape", ["blocks", "grid"], "by_column")
    body.node("Transpose", ["by_column"], "by_row", perm=[0, 2, 1])
    body.node("Reshape", ["by_row", "matrix"], "filled")
    body.first("filled", "count", 0, "flat")
    body.node("Reshape", ["flat", "shape"], "weight")


def _row_blocks(body: Body) -> None:
    body.node("Add", ["count", "rows_"], "above")
    body.node("Sub", ["above", "one"], "rounded")
    body.node("Div", ["rounded", "rows_"], "row_blocks")


def dense_integers(body: Body, *, convolution: bool) -> None:
    """Compute the int8 `weight` and, for a convolution, `zeros`, its zero points, as `encode_integers` stored it."""
    body.constant("shape", "value_ints", "weight_shape")
    body.constant("rows", "value_int", "block")
    body.literals(one=1, three=3, four=4, minus_one=-1)
    body.node("Reshape", ["rows", "one"], "rows_")
    body.part("shape", 0, 1, "count")
    body.part("shape", 1, 2, "channels")
    body.part("shape", 2, FAR, "kernel")
    # four channels of one tap make a column of blocks
    body.node("Add", ["channels", "three"], "channels_above")
    body.node("Div", ["channels_above", "four"], "fours")
    body.node("Mul", ["fours", "four"], "wide")
    body.filled("kernel", "like", TensorProto.INT8)
    body.node("Size", ["like"], "taps")
    body.node("Mul", ["fours", "taps"], "columns")
    _row_blocks(body)
    body.node("Mul", ["rows_", "four"], "size")
    body.node("Mul", ["row_blocks", "columns"], "places")
    body.node("Concat", ["places", "size"], "list", axis=0)
    body.node("Concat", ["minus_one", "size"], "stored_shape", axis=0)
    body.node("Concat", ["row_blocks", "columns", "rows_", "four"], "grid", axis=0)
    body.node("Concat", ["minus_one", "kernel", "wide"], "by_tap_shape", axis=0)
    body.filled("list", "no_blocks", TensorProto.INT8)
    body.node("Reshape", ["values", "stored_shape"], "stored")
    body.scattered("no_blocks", "stored", "blocks")
    body.node("Reshape", ["blocks", "grid"], "by_column")
    body.node("Transpose", ["by_column"], "by_row", perm=[0, 2, 1, 3])
    body.node("Reshape", ["by_row", "by_tap_shape"], "filled")
    body.first("filled", "count", 0, "of_rows")
    body.first("of_rows", "channels", -1, "by_tap" if convolution else "weight")
    if not convolution:
        return
    # channels back from the end to the second place, over one axis or two alike
    body.node("Concat", ["count", "minus_one", "channels"], "taps_last", axis=0)
    body.node("Reshape", ["by_tap", "taps_last"], "flat")
    body.node("Transpose", ["flat"], "channels_first", perm=[0, 2, 1])
    body.node("Reshape", ["channels_first", "shape"], "weight")
    body.filled("count", "zeros", TensorProto.INT8)
