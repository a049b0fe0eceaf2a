"""What onnx's full check and strict inference take of the original, they must take of the result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

import onnxprune
from onnxprune.cut import cut
from onnxprune.errors import VerificationError
from onnxprune.model.load import load
from onnxprune.model.save import write
from onnxprune.proof.masked import prove
from onnxprune.proof.onnx_checks import CHECKER, FULL, STRICT, refusals
from onnxprune.trace import trace_model
from tests.builders import Net


def network() -> tuple[ModelProto, str]:
    """A model, and a value behind its last layer, which nothing changes."""
    net = Net()
    h = net.relu(net.stem(8))
    last = net.conv(h, 4, name="z")
    net.output(net.relu(last))
    return net.model(), last


def contradicted(model: ModelProto, value: str) -> ModelProto:
    model.graph.value_info.append(helper.make_tensor_value_info(value, 1, ["N", 5, 6, 6]))
    return model


def test_a_result_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    model, value = network()
    trace = trace_model(load(model))
    keep = np.ones(trace.unit_count, bool)
    keep[trace.prunable[0].units[0]] = False
    smaller = cut(trace, keep)
    write(smaller, tmp_path / "good.onnx")
    assert prove(trace, keep, tmp_path / "good.onnx").refused == ()
    contradicted(smaller.proto, value)
    write(smaller, tmp_path / "bad.onnx")
    with pytest.raises(VerificationError, match="full check refuses the result: "):
        prove(trace, keep, tmp_path / "bad.onnx")


def test_an_original_that_contradicts_itself_is_cut_and_said_so(tmp_path: Path) -> None:
    path, out = tmp_path / "m.onnx", tmp_path / "out.onnx"
    onnx.save(contradicted(*network()), path)
    assert set(refusals(str(path))) == {FULL, STRICT}
    result = onnxprune.shrink(path, out, ratio=0.5, multiple_of=1)
    assert result.proof is not None and not result.proof.checker_ok
    assert set(result.proof.refused) == {FULL, STRICT} and result.proof.notes[0].startswith(f"{FULL}: ")


def test_each_check_is_asked_for_itself(tmp_path: Path) -> None:
    """A node that onnx does not know is refused by the checker, and so by its full check."""
    model, _ = network()
    onnx.save(model, tmp_path / "good.onnx")
    assert refusals(str(tmp_path / "good.onnx")) == {}
    model.graph.node[1].op_type = "Unheard"
    onnx.save(model, tmp_path / "bad.onnx")
    assert {CHECKER, FULL} <= set(refusals(str(tmp_path / "bad.onnx")))
