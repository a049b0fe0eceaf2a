"""Reconstruction of weights that a file stores on grids: trained, judged and returned as they are there."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from onnxprune.capture.training import observer
from onnxprune.model.grids import Grid
from onnxprune.model.load import Model, load
from onnxprune.model.plain import hoisted, lowered, stored_grids
from onnxprune.repair.reconstruct import Reconstruction, reconstruct
from onnxprune.repair.stored import Stored
from onnxprune.trace import trace_model
from tests.builders import Net
from tests.quantized import images, quantized

Array = NDArray[Any]
FEEDS = images(120)
BATCHES = [{"x": FEEDS["x"][k : k + 20]} for k in range(0, 120, 20)]


def network() -> onnx.ModelProto:
    net = Net()
    h = net.relu(net.conv(net.input(3, 8, 8, name="x"), 12, 3, name="first"))
    h = net.relu(net.add(h, net.conv(h, 12, name="second")))
    h = net.op("Flatten", net.op("GlobalAveragePool", net.relu(net.conv(h, 16, 3, name="third"))))
    net.output(net.gemm(h, 5, name="last"))
    return net.model()


def coarse(model: Model, bits: int) -> dict[str, Grid]:
    """Grids for the weights of the working form, coarser than those of the file."""
    found = {}
    for name, grid in stored_grids(model).items():
        scale = (grid.scale * (127 / (2 ** (bits - 1) - 1))).astype(np.float32)
        found[name] = Grid(TensorProto.INT4, scale, np.zeros(scale.shape, np.int8), grid.axis)
    return found


def trained(bits: int = 0, **options: Any) -> tuple[Model, dict[str, Grid], Reconstruction]:
    """A float network is the teacher of the same with integers. `bits` of its weights, 0 for those of the file."""
    original = load(network())
    file = load(quantized(network(), FEEDS))
    working = hoisted(file)
    for name, mask in options.get("masks", {}).items():
        tensor = working.tensors[name]
        working = working.replace(working.proto, {**working.tensors, name: tensor.with_array(tensor.array() * mask)})
    chosen = coarse(file, bits) if bits else stored_grids(file)
    trace = trace_model(original)
    everything = np.ones(trace.unit_count, bool)
    return file, chosen, reconstruct(trace, everything, working, BATCHES, 1, grids=chosen, seed=1, threads=1, **options)


def on_grids(found: Model, grids: dict[str, Grid]) -> bool:
    arrays = {name: found.tensors[name].array() for name in grids}
    return all(np.array_equal(grid.rounded(arrays[name]), arrays[name]) for name, grid in grids.items())


def test_few_bits_come_nearer_to_the_original() -> None:
    _, grids, found = trained(2)
    assert found.steps and found.reason is None and not found.frozen
    assert len(grids) == 4 and on_grids(found.model, grids)
    assert found.after < 0.5 * found.before  # squared


def test_what_is_returned_is_what_is_stored() -> None:
    file, grids, found = trained(budget=1e9)
    assert on_grids(found.model, grids)
    written = lowered(file, found.model)
    again = hoisted(written)
    for name in grids:
        np.testing.assert_array_equal(again.tensors[name].array(), found.model.tensors[name].array())
    key = written.proto.graph.output[0].name
    a, b = (observer(model, [key]).run(None, BATCHES[-1])[0] for model in (found.model, written))
    assert np.abs(a - b).max() <= 0.02 * np.abs(a).max()  # the bias is rounded, and sums are those of integers


def test_masks_hold_on_grids() -> None:
    file = load(quantized(network(), FEEDS))
    name = sorted(stored_grids(file))[0]
    shape = hoisted(file).tensors[name].shape
    mask = np.random.default_rng(0).random(shape) < 0.5
    _, _, found = trained(3, masks={name: mask})
    array = found.model.tensors[name].array()
    assert not array[~mask].any() and array[mask].any()


def test_nothing_to_train_rounds_nothing() -> None:
    original, file = load(network()), hoisted(load(quantized(network(), FEEDS)))
    trace, grids = trace_model(original), coarse(load(quantized(network(), FEEDS)), 4)
    found = reconstruct(trace, np.ones(trace.unit_count, bool), file, BATCHES, 1, grids=grids, budget=1.0)
    assert found.model is file and found.reason


def test_slopes_that_lead_out_of_the_range_are_none() -> None:
    grid = Grid(TensorProto.INT8, np.float32(0.1), np.int8(0))
    weights = {"w": np.float32([0.03, 20.0, 20.0, -20.0, 12.74])}
    stored = Stored({"w": grid})
    seen = stored.of(weights)
    np.testing.assert_allclose(seen["w"], [0, 12.7, 12.7, -12.8, 12.7], rtol=1e-6)
    found = stored.slopes(["w"], [np.float32([1, -1, 1, 1, -1])], weights, seen)[0]
    assert found.tolist() == [1, 0, 1, 0, -1]


@pytest.mark.parametrize("kind", ["per channel", "blocks"])
def test_rest_is_rounded(kind: str) -> None:
    scale = np.float32([0.5, 0.25]) if kind == "per channel" else np.full((2, 2), 0.5, np.float32)
    zero = np.zeros(scale.shape, np.int8)
    grid = Grid(TensorProto.INT8, scale, zero, 0 if kind == "per channel" else 1, 0 if kind == "per channel" else 2)
    net = Net()
    net.output(net.op("MatMul", net.input(2, name="x"), np.float32([[0.4, 0.9, 1.3], [0.3, 0.1, 2.2]])))
    model = load(net.model())
    name = next(iter(model.tensors))
    stored = Stored({name: grid})
    assert stored.rest(model, [name]) is model
    np.testing.assert_array_equal(
        stored.rest(model, []).tensors[name].array(), grid.rounded(model.tensors[name].array())
    )
