"""Sessions compute what the model says."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from onnxprune.capture.session import open_session, require_provider
from onnxprune.errors import UsageError
from onnxprune.model.load import load
from onnxprune.model.plain import hoisted
from onnxprune.results.providers import CPU, Provider, installed, short_provider
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


def test_sessions_are_on_the_provider_that_is_asked() -> None:
    """Every one that is installed here; what it leaves out, the CPU does."""
    model = working()
    wanted = open_session(model, 1).run(None, FEEDS)[0]
    for name in installed():
        session = open_session(model, Provider(name, 1))
        assert session.get_providers() == list(dict.fromkeys((name, CPU)))
        assert session.get_session_options().intra_op_num_threads == 1
        np.testing.assert_allclose(session.run(None, FEEDS)[0], wanted, rtol=1e-4, atol=1e-5)
        require_provider(Provider(name))


def test_a_provider_that_the_runtime_drops_is_an_error() -> None:
    """It would compute on the CPU instead, and tell nobody."""
    missing = next(name for name in onnxruntime.get_all_providers() if name not in installed())
    with pytest.warns(UserWarning, match=missing), pytest.raises(UsageError, match="fell back to CPU") as caught:
        open_session(working(), Provider(missing))
    assert f"provider='{short_provider(missing)}' cannot be used here" in str(caught.value)
    assert "or leave out provider=" in str(caught.value)


def test_a_provider_that_cannot_run_the_model_is_to_blame() -> None:
    broken = working()
    broken.graph.node[0].op_type = "NoSuchOperator"
    for name in set(installed()) - {CPU}:
        with pytest.raises(UsageError, match=r"cannot be used here: .*NoSuchOperator"):
            open_session(broken, Provider(name))
    with pytest.raises(Exception, match="NoSuchOperator") as caught:
        open_session(broken)
    assert not isinstance(caught.value, UsageError)
