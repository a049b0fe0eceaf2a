"""A builder of small test networks: one line a layer, seeded weights, any opset, dynamic batch.

    net = Net(opset=13)
    h = net.relu(net.conv(net.input(3, 6, 6), 8, name="a"))
    net.output(net.conv(h, 4, name="z"))
    model = net.model()

Values are plain names; `net.shape(value)` is what onnx infers, with 1 for the batch. Arrays given as inputs become
initializers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

Array = NDArray[Any]
MICROSOFT = "com.microsoft"
NEWEST_IR = {7: 3, 9: 4, 11: 6, 13: 7, 17: 8, 18: 8, 21: 10, 22: 10, 23: 11, 24: 12}


def ints(*values: int) -> Array:
    """A size, axis or index input."""
    return np.array(values, np.int64)


def words(text: str) -> list[str]:
    return text.split()


class Net:
    """A graph in the making. `weights` says how constants are spelled: initializer, constant, identity."""

    def __init__(
        self,
        opset: int = 17,
        *,
        seed: int = 0,
        dtype: type = np.float32,
        weights: str = "initializer",
        ir: int | None = None,
        batch: str | int = "N",
    ) -> None:
        self.opset, self.dtype, self.weights, self.batch = opset, np.dtype(dtype), weights, batch
        self.ir = NEWEST_IR.get(opset, 8) if ir is None else ir
        self.rng = np.random.default_rng(seed)
        self.nodes: list[NodeProto] = []
        self.tensors: list[TensorProto] = []
        self.inputs: list[ValueInfoProto] = []
        self.outputs: list[ValueInfoProto] = []
        self.hints: list[ValueInfoProto] = []
        self.functions: list[FunctionProto] = []
        self.domains: dict[str, int] = {"": opset}
        self._count = 0
        self._shapes: tuple[int, dict[str, tuple[int, ...]]] = (-1, {})

    # ---- values ------------------------------------------------------------------------------------------------
    def fresh(self, stem: str = "v") -> str:
        self._count += 1
        return f"{stem}{self._count}"

    def input(self, *shape: int | str, name: str = "", dtype: type | None = None) -> str:
        """A graph input; the batch comes in front of `shape`."""
        return self.declare(name or self.fresh("x"), [self.batch, *shape], dtype)

    def declare(self, name: str, shape: Sequence[int | str], dtype: type | None = None) -> str:
        """A graph input of exactly this shape."""
        self.inputs.append(helper.make_tensor_value_info(name, self.type_of(dtype), shape))
        return name

    def output(self, *values: str, dtype: type | None = None, rank: int | None = None) -> None:
        """Graph outputs; only the rank of their shapes is declared."""
        for value in values:
            dims = [None] * (len(self.shape(value)) if rank is None else rank)
            self.outputs.append(helper.make_tensor_value_info(value, self.type_of(dtype), dims))

    def type_of(self, dtype: type | None) -> int:
        return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype or self.dtype)))

    def hint(self, value: str, *shape: int) -> str:
        """Tell the shape behind the batch of a value that onnx cannot infer."""
        self.hints.append(helper.make_tensor_value_info(value, self.type_of(None), [self.batch, *shape]))
        return value

    def shape(self, value: str) -> tuple[int, ...]:
        """The inferred shape, with 1 for the batch."""
        if self._shapes[0] != len(self.nodes):
            model = self.model(fixed=True)
            inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
            found = {
                v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim)
                for v in (*inferred.value_info, *inferred.input)
            }
            found.update({t.name: tuple(t.dims) for t in self.tensors})
            self._shapes = (len(self.nodes), found)
        return self._shapes[1][value]

    def channels(self, value: str, axis: int = 1) -> int:
        return self.shape(value)[axis]

    # ---- constants ---------------------------------------------------------------------------------------------
    def constant(self, value: ArrayLike, name: str = "") -> str:
        """A constant, as `weights` says."""
        array = np.asarray(value)
        name = name or self.fresh("w")
        if self.weights == "constant":
            tensor = numpy_helper.from_array(array, name)
            self.nodes.append(helper.make_node("Constant", [], [name], name=f"{name}_node", value=tensor))
            return name
        inner = f"{name}_raw" if self.weights == "identity" and array.dtype == self.dtype else name
        self.tensors.append(numpy_helper.from_array(np.asarray(array, order="C"), inner))
        if inner != name:
            self.nodes.append(helper.make_node("Identity", [inner], [name], name=f"{name}_node"))
        return name

    def normal(self, *shape: int, scale: float | None = None) -> Array:
        """Normal numbers; by default of 1 / sqrt(fan in)."""
        fan_in = max(int(np.prod(shape[1:])), 1)
        factor = 1 / np.sqrt(fan_in) if scale is None else scale
        return np.asarray(self.rng.standard_normal(shape) * factor).astype(self.dtype)

    def positive(self, *shape: int) -> Array:
        return self.rng.uniform(0.5, 1.5, shape).astype(self.dtype)

    def number(self, value: float) -> Array:
        return np.array(value, self.dtype)

    # ---- operators ---------------------------------------------------------------------------------------------
    def op(self, op_type: str, *inputs: str | ArrayLike | None, name: str = "", domain: str = "", **attrs: Any) -> str:
        """Any operator with one output."""
        return self.many(op_type, 1, *inputs, name=name, domain=domain, **attrs)[0]

    def many(
        self, op_type: str, count: int, *inputs: str | ArrayLike | None, name: str = "", domain: str = "", **attrs: Any
    ) -> list[str]:
        """Any operator with several outputs; None is an absent optional input."""
        names = [i if isinstance(i, str) else "" if i is None else self.constant(i) for i in inputs]
        outputs = [self.fresh() for _ in range(count)]
        label = name or self.fresh(op_type)
        if domain:
            self.domains.setdefault(domain, 1)
        self.nodes.append(helper.make_node(op_type, names, outputs, name=label, domain=domain, **attrs))
        return outputs

    def conv(
        self, x: str, out: int, kernel: int = 1, *, name: str = "", group: int = 1, bias: bool = True, **attrs: Any
    ) -> str:
        """Convolution of any rank."""
        rank = len(self.shape(x)) - 2
        weight = self.normal(out, self.channels(x) // group, *[kernel] * rank)
        return self.op("Conv", x, weight, *[self.normal(out)] * bias, name=name, group=group, **attrs)

    def transposed(self, x: str, out: int, kernel: int = 2, *, name: str = "", group: int = 1, **attrs: Any) -> str:
        rank = len(self.shape(x)) - 2
        weight = self.normal(self.channels(x), out // group, *[kernel] * rank)
        return self.op("ConvTranspose", x, weight, self.normal(out), name=name, group=group, **attrs)

    def bn(self, x: str, *, name: str = "") -> str:
        c = self.channels(x)
        inputs = self.positive(c), self.normal(c), self.normal(c), self.positive(c)
        return self.op("BatchNormalization", x, *inputs, name=name)

    def relu(self, x: str, *, name: str = "") -> str:
        return self.op("Relu", x, name=name)

    def add(self, a: str | ArrayLike, b: str | ArrayLike, *, name: str = "") -> str:
        return self.op("Add", a, b, name=name)

    def concat(self, *values: str | ArrayLike, axis: int = 1, name: str = "") -> str:
        return self.op("Concat", *values, axis=axis, name=name)

    def gemm(self, x: str, out: int, *, name: str = "") -> str:
        return self.op("Gemm", x, self.normal(out, self.channels(x)), self.normal(out), name=name, transB=1)

    def matmul(self, x: str, out: int, *, name: str = "") -> str:
        """x @ W, without bias."""
        width = self.channels(x, -1)
        return self.op("MatMul", x, self.normal(width, out, scale=1 / np.sqrt(width)), name=name)

    def dense(self, x: str, out: int, *, name: str = "") -> str:
        """x @ W + b."""
        return self.add(self.matmul(x, out, name=name), self.normal(out))

    def reshape(self, x: str, *target: int, name: str = "", **attrs: Any) -> str:
        return self.op("Reshape", x, ints(*target), name=name, **attrs)

    def transpose(self, x: str, *perm: int, name: str = "") -> str:
        return self.op("Transpose", x, perm=list(perm), name=name)

    def softmax(self, x: str, axis: int = -1, *, name: str = "") -> str:
        return self.op("Softmax", x, axis=axis, name=name)

    def slice(self, x: str, start: int, end: int, axis: int, step: int = 1, *, name: str = "") -> str:
        if self.opset < 10:
            return self.op("Slice", x, starts=[start], ends=[end], axes=[axis], name=name)
        return self.op("Slice", x, ints(start), ints(end), ints(axis), ints(step), name=name)

    def split(self, x: str, *sizes: int, axis: int = 1, name: str = "") -> list[str]:
        if self.opset < 13:
            return self.many("Split", len(sizes), x, split=list(sizes), axis=axis, name=name)
        return self.many("Split", len(sizes), x, ints(*sizes), axis=axis, name=name)

    def with_axes(self, op_type: str, x: str, *axes: int, name: str = "", **attrs: Any) -> str:
        """Operators whose axes became an input at opset 13 (reductions but ReduceSum: 18)."""
        since = 18 if op_type.startswith("Reduce") and op_type != "ReduceSum" else 13
        if self.opset >= since:
            return self.op(op_type, x, ints(*axes), name=name, **attrs)
        return self.op(op_type, x, axes=list(axes), name=name, **attrs)

    def squeeze(self, x: str, *axes: int, name: str = "") -> str:
        return self.with_axes("Squeeze", x, *axes, name=name)

    def unsqueeze(self, x: str, *axes: int, name: str = "") -> str:
        return self.with_axes("Unsqueeze", x, *axes, name=name)

    def mean(self, x: str, *axes: int, keepdims: int = 1, name: str = "") -> str:
        return self.with_axes("ReduceMean", x, *axes, keepdims=keepdims, name=name)

    def size_of(self, x: str, axis: int) -> str:
        """Shape -> Gather: one size, as a vector."""
        return self.op("Gather", self.op("Shape", x), ints(axis), axis=0)

    # ---- the usual surroundings --------------------------------------------------------------------------------
    def stem(self, channels: int = 8, *, size: int = 6, name: str = "a") -> str:
        """An image through a convolution: (N, channels, size, size)."""
        return self.conv(self.input(3, size, size), channels, name=name)

    def head(self, x: str, *, name: str = "z") -> None:
        """A 1 x 1 convolution (or what the rank asks for) to an output."""
        rank = len(self.shape(x))
        if rank == 2:
            self.output(self.gemm(x, 4, name=name))
        else:
            self.output(self.conv(x, 4, name=name))

    def tokens(self, width: int = 8, *, length: int = 5, name: str = "a") -> str:
        """A sequence through a matrix product: (N, length, width)."""
        return self.dense(self.input(length, 6), width, name=name)

    def project(self, x: str, *, name: str = "z") -> None:
        self.output(self.matmul(x, 4, name=name))

    # ---- the result --------------------------------------------------------------------------------------------
    def body(self, name: str = "body", results: Sequence[str] = ()) -> GraphProto:
        """This net as a subgraph, for nets that capture outer values."""
        outputs = [onnx.ValueInfoProto(name=r) for r in results] or self.outputs
        return helper.make_graph(self.nodes, name, self.inputs, outputs, self.tensors)

    def model(self, *, fixed: bool = False) -> ModelProto:
        """The model; with `fixed`, of batch 1."""
        graph = helper.make_graph(self.nodes, "net", self.inputs, self.outputs, self.tensors, value_info=self.hints)
        imports = [helper.make_opsetid(domain, version) for domain, version in self.domains.items()]
        ir = max(self.ir, 8) if fixed else self.ir
        proto = helper.make_model(graph, opset_imports=imports, ir_version=ir, functions=self.functions)
        if fixed:
            del proto.graph.output[:]
            for value in (*proto.graph.input, *proto.graph.value_info):
                for dim in value.type.tensor_type.shape.dim:
                    if dim.dim_param:
                        dim.dim_value = 1
        elif self.ir < 4:  # there, initializers must be inputs
            for tensor in self.tensors:
                info = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
                proto.graph.input.append(info)
        return proto
