"""What is packed is what ONNX Runtime reads: products with packed weights against those of the grid."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from onnxprune.model.load import load
from onnxprune.quantizing.weights import WeightRequest, weights_only
from onnxprune.quantizing.weights.packing import pack, packed_zeros, unpacked
from onnxprune.trace import trace_model
from tests.builders import Net
from tests.oracle import session


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(("features", "outputs", "block"), [(40, 3, 16), (64, 5, 32), (7, 1, 16), (300, 2, 128)])
def test_packing_is_undone(features: int, outputs: int, block: int, bits: int) -> None:
    q = np.random.default_rng(0).integers(0, 2**bits, (features, outputs)).astype(np.uint8)
    packed = pack(q, block, bits)
    assert packed.shape == (outputs, -(-features // block), block * bits // 8)
    assert (unpacked(packed, features, bits) == q).all()


def test_the_first_of_two_is_the_lower_half() -> None:
    q = np.zeros((16, 1), np.uint8)
    q[0], q[1] = 3, 12
    assert pack(q, 16, 4)[0, 0, 0] == 3 | 12 << 4
    assert packed_zeros(np.uint8([[1], [2], [3]]), 4).tolist() == [[1 | 2 << 4, 3 | 8 << 4]]


@pytest.mark.parametrize("block", [16, 32, 64, 128, 256])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("kind", ["MatMul", "Gemm", "Gemm transB", "Gemm alpha", "Gemm bias"])
def test_as_the_runtime_reads_it(block: int, symmetric: bool, bits: int, kind: str) -> None:
    """Features that fill no whole block, an odd number of blocks, and outputs that are no multiple of anything."""
    net = Net(seed=block)
    features, outputs = 2 * block + 24, 37
    x = net.input(features, name="x")
    if kind == "MatMul":
        net.output(net.matmul(x, outputs, name="layer"))
    else:
        turned = kind != "Gemm"
        weight = net.normal(*(outputs, features) if turned else (features, outputs), scale=0.1)
        extra = [net.normal(outputs, scale=1.0)] if kind == "Gemm bias" else []
        alpha = {"alpha": -0.7} if kind == "Gemm alpha" else {}
        net.output(net.op("Gemm", x, weight, *extra, transB=int(turned), name="layer", **alpha))
    wanted_kind = "int4" if bits == 4 else "int8-blocks"
    request = WeightRequest(kind=wanted_kind, block=block, symmetric=symmetric, accuracy_level=1)
    done = weights_only(trace_model(load(net.model())), None, request)
    proto = done.model.complete_proto()
    assert [node.op_type for node in proto.graph.node if node.name == "layer"] == ["MatMulNBits"]
    assert done.layers[0].kind == f"int{bits} in blocks of {block}"
    onnx.checker.check_model(proto)
    feed = {"x": np.random.default_rng(1).standard_normal((5, features)).astype(np.float32)}
    found, wanted, plain = (session(one).run(None, feed)[0] for one in (proto, done.twin.complete_proto(), net.model()))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
    assert np.abs(wanted - plain).max() > 0
    assert np.square(wanted - plain).sum() < (0.03 if bits == 4 else 1e-4) * np.square(plain).sum()


def test_in_int8_it_rounds_the_activations_as_well() -> None:
    net = Net(seed=1)
    net.output(net.matmul(net.input(128, name="x"), 64))
    done = weights_only(trace_model(load(net.model())), None, WeightRequest(accuracy_level=4))
    feed = {"x": np.random.default_rng(1).standard_normal((9, 128)).astype(np.float32)}
    found, wanted = (session(one.complete_proto()).run(None, feed)[0] for one in (done.model, done.twin))
    assert np.square(found - wanted).sum() < 1e-3 * np.square(wanted).sum()
    assert next(a.i for a in done.model.proto.graph.node[0].attribute if a.name == "accuracy_level") == 4


def test_zero_points_and_scales_are_of_the_type_and_shape_that_the_operator_has() -> None:
    net = Net(seed=2)
    net.output(net.matmul(net.input(72, name="x"), 20))
    done = weights_only(trace_model(load(net.model())), None, WeightRequest(block=16))
    shapes = {name: (t.dtype, t.shape) for name, t in done.model.tensors.items()}
    weight = done.layers[0].weight
    assert shapes == {
        f"{weight}_4bits": (TensorProto.UINT8, (20, 5, 8)),
        f"{weight}_scales": (TensorProto.FLOAT, (20, 5)),
        f"{weight}_zero_points": (TensorProto.UINT8, (20, 3)),
    }
    assert sum(t.nbytes for t in done.model.tensors.values()) == done.layers[0].stored
