"""Element-wise operators: a table of derivatives, dx as an expression in x, y and dy.

Where the output says enough, it is read instead of the input: the runtime can then still fuse the forward operators.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from onnx import TensorProto

from onnxprune.capture.grad import native
from onnxprune.capture.grad.builder import Value
from onnxprune.capture.grad.call import Call, NoRule
from onnxprune.capture.grad.registry import constant_almost_everywhere, gradient

UNARY: dict[str, Callable[[Call], Value]] = {
    "Abs": lambda op: op.dy * _sign(op.x),
    "Cos": lambda op: -(op.dy * op.x.apply("Sin")),
    "Erf": lambda op: op.dy * ((-(op.x * op.x)).apply("Exp") * (2 / math.sqrt(math.pi))),
    "Exp": lambda op: op.dy * op.y,
    "HardSwish": lambda op: op.dy * _hard_swish(op.x),
    "Identity": lambda op: op.dy,
    "Log": lambda op: op.dy / op.x,
    "Mish": lambda op: op.dy * _mish(op.x),
    "Neg": lambda op: -op.dy,
    "Reciprocal": lambda op: -(op.dy * op.y * op.y),
    "Relu": lambda op: _clipped(op, 0.0, None),
    "Sigmoid": lambda op: _sigmoid(op),
    "Sin": lambda op: op.dy * op.x.apply("Cos"),
    "Softplus": lambda op: op.dy * op.x.apply("Sigmoid"),
    "Softsign": lambda op: op.dy / _square(1 + op.x.apply("Abs")),
    "Sqrt": lambda op: _root(op.dy, op.x, op.y * 2),
    "Tanh": lambda op: op.dy * (1 - op.y * op.y),
}

for _name, _derivative in UNARY.items():

    @gradient(_name)
    def _unary(op: Call, derivative: Callable[[Call], Value] = _derivative) -> None:
        op.give(0, derivative(op))


def _root(dy: Value, x: Value, divisor: Value) -> Value:
    """dy / divisor, but 0 where x is 0: the slope of a root is infinite there, and a channel that became constant
    (its deviation is such a root) would spoil all weights before it."""
    zero = x.is_zero()
    return dy * (1 - zero) / (divisor + zero)


def _clipped(op: Call, low: Value | float | None, high: Value | float | None) -> Value:
    """dy where low < y < high."""
    if op.at.native and op.y.dtype == TensorProto.FLOAT and not isinstance(low, Value) and not isinstance(high, Value):
        return native.clip_gradient(op.y, op.dy, -math.inf if low is None else low, math.inf if high is None else high)
    masks = [op.y > low] if low is not None else []
    masks += [op.y < high] if high is not None else []
    return op.dy if not masks else op.dy.where(masks[0] if len(masks) == 1 else masks[0] & masks[1])


def _sigmoid(op: Call) -> Value:
    if op.at.native and op.y.dtype == TensorProto.FLOAT:
        return native.sigmoid_gradient(op.y, op.dy)
    return op.dy * (op.y * (1 - op.y))


def _square(x: Value) -> Value:
    return x * x


def _sign(x: Value) -> Value:
    """-1, 0 or 1; Sign came with opset 9."""
    return (x > 0).cast(x.dtype) - (x < 0).cast(x.dtype)


def _mish(x: Value) -> Value:
    """x * tanh(softplus(x)): with t = tanh(softplus(x)), t + x * (1 - t * t) * sigmoid(x)."""
    t = x.apply("Softplus").apply("Tanh")
    return t + x * (1 - t * t) * x.apply("Sigmoid")


def _hard_swish(x: Value) -> Value:
    """x * max(0, min(1, x/6 + 1/2)): the slope is 0, then x/3 + 1/2, then 1."""
    inner = (x > -3) & (x < 3)
    return x.at.select(inner, x * (1 / 3) + 0.5, (x > 0).cast(x.dtype))


@gradient("LeakyRelu")
def leaky_relu(op: Call) -> None:
    """A negative slope changes the sign of the output, so the input decides."""
    op.give(0, op.at.select(op.x > 0, op.dy, op.dy * op.attribute("alpha", 0.01)))


@gradient("Elu", "Selu", "Celu")
def exponential_unit(op: Call) -> None:
    """y = scale * alpha * (exp(x / width) - 1) below 0, so there dy/dx = (y + scale * alpha) / width."""
    alpha = op.attribute("alpha", 1.6732632423543772 if op.node.op_type == "Selu" else 1.0)
    scale = op.attribute("gamma", 1.0507009873554805) if op.node.op_type == "Selu" else 1.0
    width = alpha if op.node.op_type == "Celu" else 1.0
    falling = op.y * (1 / width) + scale * alpha / width
    op.give(0, op.dy * op.at.select(op.x > 0, op.at.scalar(scale, op.x.dtype), falling))


@gradient("Gelu")
def gelu(op: Call) -> None:
    """x * Phi(x), or its approximation by tanh. Hendrycks & Gimpel, Gaussian Error Linear Units, 2016."""
    x = op.x
    if op.attribute("approximate", "none") == "tanh":
        root = math.sqrt(2 / math.pi)
        t = (x * (1 + x * x * 0.044715) * root).apply("Tanh")
        slope = 0.5 * (1 + t) + x * (1 - t * t) * (1 + x * x * 0.134145) * (0.5 * root)
    else:
        density = (x * x * -0.5).apply("Exp") * (1 / math.sqrt(2 * math.pi))
        slope = 0.5 * (1 + (x * math.sqrt(0.5)).apply("Erf")) + x * density
    op.give(0, op.dy * slope)


@gradient("PRelu")
def prelu(op: Call) -> None:
    """The slope has as many axes as it needs, aligned at the end, as in broadcasting."""
    x, slope = op.x, op.input(1)
    if op.wants(0):
        op.give(0, op.at.select(x > 0, op.dy, op.dy * slope))
    if op.wants(1):
        op.give(1, (op.dy * x).where(x < 0))


@gradient("HardSigmoid")
def hard_sigmoid(op: Call) -> None:
    """max(0, min(1, alpha * x + beta)) varies where it is strictly between."""
    op.give(0, (op.dy * op.attribute("alpha", 0.2)).where((op.y > 0) & (op.y < 1)))


@gradient("Clip")
def clip(op: Call) -> None:
    """The bounds are attributes up to opset 10 and inputs, one or both, from 11 on."""
    if op.wants(1, 2):
        raise NoRule("its bounds are computed")
    op.give(0, _clipped(op, _bound(op, 1, "min"), _bound(op, 2, "max")))


def _bound(op: Call, slot: int, name: str) -> Value | float | None:
    """A number where it is known."""
    if not op.has(slot):
        found: float | None = op.attribute(name)
        return found
    array = op.known.constants.get(op.node.input[slot])
    return op.input(slot) if array is None else float(np.asarray(array).reshape(()))


@gradient("Dropout")
def dropout(op: Call) -> None:
    """Identity, as it is in inference; with a mask there is no rule."""
    training = op.constant(2)
    if training is not None and bool(training.any()):
        raise NoRule("it runs in training mode")
    op.give(0, op.dy)


@gradient("Cast")
def cast(op: Call) -> None:
    """Between float types; a cast to integers carries no gradient and never comes here."""
    op.give(0, op.dy.cast(op.x.dtype))


@gradient("Add", "Sum")
def add(op: Call) -> None:
    for slot in sorted(op.wanted):
        op.give(slot, op.dy)


@gradient("Sub")
def sub(op: Call) -> None:
    if op.wants(0):
        op.give(0, op.dy)
    if op.wants(1):  # the smaller of the two is negated
        op.give(1, -op.dy.summed_to(op.shape(1)))


@gradient("Mul")
def mul(op: Call) -> None:
    for slot in sorted(op.wanted):
        op.give(slot, op.dy * op.input(1 - slot))


@gradient("Div")
def div(op: Call) -> None:
    """y = a / b: da = dy / b, db = -dy * y / b."""
    if op.wants(0):
        op.give(0, op.dy / op.input(1))
    if op.wants(1):
        op.give(1, -((op.dy * op.y).summed_to(op.shape(1)) / op.input(1)))


@gradient("Pow")
def power(op: Call) -> None:
    """x ** n for a constant n: dx = dy * n * x ** (n - 1)."""
    if op.wants(1):
        raise NoRule("its exponent is computed")
    exponent = op.constant(1)
    if exponent is None or exponent.size != 1:
        raise NoRule("its exponent is not a single number")
    n = float(exponent.ravel()[0])
    if n == 0:
        op.give(0, op.dy * 0)
    elif n == 1:
        op.give(0, op.dy)
    elif n == 2:
        op.give(0, op.dy * op.x * 2)
    elif 0 < n < 1:
        rest = op.at.node("Pow", [op.x, op.at.constant(np.array(1 - n), op.x.dtype)], op.x.shape, op.x.dtype)
        op.give(0, _root(op.dy * n, op.x, rest))
    else:
        slope = op.at.node("Pow", [op.x, op.at.constant(np.array(n - 1), op.x.dtype)], op.x.shape, op.x.dtype)
        op.give(0, op.dy * slope * n)


@gradient("Max", "Min")
def extremum(op: Call) -> None:
    """dy goes to the inputs that equal the output; where several do, they share it."""
    names = range(len(op.node.input))
    if op.node.op_type == "Max":
        masks = [~(op.input(slot) < op.y) for slot in names]
    else:
        masks = [~(op.input(slot) > op.y) for slot in names]
    hits = [mask.cast(op.dy.dtype) for mask in masks]
    count = hits[0]
    for hit in hits[1:]:
        count = count + hit
    share = op.dy / count
    for slot in sorted(op.wanted):
        op.give(slot, share * hits[slot])


@gradient("Mean")
def mean(op: Call) -> None:
    for slot in sorted(op.wanted):
        op.give(slot, op.dy * (1 / len(op.node.input)))


@gradient("Where")
def where(op: Call) -> None:
    condition = op.input(0)
    if op.wants(1):
        op.give(1, op.dy.where(condition))
    if op.wants(2):
        op.give(2, op.dy.where(~condition))


constant_almost_everywhere("Shape", "Size", "ArgMax", "ArgMin", "Ceil", "Floor", "Sign", "NonZero", "IsNaN", "IsInf")
constant_almost_everywhere("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Xor", "Not")
constant_almost_everywhere("ConstantOfShape", "EyeLike", "RandomNormalLike", "RandomUniformLike")
