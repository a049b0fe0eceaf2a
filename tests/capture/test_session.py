"""Sessions compute what the model says."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime

from onnxprune.capture.session import open_session
from onnxprune.model.load import load
from onnxprune.model.plain import hoisted
from tests.builders import Net
from tests.quantized import images, quantized

FEEDS = images(8)


def working() -> onnx.ModelProto:
    """Float weights that differ in size from output to output, between quantised values."""
    net = Net()
    weight = net.normal(8, 3, 3, 3) * np.float32(10.0) ** -np.arange(8, dtype=np.float32).reshape(8, 1, 1, 1)
    h = net.relu(net.op("Conv", net.input(3, 8, 8, name="x"), weight, net.normal(8)))
    net.output(net.conv(h, 4))
    return hoisted(load(quantized(net.model(), FEEDS))).complete_proto()


def test_float_weights_stay_what_they_are_next_to_quantised_inputs() -> None:
    model = working()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    wanted = onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, FEEDS)[0]
    found = open_session(model).run(None, FEEDS)[0]
    rounds = open_session(model, literal=False).run(None, FEEDS)[0]
    assert np.abs(found - wanted).max() < 0.1 * np.abs(rounds - wanted).max()


def test_threads_do_not_wait_busily() -> None:
    net = Net()
    net.output(net.conv(net.input(3, 4, 4, name="x"), 4))
    options = open_session(net.model()).get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
