"""How much the outputs of a network would change with each value inside of it, position by position.

With o the network's outputs, z_j the values that outputs are judged at (logits, say), and e, e' random signs,

    l_j = |d(sum e o) / dz_j| s_j,     g_k = d(sum_j sum sqrt(l_j m_j) e' z_j) / dy_k,     w_k = channel mean of g_k^2.

l_j says where a change of z_j shows at all: behind a sigmoid it is p (1 - p), its Fisher information. The scales s_j of
the channels make up for their units (boxes and classes). m_j is 1, or a mixture of the l of other logits at the same
position: a box says nothing where nothing was found. The square of g_k is an unbiased estimate of the diagonal of
J' diag(l m) J with J = dz/dy_k (Hutchinson, 1990): of the information that the outputs have of y_k. BRECQ (Li et al.,
ICLR 2021) weighs single elements by such squares; here it is positions, with all of their channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from onnxprune.capture.grad import Gradient, differentiate, native
from onnxprune.capture.grad.builder import Builder, Shape, Value
from onnxprune.capture.session import open_session
from onnxprune.capture.shapes import inferred_shapes
from onnxprune.capture.training import LARGEST_CONSTANT, part_of
from onnxprune.model.graph import Graph
from onnxprune.results.providers import Threads

Array = NDArray[Any]
Floats = NDArray[np.float32]
Feeds = Mapping[str, Array]
Axes = Mapping[str, int]
Shares = Mapping[str, Sequence[float]]
PREFIX = "onnxprune.fisher."
SIGN, PULL, SCALE, SHARE = (f"{PREFIX}{kind}." for kind in ("sign", "pull", "scale", "share"))
SIGNS = np.array([-1, 1], np.float32)


@dataclass(frozen=True)
class Information:
    """Feeds have the shapes of those that it was made for. `values` are those that have a gradient. `positions`: how
    many each logit has in a feed; `beside`: the other logits with the same. `observed`: values of the network that the
    pass for the weights gives as well.
    """

    logits: tuple[str, ...]
    values: tuple[str, ...]
    positions: Mapping[str, int]
    beside: Mapping[str, tuple[str, ...]]
    _signs: Mapping[str, Shape]
    _sensitivity: Any
    _open_weights: Callable[[Sequence[str]], Any]
    observed: tuple[str, ...] = ()

    @cached_property
    def _weights(self) -> Any:
        """Opened only where it is wanted: it has the whole backward pass."""
        return self._open_weights(self.observed)

    def observing(self, keys: Sequence[str]) -> Information:
        """The same, which gives the values `keys`, too: another pass for them would double the forward part."""
        return replace(self, observed=tuple(keys))

    def sensitivity(self, feeds: Feeds, rng: np.random.Generator) -> dict[str, Floats]:
        """l_j, with scales of 1, in the shape of z_j."""
        return dict(zip(self.logits, self._run(self._sensitivity, feeds, rng), strict=True))

    def weights(
        self, feeds: Feeds, scales: Mapping[str, Floats], shares: Shares, rng: np.random.Generator
    ) -> dict[str, Floats]:
        """w_k, the axis of channels of size 1. `scales`: s_j, of as many axes as z_j, 1 but for channels. `shares`: m_j
        is the first of them plus the others times the channel sums of l of the logits `beside`; 1 if not given.
        """
        return self.weights_and_values(feeds, scales, shares, rng)[0]

    def weights_and_values(
        self, feeds: Feeds, scales: Mapping[str, Floats], shares: Shares, rng: np.random.Generator
    ) -> tuple[dict[str, Floats], dict[str, Floats]]:
        """`weights`, and the values that are `observed`."""
        named = {f"{SCALE}{key}": scale for key, scale in scales.items()}
        for key, others in self.beside.items():
            given = np.asarray(shares.get(key, [1.0]), np.float32)
            named[f"{SHARE}{key}"] = np.pad(given, (0, 1 + len(others) - len(given)))
        found = self._run(self._weights, {**feeds, **named}, rng)
        told, seen = found[: len(self.values)], found[len(self.values) :]
        return dict(zip(self.values, told, strict=True)), dict(zip(self.observed, seen, strict=True))

    def _run(self, session: Any, feeds: Feeds, rng: np.random.Generator) -> list[Floats]:
        drawn = {name: rng.choice(SIGNS, shape) for name, shape in self._signs.items()}
        read = {value.name for value in session.get_inputs()}
        found: list[Floats] = session.run(None, {k: v for k, v in {**feeds, **drawn}.items() if k in read})
        return found


def information(graph: Graph, example: Feeds, logits: Axes, values: Axes, threads: Threads = 0) -> Information | None:
    """For feeds of the shapes of `example`. `logits` and `values` are float32 values at the top level of `graph`, with
    their axes of channels. Logits that no output has a gradient of count the same everywhere.

    What depends on the content of the feeds for its shape has no gradient: in place of such an output stand the values
    that it is chosen from. None if the shape of a logit is not known, or no such value.
    """
    network = _Network.of(graph, example, native.is_there(threads))
    outputs = _last_floats(graph, network)
    if not outputs or not all(network.is_float(key) for key in logits):
        return None
    felt, back = network.slopes("felt", {key: f"{SIGN}{key}" for key in outputs}, list(logits))
    at = Builder(network.opset, f"{PREFIX}step")
    shapes = {key: network.shapes[key] for key in logits}
    steep = {key: _magnitude(at, back, key, shape) for key, shape in shapes.items()}
    beside = _beside(shapes, logits)
    signs = {f"{SIGN}{key}": network.shapes[key] for key in outputs} | {f"{PULL}{k}": s for k, s in shapes.items()}
    settings = {f"{SCALE}{key}": of_channels(shapes[key], axis) for key, axis in logits.items()}
    settings |= {f"{SHARE}{key}": (1 + len(others),) for key, others in beside.items()}
    given = {name: Value(at, name, shape, TensorProto.FLOAT) for name, shape in {**signs, **settings}.items()}
    scaled = {key: steep[key] * given[f"{SCALE}{key}"] for key in logits}
    pulls = {key: _pull(key, scaled, beside[key], logits, given) for key in logits}
    before = [*back.nodes, *at.nodes]
    pulled, forth = network.slopes("pulled", pulls, [key for key in values if network.is_float(key)], before)
    after = Builder(network.opset, f"{PREFIX}end")
    reached = tuple(key for key in values if key in forth.names)
    squares = []
    for key in reached:
        slope = Value(after, forth.names[key], network.shapes[key], TensorProto.FLOAT)
        squares.append((slope * slope).mean([values[key] % slope.rank]).name)
    constants = [*back.constants, *forth.constants, *at.constants.values(), *after.constants.values()]
    fast, zeros = native.lowered(network.nodes, network.shapes, network.types) if network.fast else (network.nodes, [])
    constants += zeros
    nodes = [*fast, *felt, *before, *pulled, *forth.nodes, *after.nodes]

    def opened(names: Sequence[str]) -> Any:
        return open_session(part_of(graph.model, nodes, names, {**signs, **settings}, constants), threads)

    sensitivity = opened([value.name for value in steep.values()])
    positions = {key: math.prod(shape) // max(shape[logits[key]], 1) for key, shape in shapes.items()}
    return Information(
        tuple(logits), reached, positions, beside, signs, sensitivity, lambda more: opened([*squares, *more])
    )


def of_channels(shape: Sequence[int], axis: int) -> Shape:
    """`shape` with 1 for all but the axis of channels."""
    return tuple(size if i == axis % len(shape) else 1 for i, size in enumerate(shape))


def _last_floats(graph: Graph, network: _Network) -> list[str]:
    """The graph's outputs or, on the way back from what is no float32 value of known shape, the nearest that are."""
    found: dict[str, None] = {}
    seen: set[str] = set()
    todo = [value.name for value in graph.model.proto.graph.output]
    while todo:
        key = todo.pop()
        if key in seen or key not in graph.producer or key in graph.constants:
            continue
        seen.add(key)
        if network.is_float(key):
            found[key] = None
        else:
            todo.extend(k for k in graph.nodes[graph.producer[key]].inputs if k)
    return sorted(found)


def _beside(shapes: Mapping[str, Shape], axes: Axes) -> dict[str, tuple[str, ...]]:
    """The other logits whose shape is the same but for channels."""
    places = {key: tuple(1 if i == axes[key] % len(s) else n for i, n in enumerate(s)) for key, s in shapes.items()}
    return {key: tuple(k for k in shapes if k != key and places[k] == places[key]) for key in shapes}


def _pull(key: str, scaled: Mapping[str, Value], others: Sequence[str], axes: Axes, given: Mapping[str, Value]) -> str:
    """sqrt(l m) times a random sign. `scaled`: l of all logits."""
    share = given[f"{SHARE}{key}"]
    parts = [share.slice({0: (number, number + 1, 1)}) for number in range(1 + len(others))]
    mixture = parts[0]
    for other, part in zip(others, parts[1:], strict=True):
        mixture = scaled[other].sum([axes[other] % scaled[other].rank]) * part + mixture
    return ((scaled[key] * mixture).apply("Sqrt") * given[f"{PULL}{key}"]).name


def _magnitude(at: Builder, slopes: Gradient, key: str, shape: Shape) -> Value:
    if key not in slopes.names:
        return at.scalar(1, TensorProto.FLOAT).expand(shape)
    return Value(at, slopes.names[key], shape, TensorProto.FLOAT).apply("Abs")


@dataclass(frozen=True)
class _Network:
    """The nodes of a graph, and what differentiation has to know of its values."""

    nodes: Sequence[onnx.NodeProto]
    shapes: Mapping[str, Shape]
    types: Mapping[str, int]
    constants: Mapping[str, Array]
    opset: int
    fast: bool
    """whether operators of the library take part"""

    @staticmethod
    def of(graph: Graph, example: Feeds, fast: bool) -> _Network:
        shapes, types = inferred_shapes(graph.model.complete_proto(), example)
        opset = graph.model.opset() or 1
        small = {k: c.array() for k, c in graph.constants.items() if c.size <= LARGEST_CONSTANT}
        return _Network([n.proto for n in graph.nodes if n.scope == 0], shapes, types, small, opset, fast)

    def is_float(self, key: str) -> bool:
        """Whether it is a float32 value of known shape."""
        return key in self.shapes and self.types.get(key) == TensorProto.FLOAT

    def slopes(
        self, name: str, factors: Mapping[str, str], wanted: Sequence[str], taken: Sequence[onnx.NodeProto] = ()
    ) -> tuple[list[onnx.NodeProto], Gradient]:
        """Nodes of the sum of the values (the keys of `factors`) times these factors, and its gradient."""
        total, shapes = f"{PREFIX}{name}", dict(self.shapes)
        nodes, parts = [], []
        for number, (key, factor) in enumerate(factors.items()):
            product, part = f"{total}.product{number}", f"{total}.part{number}"
            nodes.append(helper.make_node("Mul", [key, factor], [product]))
            nodes.append(helper.make_node("ReduceSum", [product], [part], keepdims=0))
            shapes |= {factor: shapes[key], product: shapes[key], part: ()}
            parts.append(part)
        nodes.append(helper.make_node("Sum", parts, [total]))
        shapes[total] = ()
        everything = [*self.nodes, *nodes]
        found = differentiate(
            everything, total, wanted, shapes, self.constants, self.opset, self.types, taken=taken, native=self.fast
        )
        return nodes, found
