"""The oracle of these tests: gradients that ONNX Runtime computes against central differences of the forward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from onnxprune.capture.grad import Gradient, differentiate
from onnxprune.capture.session import open_session
from onnxprune.capture.shapes import concrete_shapes

Array = NDArray[Any]
N = helper.make_node


def model(
    nodes: Sequence[NodeProto],
    feeds: Mapping[str, Array],
    constants: Mapping[str, Array],
    outputs: Sequence[str],
    opset: int,
    extra: Sequence[TensorProto] = (),
) -> onnx.ModelProto:
    """A model whose inputs are `feeds`; the types of its outputs are left to inference."""
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in feeds.items()
    ]
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(list(nodes), "g", inputs, [], [*stored, *extra])
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    domains = {"": opset} | {node.domain: 1 for node in nodes if node.domain}
    imports = [helper.make_opsetid(domain, version) for domain, version in domains.items()]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def with_loss(nodes: Sequence[NodeProto], outputs: Sequence[str], opset: int) -> list[NodeProto]:
    """L = sum over outputs of sum(output * mix_output), without anything that depends on the opset."""
    found = list(nodes)
    for i, name in enumerate(outputs):
        found.append(N("Mul", [name, f"mix_{name}"], [f"mixed{i}"]))
        found.append(N("Flatten", [f"mixed{i}"], [f"row{i}"], axis=0))
        found.append(N("MatMul", [f"row{i}", f"ones_{name}"], [f"part{i}"]))
    found.append(N("Sum", [f"part{i}" for i in range(len(outputs))], ["loss"]))
    return found


def forward(
    nodes: Sequence[NodeProto],
    feeds: Mapping[str, Array],
    constants: Mapping[str, Array],
    outputs: Sequence[str],
    opset: int,
) -> Any:
    session = open_session(model(nodes, feeds, constants, outputs, opset), threads=1)
    return lambda values: session.run(list(outputs), dict(values))


def mixtures(results: Sequence[Array], outputs: Sequence[str], dtype: Any) -> dict[str, Array]:
    rng = np.random.default_rng(5)
    found = {}
    for name, value in zip(outputs, results, strict=True):
        found[f"mix_{name}"] = rng.uniform(0.5, 1.5, value.shape).astype(dtype) * rng.choice([-1, 1], value.shape)
        found[f"mix_{name}"] = found[f"mix_{name}"].astype(dtype)
        found[f"ones_{name}"] = np.ones((value.size, 1), dtype)
    return found


def reverse(
    nodes: Sequence[NodeProto],
    feeds: Mapping[str, Array],
    constants: Mapping[str, Array],
    wrt: Sequence[str],
    opset: int,
    outputs: Sequence[str] = ("y",),
) -> tuple[Gradient, dict[str, Array], dict[str, Array]]:
    """The backward pass, the gradients that the runtime computes with it, and the mixture of the loss."""
    results = forward(nodes, feeds, constants, outputs, opset)(feeds)
    dtype = next(value.dtype for value in feeds.values() if value.dtype.kind == "f")
    mix = mixtures(results, outputs, dtype)
    known = {**constants, **mix}
    full = with_loss(nodes, outputs, opset)
    shapes, types = concrete_shapes(model(full, feeds, known, ["loss"], opset), feeds)
    found = differentiate(full, "loss", wrt, shapes, constants, opset, types)
    names = list(found.names.values())
    proto = model([*full, *found.nodes], feeds, known, names, opset, found.constants)
    computed = open_session(proto, threads=1).run(names, dict(feeds)) if names else []
    return found, dict(zip(found.names, computed, strict=True)), mix


def check(
    nodes: Sequence[NodeProto],
    feeds: Mapping[str, Array],
    wrt: Sequence[str],
    *,
    constants: Mapping[str, Array] | None = None,
    opset: int = 17,
    outputs: Sequence[str] = ("y",),
    step: float = 1e-4,
    tolerance: float = 1e-5,
    seen: bool = True,
) -> Gradient:
    """Every entry of every gradient against (L(w + step) - L(w - step)) / (2 step); L is summed up in float64.

    With `seen`, no gradient may be zero everywhere: something must have been compared.
    """
    literals = dict(constants or {})
    found, computed, mix = reverse(nodes, feeds, literals, wrt, opset, outputs)
    assert not found.frozen, found.frozen
    run = forward(nodes, feeds, literals, outputs, opset)

    def loss(values: Mapping[str, Array]) -> float:
        results = run(values)
        return sum(float((r.astype(np.float64) * mix[f"mix_{n}"]).sum()) for n, r in zip(outputs, results, strict=True))

    for name in wrt:
        expected = np.zeros(feeds[name].shape)
        for index in np.ndindex(feeds[name].shape):
            moved = {sign: dict(feeds) for sign in (1, -1)}
            for sign in (1, -1):
                moved[sign][name] = feeds[name].copy()
                moved[sign][name][index] += sign * step
            width = float(moved[1][name][index]) - float(moved[-1][name][index])
            expected[index] = (loss(moved[1]) - loss(moved[-1])) / width
        assert computed[name].shape == feeds[name].shape, name
        scale = max(1.0, float(np.abs(expected).max()))
        assert np.abs(computed[name] - expected).max() <= tolerance * scale, (name, computed[name], expected)
        assert not seen or np.abs(expected).max() > 0, f"the gradient for {name} is zero: nothing was compared"
    return found


def draw(seed: int, *shape: int, dtype: Any = np.float64, low: float = -2.0, high: float = 2.0) -> Array:
    """Seeded uniform values, none closer to 0 than 0.05."""
    values = np.random.default_rng(seed).uniform(low, high, shape)
    values = np.where(np.abs(values) < 0.05, 0.1, values)
    return values.astype(dtype)


SINGLE: dict[str, Any] = {"step": 2.0**-6, "tolerance": 1e-3}
"""For operators that the runtime has in float32 only."""
BILINEAR: dict[str, Any] = {"step": 1.0, "tolerance": 1e-5}
"""In float32, for functions linear in each weight: their central differences are exact for every step."""
