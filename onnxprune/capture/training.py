"""A network as a training step: samples and targets in, loss and gradients of the weights out.

    L = 1/K sum_k w_k |y_k - t_k|^2 / v_k   (means over all elements),

with y_k values of the network, t_k what another network gives there, v_k their variance, w_k 1 or a weight of each
position. Forward and backward pass are one ONNX model; ONNX Runtime computes both. Where an operator has no gradient
rule (recurrent layers), what lies before it learns from the y_k before it alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from onnxprune.capture.grad import differentiate, native
from onnxprune.capture.session import open_session
from onnxprune.capture.shapes import concrete_shapes
from onnxprune.model.graph import Graph
from onnxprune.model.load import Model
from onnxprune.native.marks import DOMAIN
from onnxprune.results.providers import Threads

Array = NDArray[Any]
Weights = dict[str, NDArray[np.float32]]
LOSS, GOAL = "onnxprune.loss", "onnxprune.goal."
LARGEST_CONSTANT = 4096  # elements of the constants that rules of the backward pass may want to know


@dataclass(frozen=True)
class Goals:
    """t_k and, by k, those w_k that are not 1: of as many axes as t_k, and its size or 1 on each."""

    targets: Sequence[Array]
    weights: Mapping[int, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """`weights` are the names that `run` wants values of, and gives gradients of; `frozen` says why others are not."""

    weights: tuple[str, ...]
    frozen: Mapping[str, str]
    _gradients: tuple[str, ...]
    _session: Any
    _forward: Any

    def run(
        self, feeds: Mapping[str, Array], goals: Goals, weights: Weights
    ) -> tuple[float, list[NDArray[np.float32]]]:
        """(loss, gradients in the order of `weights`)."""
        inputs = _inputs(self._session, feeds, goals, weights)
        loss, *gradients = self._session.run([LOSS, *self._gradients], inputs)
        return float(loss), gradients

    def loss(self, feeds: Mapping[str, Array], goals: Goals, weights: Weights) -> float:
        """The loss alone."""
        return float(self._forward.run([LOSS], _inputs(self._forward, feeds, goals, weights))[0])


def _inputs(session: Any, feeds: Mapping[str, Array], goals: Goals, weights: Weights) -> dict[str, Array]:
    """What the session reads of these."""
    read = {value.name for value in session.get_inputs()}
    wanted = {f"{GOAL}{k}": target for k, target in enumerate(goals.targets)}
    wanted |= {f"{GOAL}{k}.weight": weight for k, weight in goals.weights.items()}
    return {name: array for name, array in {**feeds, **wanted, **weights}.items() if name in read}


def training_step(
    graph: Graph,
    feeds: Mapping[str, Array],
    wanted: Sequence[str],
    targets: Sequence[str],
    variances: Sequence[float],
    threads: Threads = 0,
    *,
    weighted: Mapping[int, tuple[int, ...]] | None = None,
) -> Step:
    """For feeds of the shapes of `feeds`. `wanted` are float32 initializers, `targets` are float32 values. `weighted`:
    the shapes of the weights that `Goals` will have.
    """
    model = graph.model
    nodes = [node.proto for node in graph.nodes if node.scope == 0]
    shapes, types = concrete_shapes(model.complete_proto(), dict(feeds))
    shapes, types = dict(shapes), dict(types)
    fast = native.is_there(threads)
    loss, scales = _loss(targets, variances, shapes, weighted or {}, fast)
    opset = model.opset() or 1
    small = {k: c.array() for k, c in graph.constants.items() if c.size <= LARGEST_CONSTANT}
    gradient = differentiate([*nodes, *loss], LOSS, wanted, shapes, small, opset, types, stopping=True, native=fast)
    if fast:
        nodes, zeros = native.lowered(nodes, shapes, types)
        gradient = replace(gradient, nodes=native.joined(gradient.nodes))
        scales += zeros
    names = tuple(name for name in wanted if name in gradient.names)
    slopes = tuple(gradient.names[name] for name in names)
    floats = {name: model.tensors[name].shape for name in names}
    floats |= {f"{GOAL}{k}": shapes[key] for k, key in enumerate(targets)}
    floats |= {f"{GOAL}{k}.weight": shape for k, shape in (weighted or {}).items()}
    constants = [*scales, *gradient.constants]
    both, forward = (
        open_session(part_of(model, [*nodes, *loss, *behind], outputs, floats, constants), threads)
        for behind, outputs in ((gradient.nodes, [LOSS, *slopes]), ([], [LOSS]))
    )
    return Step(names, gradient.frozen, slopes, both, forward)


def part_of(
    model: Model,
    nodes: Sequence[onnx.NodeProto],
    outputs: Sequence[str],
    floats: Mapping[str, tuple[int, ...]],
    constants: Sequence[onnx.TensorProto],
) -> onnx.ModelProto:
    """Those of the nodes that `outputs` need: ONNX Runtime would run all. `floats` are inputs, by name and shape."""
    needed = _needed(nodes, set(outputs))
    read = {key for node in needed for key in _read(node)}
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    proto.graph.Clear()
    proto.graph.name = "training"
    proto.ir_version = max(proto.ir_version, 4)
    if any(node.domain == DOMAIN for node in needed) and all(one.domain != DOMAIN for one in proto.opset_import):
        proto.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    proto.graph.node.extend(needed)
    proto.graph.input.extend(i for i in model.proto.graph.input if i.name in read and i.name not in model.tensors)
    inputs = {name: shape for name, shape in floats.items() if name in read}
    proto.graph.input.extend(helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in inputs.items())
    proto.graph.initializer.extend(t.to_proto() for k, t in model.tensors.items() if k in read and k not in floats)
    proto.graph.initializer.extend(c for c in constants if c.name in read)
    proto.graph.output.extend(helper.make_tensor_value_info(key, TensorProto.FLOAT, None) for key in outputs)
    return proto


def observer(model: Model, keys: Sequence[str], threads: Threads = 0) -> Any:
    """A session of the model whose outputs are the float32 values `keys`; nothing else is computed."""
    proto = model.complete_proto()
    needed = _needed(proto.graph.node, set(keys))
    del proto.graph.node[:]
    proto.graph.node.extend(needed)
    del proto.graph.output[:]
    proto.graph.output.extend(helper.make_tensor_value_info(key, TensorProto.FLOAT, None) for key in keys)
    return open_session(proto, threads)


def _loss(
    targets: Sequence[str],
    variances: Sequence[float],
    shapes: dict[str, tuple[int, ...]],
    weighted: Mapping[int, tuple[int, ...]],
    fast: bool,
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Nodes of the loss and their constants; the shapes of the new values are added to `shapes`."""
    nodes, constants, parts = [], [], []
    for k, (key, variance) in enumerate(zip(targets, variances, strict=True)):
        goal = f"{GOAL}{k}"
        difference, square, mean, part, scale = (
            f"{goal}.{s}" for s in ("difference", "square", "mean", "part", "scale")
        )
        weight = f"{goal}.weight" if k in weighted else None
        if weight is not None:
            shapes |= {weight: weighted[k]}
        if fast and (weight is None or _of_positions(weighted[k], shapes[key])):
            nodes.append(native.squared_distance(key, goal, mean, weight))
        else:
            nodes += [
                helper.make_node("Sub", [key, goal], [difference]),
                helper.make_node("Mul", [difference, difference], [square]),
            ]
            last = square if weight is None else f"{goal}.counted"
            if weight is not None:
                nodes.append(helper.make_node("Mul", [square, weight], [last]))
                shapes |= {last: shapes[key]}
            nodes.append(helper.make_node("ReduceMean", [last], [mean], keepdims=0))
        nodes.append(helper.make_node("Mul", [mean, scale], [part]))
        constants.append(helper.make_tensor(scale, TensorProto.FLOAT, (), [1.0 / (len(targets) * variance)]))
        shapes |= dict.fromkeys((goal, difference, square), shapes[key]) | dict.fromkeys((mean, part, scale), ())
        parts.append(part)
    shapes[LOSS] = ()
    return [*nodes, helper.make_node("Sum", parts, [LOSS])], constants


def _of_positions(weight: tuple[int, ...], values: tuple[int, ...]) -> bool:
    """Whether weights differ from values in one axis at most, on which they are 1."""
    return len(weight) == len(values) and sum(a != b for a, b in zip(weight, values, strict=True)) <= 1


def _read(node: onnx.NodeProto) -> list[str]:
    """What a node reads, the captures of its bodies included."""
    keys = [key for key in node.input if key]
    for attribute in node.attribute:
        for body in (attribute.g, *attribute.graphs):
            keys += [key for inner in body.node for key in _read(inner)]
    return keys


def _needed(nodes: Sequence[onnx.NodeProto], wanted: set[str]) -> list[onnx.NodeProto]:
    """The nodes that the `wanted` values depend on, in order."""
    todo, kept = set(wanted), []
    for node in reversed(nodes):
        if todo.intersection(node.output):
            kept.append(node)
            todo.update(_read(node))
    return kept[::-1]
