"""Operators of the library in a training step give what ONNX's own give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from onnxprune import native as library
from onnxprune.capture import training
from onnxprune.capture.fisher import information
from onnxprune.capture.grad import native
from onnxprune.capture.training import Goals, Step, observer, training_step
from onnxprune.model.graph import build
from onnxprune.model.load import Model, load
from onnxprune.native.marks import DOMAIN
from tests.builders import Net

Made = tuple[Model, dict[str, NDArray[Any]], list[str]]
pytestmark = pytest.mark.skipif(not library.operators(), reason="the library was not built")


def _conv(size: int, channels: int, **attributes: Any) -> Made:
    """A layer, a clip, a depthwise convolution, a layer."""
    net = Net()
    x = net.input(2, size, size)
    first = net.op("Sigmoid", net.conv(x, channels, 1))
    kernel = attributes.pop("kernel", 3)
    behind = net.relu(net.conv(first, channels, kernel, group=channels, **attributes))
    y = net.conv(behind, 5, 1)
    net.output(y)
    return load(net.model()), {x: net.normal(3, 2, size, size, scale=1)}, [behind, y]


def _line() -> Made:
    """One axis, a bias, a Clip of known bounds."""
    net = Net()
    x = net.input(3, 21)
    a = net.op(
        "Clip",
        net.op(
            "Conv", net.op("Conv", x, net.normal(6, 3, 1)), net.normal(6, 1, 5), net.normal(6), group=6, pads=[2, 2]
        ),
        net.constant(np.float32(-0.5)),
        net.constant(np.float32(0.8)),
    )
    y = net.op("Conv", a, net.normal(4, 6, 3))
    net.output(y)
    return load(net.model()), {x: net.normal(2, 3, 21, scale=1)}, [a, y]


CASES: dict[str, Callable[[], Made]] = {
    "same size": lambda: _conv(9, 6, pads=[1, 1, 1, 1]),
    "two apart": lambda: _conv(12, 6, pads=[1, 1, 1, 1], strides=[2, 2]),
    "nothing read at the end": lambda: _conv(11, 6, pads=[0, 0, 0, 0], strides=[3, 2]),
    "five by five": lambda: _conv(19, 18, kernel=5, pads=[2, 2, 2, 2]),
    "two apart, five by five": lambda: _conv(20, 5, kernel=5, pads=[2, 1, 1, 2], strides=[2, 2]),
    "with gaps": lambda: _conv(13, 7, pads=[2, 2, 2, 2], dilations=[2, 2]),
    "wide pads": lambda: _conv(8, 6, pads=[4, 3, 4, 3], strides=[2, 1]),
    "a row": lambda: _conv(40, 3, pads=[1, 1, 1, 1]),
    "one axis": _line,
}


def _step(
    made: Made, weighted: dict[int, tuple[int, ...]], monkeypatch: pytest.MonkeyPatch, fast: bool
) -> tuple[Step, set[str]]:
    """The step, and the operators of the library in it."""
    used: set[str] = set()

    def opened(model: onnx.ModelProto, threads: Any = 0) -> Any:
        used.update(node.op_type for node in model.graph.node if node.domain == DOMAIN)
        return original(model, threads)

    original = training.open_session
    model, feeds, targets = made
    names = [name for name, tensor in model.tensors.items() if tensor.dtype == onnx.TensorProto.FLOAT and tensor.shape]
    with monkeypatch.context() as patch:
        patch.setattr(training, "open_session", opened)
        if not fast:
            patch.setattr(native, "is_there", lambda threads=0: False)
        step = training_step(build(model), feeds, names, targets, [0.5, 2.0], threads=1, weighted=weighted)
    return step, used


@pytest.mark.parametrize("axis", [None, 1, -1, "all"])
@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradients_are_those_of_onnx(
    case: str, axis: int | str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = CASES[case]()
    rng = np.random.default_rng(3)
    values = observer(made[0], made[2]).run(None, made[1])
    weights: dict[int, NDArray[np.float32]] = {}
    if axis is not None:
        shape = list(values[0].shape)
        if isinstance(axis, int):
            shape[axis] = 1
        weights[0] = rng.uniform(0.1, 3.0, shape).astype(np.float32)
    goals = Goals([v + rng.standard_normal(v.shape).astype(np.float32) for v in values], weights)
    shapes = {k: w.shape for k, w in weights.items()}
    (slow, without), (fast, used) = (_step(made, shapes, monkeypatch, fast) for fast in (False, True))
    assert not without
    named = "WeightedSquaredDistance" if axis is not None else "SquaredDistance"
    assert {"DepthwiseConv", "DepthwiseGradient", "ClipGradient", named} <= used
    assert slow.weights == fast.weights
    tensors = {name: made[0].tensors[name].array() for name in slow.weights}
    (loss, slopes), (again, others) = (one.run(made[1], goals, tensors) for one in (slow, fast))
    assert again == pytest.approx(loss, rel=1e-5) == pytest.approx(fast.loss(made[1], goals, tensors), rel=1e-5)
    for name, a, b in zip(slow.weights, slopes, others, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-4 * float(np.abs(a).max()) + 1e-9, err_msg=name)


def test_strides_are_undone_by_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "DepthwiseTranspose" in _step(CASES["two apart"](), {}, monkeypatch, True)[1]
    assert "DepthwiseTranspose" not in _step(CASES["wide pads"](), {}, monkeypatch, True)[1]


def test_sums_with_a_difference_are_one_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    used = _step(CASES["same size"](), {}, monkeypatch, True)[1]
    assert {"ScaledDifferenceAdd", "SigmoidGradient"} <= used


def test_information_is_that_of_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    model, feeds, (behind, y) = CASES["two apart"]()
    found = []
    for fast in (True, False):
        with monkeypatch.context() as patch:
            if not fast:
                patch.setattr(native, "is_there", lambda threads=0: False)
            told = information(build(model), feeds, {y: 1}, {behind: 1}, 1)
            assert told is not None
            found.append(
                told.weights(feeds, {y: np.ones((1, 5, 1, 1), np.float32)}, {}, np.random.default_rng(0))[behind]
            )
    np.testing.assert_allclose(*found, rtol=1e-3, atol=1e-5)


def test_a_library_that_lacks_them_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been built before."""
    assert native.is_there() and library.operators() > native.OPERATORS
    monkeypatch.setattr(library, "operators", lambda: frozenset({"DepthwiseConv"}))
    assert not native.is_there()


def test_shapes_that_do_not_fit_are_refused() -> None:
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None, None, None, None])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None, None, None, None])
    out = onnx.helper.make_tensor_value_info("o", onnx.TensorProto.FLOAT, None)
    node = onnx.helper.make_node("ClipGradient", ["x", "y"], ["o"], domain=DOMAIN, low=0.0, high=1.0)
    imports = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid(DOMAIN, 1)]
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "g", [x, y], [out]), opset_imports=imports, ir_version=8
    )
    session = training.open_session(model, 1)
    a, b = np.ones((1, 2, 3, 3), np.float32), np.ones((1, 2, 3, 4), np.float32)
    with pytest.raises(Exception, match="has not the shape"):
        session.run(None, {"x": a, "y": b})
