"""Small networks whose outputs tell little, and wrong results of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from onnxprune.cut import cut
from onnxprune.model.load import load
from onnxprune.model.save import write
from onnxprune.proof.judge import Proof
from onnxprune.proof.masked import prove
from onnxprune.trace import trace_model
from onnxprune.trace.groups import Trace
from tests.builders import Net, ints

Bools = NDArray[np.bool_]


def halved(proto: ModelProto, sizes: dict[str, int] | None = None) -> tuple[Trace, Bools]:
    """The model, traced at these sizes, and half of the units of every group."""
    trace = trace_model(load(proto), sizes=sizes)
    keep = np.ones(trace.unit_count, bool)
    for group in trace.prunable:
        keep[group.units[::2]] = False
    return trace, keep


def proof_of(
    proto: ModelProto,
    folder: Path,
    change: dict[str, Any] | None = None,
    sizes: dict[str, int] | None = None,
    **how: Any,
) -> Proof:
    """The proof of a cut in half, in which constants were changed: name -> a function of the array."""
    trace, keep = halved(proto, sizes)
    path = folder / "cut.onnx"
    write(cut(trace, keep), path, force=True)
    if change:
        made = onnx.load(path)
        for tensor in made.graph.initializer:
            if tensor.name in change:
                tensor.CopyFrom(
                    numpy_helper.from_array(change[tensor.name](numpy_helper.to_array(tensor)), tensor.name)
                )
        onnx.save(made, path)
    return prove(trace, keep, path, threads=1, **how)


def attention(net: Net, h: str, width: int = 16, heads: int = 2, fan_in: int = 12) -> str:
    """Self-attention over axis 1, its scale a constant `scale`."""
    each = width // heads
    weights = [net.normal(fan_in, width, scale=fan_in**-0.5) for _ in range(3)]
    q, k, v = (net.op("MatMul", h, w, name=f"project_{name}") for name, w in zip("qkv", weights, strict=True))
    parts = [net.transpose(net.reshape(x, 0, 0, heads, each), 0, 2, 1, 3) for x in (q, k, v)]
    scores = net.op("MatMul", parts[0], net.transpose(parts[1], 0, 1, 3, 2))
    scores = net.op("Mul", scores, net.constant(net.number(1.0), "scale"))
    found = net.transpose(net.op("MatMul", net.softmax(scores), parts[2]), 0, 2, 1, 3)
    return net.reshape(found, 0, 0, width)


def frames(*, static: int | None = None) -> ModelProto:
    """Attention over the frames up to the longest length (an input), or over `static` ones."""
    net = Net(17, seed=3)
    h = net.matmul(net.declare("x", ["N", static or "T", 6]), 12, name="a")
    if static is None:
        longest = net.op("ReduceMax", net.declare("lens", ["N"], np.int64), keepdims=1)
        h = net.op("Slice", h, ints(0), longest, ints(1))
    net.output(net.op("MatMul", attention(net, h), net.normal(16, 4), name="z"), rank=3)
    return net.model()


def second_stage(threshold: float = 0.0) -> ModelProto:
    """Rows with a score above the threshold go through two more layers, hidden and z."""
    net = Net(17, seed=4)
    h = net.relu(net.gemm(net.declare("x", [40, 6]), 12, name="a"))
    score = net.reshape(net.gemm(h, 1, name="score"), -1)
    above = net.squeeze(net.op("NonZero", net.op("Greater", score, net.constant(net.number(threshold), "limit"))), 0)
    rows = net.op("Gather", h, above, axis=0)
    hidden = net.op("Gemm", rows, net.constant(net.normal(16, 12), "hidden_w"), net.normal(16), transB=1, name="hidden")
    last = net.op("Gemm", net.relu(hidden), net.constant(net.normal(4, 16), "z_w"), net.normal(4), transB=1, name="z")
    net.output(last, rank=2)
    return net.model()


def two_outputs(threshold: float = 20.0) -> ModelProto:
    """x -> a -> z for the rows with a score above the threshold, and x -> a -> whole for all of them."""
    net = Net(17, seed=6)
    h = net.relu(net.gemm(net.declare("x", [40, 6]), 12, name="a"))
    score = net.reshape(net.gemm(h, 1, name="score"), -1)
    above = net.squeeze(net.op("NonZero", net.op("Greater", score, net.number(threshold))), 0)
    rows = net.op("Gather", h, above, axis=0)
    net.output(net.op("Gemm", rows, net.constant(net.normal(4, 12), "z_w"), net.normal(4), transB=1, name="z"), rank=2)
    net.output(net.gemm(h, 3, name="whole"), rank=2)
    return net.model()


def two_rates() -> ModelProto:
    """A branch for windows of 64 values of a signal, and one for all other rates, whose windows are half as long."""
    branches = []
    for seed, window in enumerate((64, 32)):
        inner = Net(17, seed=seed)
        inner._count = 100 * (seed + 1)  # names of a body must be new
        frame = inner.reshape("x", -1, window)
        h = inner.relu(inner.op("Gemm", frame, inner.normal(16, window), name=f"a{seed}", transB=1))
        branches.append(
            inner.body(f"rate{seed}", [inner.op("Gemm", h, inner.normal(4, 16), name=f"z{seed}", transB=1)])
        )
    net = Net(17)
    net.declare("x", [1, "samples"])
    asked = net.op("Equal", net.declare("rate", [], np.int64), np.array(16000))
    both = {"then_branch": branches[0], "else_branch": branches[1]}
    net.nodes.append(onnx.helper.make_node("If", [asked], ["y"], name="If", **both))
    net.output("y", rank=2)
    return net.model()


def faint() -> ModelProto:
    """x -> a -> b -> z, whose outputs are a millionth of what x gives and a constant."""
    net = Net(17, seed=9)
    h = net.op(
        "Gemm", net.declare("x", ["N", 6]), net.constant(net.normal(12, 6), "a_w"), net.normal(12), transB=1, name="a"
    )
    h = net.gemm(net.relu(h), 12, name="b")
    z = net.op("Gemm", net.relu(h), net.normal(4, 12) * np.float32(1e-7), transB=1, name="z")
    net.output(net.add(z, np.array([1, 2, 3, 4], np.float32)), rank=2)
    return net.model()


def hidden_arm() -> ModelProto:
    """x -> a -> z, and x -> dead0 -> last0 (or 1) inside of an If, whose values nobody sees, multiplied by zero."""
    branches = []
    for seed in (0, 1):
        inner = Net(17, seed=seed)
        inner._count = 100 * (seed + 1)  # names of a body must be new
        h = inner.relu(inner.op("Gemm", "x", inner.normal(12, 6), name=f"dead{seed}", transB=1))
        h = inner.op("Gemm", h, inner.normal(4, 12), name=f"last{seed}", transB=1)
        zero = inner.op("ReduceMax", inner.op("Sub", "x", "x"), axes=[1], keepdims=1)
        branches.append(inner.body(f"arm{seed}", [inner.op("Mul", h, zero)]))
    net = Net(17, seed=5)
    x = net.declare("x", ["N", 6])
    flag = net.declare("flag", [], bool)
    both = {"then_branch": branches[0], "else_branch": branches[1]}
    net.nodes.append(onnx.helper.make_node("If", [flag], ["arm"], name="If", **both))
    net.output(net.add(net.gemm(net.relu(net.gemm(x, 12, name="a")), 4, name="z"), "arm"), rank=2)
    return net.model()


def behind_rounding() -> ModelProto:
    """x -> a -> rounded -> dead -> last, multiplied by zero: values behind a rounding need not agree, and no output
    shows them.
    """
    net = Net(17, seed=10)
    x = net.declare("x", ["N", 6])
    h = net.op("Round", net.gemm(x, 12, name="a"))
    h = net.gemm(net.relu(net.gemm(h, 12, name="dead")), 4, name="last")
    arm = net.op("Mul", h, net.op("ReduceMax", net.op("Sub", x, x), axes=[1], keepdims=1))
    net.output(net.add(net.gemm(x, 4, name="z"), arm), rank=2)
    return net.model()


def two_arms(*, zeros: bool = False) -> ModelProto:
    """x -> a -> z and x -> dead -> last; what comes from `last` is multiplied by something that is zero for all inputs,
    or its weight is zero.
    """
    net = Net(17, seed=5)
    x = net.declare("x", ["N", 6])
    first = net.constant(net.normal(12, 6), "dead_w")
    arm = net.relu(net.op("Gemm", x, first, net.normal(12), transB=1, name="dead"))
    last = net.normal(4, 12) * (0 if zeros else 1)
    arm = net.op("Gemm", arm, last, transB=1, name="last")
    if not zeros:
        arm = net.op("Mul", arm, net.op("ReduceMax", net.op("Sub", x, x), axes=[1], keepdims=1))
    net.output(net.add(net.gemm(net.relu(net.gemm(x, 12, name="a")), 4, name="z"), arm), rank=2)
    return net.model()
