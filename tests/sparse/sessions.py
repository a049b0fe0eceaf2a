"""Sessions with and without the library, and the rewriting of a case."""

from __future__ import annotations

import onnxruntime
import pytest
from onnx import ModelProto

from onnxprune import native
from onnxprune.model.load import load
from onnxprune.sparse import Mask, Pattern, dense_zeros, rewrite
from tests.sparse.layers import Case
from tests.sparse.quantized import QuantizedCase

needs_library = pytest.mark.skipif(native.library_path() is None, reason=f"the library is {native.problem()}")


def session(model: ModelProto, *, library: bool, threads: int = 1) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.add_session_config_entry("session.x64quantprecision", "1")
    if library:
        assert native.register(options)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def pair(case: Case, opset: int = 17) -> tuple[ModelProto, ModelProto]:
    """The network with sparse operators, and the dense one with zeros."""
    keep = case.keep() if case.kind == "conv" else case.keep().T
    masks = {"w": Mask(keep, Pattern(case.rows))}
    model = load(case.model(opset))
    done = rewrite(model, masks)
    assert list(done.operators) == ["layer"], dict(done.declined)
    return done.model.complete_proto(), dense_zeros(model, masks).complete_proto()


def quantized_pair(case: QuantizedCase, opset: int = 17) -> tuple[ModelProto, ModelProto]:
    masks = {"w": Mask(case.keep(), Pattern(case.rows, 4))}
    model = load(case.model(opset))
    done = rewrite(model, masks)
    assert list(done.operators) == ["layer"], dict(done.declined)
    return done.model.complete_proto(), dense_zeros(model, masks).complete_proto()
