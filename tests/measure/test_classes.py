"""Agreement where a softmax says which axis counts classes: texts, maps, sequences."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from onnxprune.measure.classes import ClassAxis, class_axes
from onnxprune.measure.fidelity import fidelity
from onnxprune.measure.tally import OVER_SAMPLES
from onnxprune.model.load import Model, load
from tests.builders import Net

Array = NDArray[Any]


def labelled(seed: int, opset: int = 17, *, axis: int = 1, perm: tuple[int, ...] = (), last: str = "Softmax") -> Model:
    """Scores of 5 classes for each of 6 x 6 places, perhaps with the axes in another order."""
    net = Net(opset, seed=3)
    h = net.relu(net.conv(net.input(3, 6, 6, name="x"), 8, 3, pads=[1, 1, 1, 1]))
    weight = net.normal(5, 8, 1, 1) + 0.2 * np.random.default_rng(seed).standard_normal((5, 8, 1, 1))
    y = net.op(last, net.op("Conv", h, weight.astype(np.float32)), **({} if last == "Identity" else {"axis": axis}))
    net.output(net.transpose(y, *perm) if perm else y)
    return load(net.model())


def run(model: Model, x: Array) -> Array:
    session = onnxruntime.InferenceSession(model.complete_proto().SerializeToString())
    return np.asarray(session.run(None, {"x": x})[0])


@pytest.mark.parametrize(
    ("axis", "perm", "where"),
    [(1, (), 1), (-3, (), 1), (1, (0, 2, 3, 1), 3), (-3, (3, 1, 2, 0), 1), (1, (1, 0, 2, 3), 0)],
)
def test_the_share_of_places_with_the_same_class(axis: int, perm: tuple[int, ...], where: int) -> None:
    a, b = labelled(0, axis=axis, perm=perm), labelled(1, axis=axis, perm=perm)
    x = np.random.default_rng(0).standard_normal((7, 3, 6, 6)).astype(np.float32)
    same = run(a, x).argmax(where) == run(b, x).argmax(where)
    assert 0.3 < same.mean() < 0.99
    (found,) = fidelity(a, b, [{"x": x[:4]}, {"x": x[4:]}]).outputs
    assert found.reason is None and found.agreement is not None
    if perm[:1] in ((), (0,)):
        assert found.agreement.share == pytest.approx(same.mean()) and found.agreement.samples == 7


def test_without_a_softmax_it_is_not_known() -> None:
    a, b = labelled(0, last="Identity"), labelled(1, last="Identity")
    x = np.random.default_rng(0).standard_normal((4, 3, 6, 6)).astype(np.float32)
    (found,) = fidelity(a, b, [{"x": x}]).outputs
    assert found.agreement is None and found.reason is not None and "not known" in found.reason


def test_before_opset_13_a_softmax_is_over_all_axes_behind() -> None:
    assert class_axes(labelled(0, 11)).popitem()[1] == ClassAxis(1, together=True)
    assert not class_axes(labelled(0, 11, perm=(0, 2, 3, 1)))
    assert class_axes(labelled(0, 11, axis=3, perm=(0, 3, 1, 2))).popitem()[1] == ClassAxis(1)


def test_axes_of_shapes() -> None:
    assert ClassAxis(-1).of((2, 3, 4)) == 2
    assert ClassAxis(1).of((2, 3, 4)) == 1
    assert ClassAxis(1).of((2, 1, 4)) is None
    assert ClassAxis(3).of((2, 3)) is None
    assert ClassAxis(1, together=True).of((2, 3)) == 1
    assert ClassAxis(1, together=True).of((2, 3, 4)) is None


def test_a_softmax_over_the_samples_gives_no_classes() -> None:
    net = Net(17)
    net.output(net.softmax(net.gemm(net.input(6, name="x"), 10), axis=0))
    model = load(net.model())
    (found,) = fidelity(model, model, [{"x": np.ones((4, 6), np.float32)}]).outputs
    assert found.agreement is None and found.reason == OVER_SAMPLES
