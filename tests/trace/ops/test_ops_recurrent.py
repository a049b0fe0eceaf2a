"""LSTM, GRU, RNN: one hidden index is a row of every gate, of both directions, and a column of the recurrence."""

from __future__ import annotations

import numpy as np

from tests.builders import MICROSOFT, Array, Net, ints
from tests.oracle import Case, Cases

case = Cases()
CASES = case.all
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}
EVERY = {name: (name,) for name in GATES}


def recurrent(
    net: Net, op_type: str, x: str, *, direction: str = "forward", bias: bool = True, hidden: int = 6, count: int = 2
) -> list[str]:
    """X is (L, N, width)."""
    ways, gates, width = DIRECTIONS[direction], GATES[op_type], net.channels(x, 2)
    weights = net.normal(ways, gates * hidden, width), net.normal(ways, gates * hidden, hidden, scale=0.4)
    extra = [net.normal(ways, 2 * gates * hidden, scale=0.3)] * bias
    return net.many(op_type, count, x, *weights, *extra, name="r", direction=direction, hidden_size=hidden)


def sequence(net: Net, *, length: int = 5) -> str:
    return net.transpose(net.relu(net.tokens(length=length)), 1, 0, 2)


def joined(net: Net, y: str, direction: str, hidden: int = 6) -> str:
    """(L, D, N, H) -> (N, L, D * H), as PyTorch exports it."""
    if direction != "bidirectional":
        return net.transpose(net.squeeze(y, 1), 1, 0, 2)
    return net.transpose(net.reshape(net.transpose(y, 0, 2, 1, 3), 0, 0, 2 * hidden), 1, 0, 2)


@case(
    {"a": 8, "r": 6},
    opsets=(7, 13, 17, 22),
    each={f"{n}-{d}-{'bias' if b else 'plain'}": (n, d, b) for n in GATES for d in DIRECTIONS for b in (False, True)},
)
def layer(net: Net, op_type: str, direction: str, bias: bool) -> None:
    y, last = recurrent(net, op_type, sequence(net), direction=direction, bias=bias)
    net.project(joined(net, y, direction))
    net.output(net.op("Gemm", net.op("Gather", last, np.array(0), axis=0), net.normal(6, 3), net.normal(3)))


@case({"a": 8, "r": 6, "s": 4}, each=EVERY)
def two_layers(net: Net, op_type: str) -> None:
    y, _ = recurrent(net, op_type, sequence(net), direction="bidirectional")
    h = net.reshape(net.transpose(y, 0, 2, 1, 3), 0, 0, 12)
    gates = GATES[op_type]
    weights = net.normal(1, gates * 4, 12), net.normal(1, gates * 4, 4, scale=0.4)
    second = net.many(op_type, 1, h, *weights, name="s", hidden_size=4)[0]
    net.project(net.transpose(net.squeeze(second, 1), 1, 0, 2))


@case({"a": 8, "h": 6}, each={"LSTM": ("LSTM",), "GRU": ("GRU",)})
def initial_states(net: Net, op_type: str) -> None:
    """The states come from a layer of their own: its rows are hidden indices."""
    x = sequence(net)
    states = [net.unsqueeze(net.gemm(net.input(3), 6, name=name), 0) for name in ("h", "c")[: 1 + (op_type == "LSTM")]]
    gates = GATES[op_type]
    weights = net.normal(1, gates * 6, 8), net.normal(1, gates * 6, 6, scale=0.4), net.normal(1, 2 * gates * 6)
    y = net.many(op_type, 1, x, *weights, None, *states, name="r", hidden_size=6)[0]
    net.project(net.transpose(net.squeeze(y, 1), 1, 0, 2))


@case({"a": 8, "r": 6})
def constant_initial_states(net: Net) -> None:
    """Zeros of (1, N, H), made from the batch."""
    x = sequence(net)
    zeros = net.op("ConstantOfShape", net.concat(ints(1), net.size_of(x, 1), ints(6), axis=0))
    weights = net.normal(1, 24, 8), net.normal(1, 24, 6, scale=0.4)
    y, _, _ = net.many("LSTM", 3, x, *weights, None, None, zeros, zeros, name="r", hidden_size=6)
    net.project(net.hint(net.transpose(net.squeeze(y, 1), 1, 0, 2), 5, 6))


@case({"a": 8, "r": 6}, opsets=(8, 13), each=EVERY)
def initial_states_of_a_scalar(net: Net, op_type: str) -> None:
    """Zeros of (D, N, H) as tf2onnx spells those of Keras: a scalar is expanded, the directions share it."""
    x, gates = sequence(net), GATES[op_type]
    zeros = net.op("Expand", np.float32(0.0), net.concat(net.size_of(x, 1), ints(6), axis=0))
    start = net.concat(*[net.unsqueeze(net.hint(zeros, 6), 0)] * 2, axis=0)
    weights = net.normal(2, gates * 6, 8), net.normal(2, gates * 6, 6, scale=0.4)
    states = [start] * (2 if op_type == "LSTM" else 1)
    y = net.many(op_type, 1, x, *weights, None, None, *states, name="r", hidden_size=6, direction="bidirectional")[0]
    net.project(net.hint(joined(net, y, "bidirectional"), 5, 12))


@case({"a": 8, "r": 6}, each={"forward": ("forward",), "bidirectional": ("bidirectional",)})
def peepholes(net: Net, direction: str) -> None:
    ways = DIRECTIONS[direction]
    weights = net.normal(ways, 24, 8), net.normal(ways, 24, 6, scale=0.4), net.normal(ways, 48)
    peephole = net.normal(ways, 18, scale=0.3)
    y = net.many(
        "LSTM", 1, sequence(net), *weights, None, None, None, peephole, name="r", hidden_size=6, direction=direction
    )[0]
    net.project(joined(net, y, direction))


@case({"a": 8, "r": 6})
def all_outputs(net: Net) -> None:
    y, hidden, cell = recurrent(net, "LSTM", sequence(net), count=3)
    net.project(joined(net, y, "forward"))
    net.project(net.transpose(hidden, 1, 0, 2), name="y")
    net.project(net.transpose(net.relu(cell), 1, 0, 2), name="x")


@case({"a": 8}, {"r": "it belongs to a graph output"})
def hidden_state_is_an_output(net: Net) -> None:
    y, hidden = recurrent(net, "GRU", sequence(net))
    net.project(joined(net, y, "forward"))
    net.output(hidden)


@case({"a": 8, "r": 6}, opsets=(17,))
def linear_before_reset(net: Net) -> None:
    gates = net.normal(1, 18, 8), net.normal(1, 18, 6, scale=0.4), net.normal(1, 36)
    y = net.many("GRU", 1, sequence(net), *gates, name="r", hidden_size=6, linear_before_reset=1)[0]
    net.project(joined(net, y, "forward"))


@case({"r": 6}, {"a": "LSTM runs along it"})
def channels_as_time(net: Net) -> None:
    """(N, C, L) read as a sequence of channels."""
    h = net.transpose(net.relu(net.tokens(8, length=5)), 2, 0, 1)
    y, _ = recurrent(net, "LSTM", h)
    net.project(joined(net, y, "forward"))


@case({}, {"a": "LSTM is refused: its layout is batch first"}, opsets=(14,))
def batch_first(net: Net) -> None:
    """No kernel of ONNX Runtime either, but a graph that must not be touched."""
    h = net.relu(net.tokens())
    weights = net.normal(1, 24, 8), net.normal(1, 24, 6)
    net.output(net.op("LSTM", h, *weights, layout=1, hidden_size=6), rank=4)


@case({"a": 8})
def recurrence_from_outside(net: Net) -> None:
    inputs = net.normal(1, 24, 8), net.declare("R", [1, 24, 6]), net.normal(1, 48)
    y = net.many("LSTM", 1, sequence(net), *inputs, name="r", hidden_size=6)[0]
    net.project(joined(net, y, "forward"))


@case({"a": 8, "r": 6})
def weights_behind_identity(net: Net) -> None:
    inputs = [net.op("Identity", net.normal(*shape)) for shape in ((1, 24, 8), (1, 24, 6), (1, 48))]
    y = net.many("LSTM", 1, sequence(net), *inputs, name="r", hidden_size=6)[0]
    net.project(joined(net, y, "forward"))


@case({"a": 8, "h": 6})
def states_of_both_directions_from_one_layer(net: Net) -> None:
    """(N, 2 * H) -> (2, N, H): positions may go, directions may not."""
    start = net.transpose(net.reshape(net.gemm(net.input(3), 12, name="h"), 0, 2, 6), 1, 0, 2)
    weights = net.normal(2, 18, 8), net.normal(2, 18, 6, scale=0.4), net.normal(2, 36)
    y = net.many("GRU", 1, sequence(net), *weights, None, start, name="r", hidden_size=6, direction="bidirectional")[0]
    net.project(joined(net, y, "bidirectional"))


# ---- of integers -----------------------------------------------------------------------------------------------
def _integers(net: Net, *shape: int, signed: bool) -> Array:
    low, high, kind = (-128, 128, np.int8) if signed else (0, 256, np.uint8)
    return net.rng.integers(low, high, shape).astype(kind)


def quantized(net: Net, x: str, direction: str, *, signed: bool, states: bool = False, **attrs: object) -> list[str]:
    """X is (L, N, 8); signed: a scale for each row of a gate; else one a direction."""
    ways, hidden, zero = DIRECTIONS[direction], 6, np.int8(0) if signed else np.uint8(120)
    sizes = (ways, 4 * hidden) if signed else (ways,)
    weights = [_integers(net, ways, width, 4 * hidden, signed=signed) for width in (8, hidden)]
    grids = [part for _ in weights for part in (net.positive(*sizes) * np.float32(0.008), np.full(sizes, zero))]
    first = [net.positive(ways, 2, hidden), net.positive(ways, 2, hidden)] if states else [None, None]
    inputs = [x, *weights, net.normal(ways, 8 * hidden, scale=0.3), None, *first, None, *grids]
    return net.many(
        "DynamicQuantizeLSTM",
        2,
        *inputs,
        name="r",
        domain=MICROSOFT,
        hidden_size=hidden,
        direction=direction,
        **attrs,
    )


def _out(net: Net, y: str, direction: str) -> None:
    h = net.op("Gather", y, np.array(DIRECTIONS[direction] - 1), axis=1)
    net.project(net.hint(net.transpose(h, 1, 0, 2), 5, 6))


@case(
    {"a": 8, "r": 6},
    each={f"{d}-{'rows' if s else 'one'}": (d, s) for d in DIRECTIONS for s in (False, True)},
)
def layer_of_integers(net: Net, direction: str, signed: bool) -> None:
    y, _ = quantized(net, sequence(net), direction, signed=signed)
    _out(net, y, direction)


@case({"a": 8, "r": 6}, net={"batch": 2})
def layer_of_integers_with_first_states(net: Net) -> None:
    y, last = quantized(
        net, sequence(net), "forward", signed=True, states=True, activations=["Sigmoid", "Tanh", "Relu"]
    )
    _out(net, y, "forward")
    net.output(net.op("Gemm", net.op("Gather", last, np.array(0), axis=0), net.normal(6, 3), net.normal(3)), rank=2)


@case({}, {"a": "its activations do not keep zeros"})
def layer_of_integers_whose_units_are_never_zero(net: Net) -> None:
    y, _ = quantized(net, sequence(net), "forward", signed=True, activations=["Sigmoid", "Tanh", "Sigmoid"])
    _out(net, y, "forward")


@case({}, {"a": "DynamicQuantizeLSTM runs along it"})
def layer_of_integers_over_channels(net: Net) -> None:
    y, _ = quantized(net, net.transpose(net.relu(net.tokens(5, length=8)), 2, 0, 1), "forward", signed=True)
    net.output(y, rank=4)


@case.parametrize()
def test_rule(case: Case) -> None:
    case.run()
