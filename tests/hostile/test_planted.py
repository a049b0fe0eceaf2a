"""Planted networks: every even channel is dead by construction. Removing half must find exactly these, and the result
must compute what the untouched original computes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, helper

from onnxprune import shrink, verify
from onnxprune.choose.score import criteria
from onnxprune.choose.score.registry import Needs
from tests.hostile.support import Array, info, model_of, run, save, weights

WIDTH = 8
TOLERANCE = 1e-4
SIZES = [c.name for c in criteria() if c.needs is Needs.WEIGHTS and c.name not in ("random", "similarity")]
DEAD = np.arange(WIDTH) % 2 == 0


def planted(fused: bool) -> ModelProto:
    """stem - block - block - pool - Gemm with residual connections; in all widths of 8 the even channels are zero."""
    nodes, tensors = [], {}

    def layer(name: str, x: str, inputs: int, seed: int, relu: bool = True) -> str:
        weight, bias = weights(WIDTH, inputs, 3, 3, seed=seed), weights(WIDTH, seed=seed + 1)
        weight[DEAD], bias[DEAD] = 0, 0
        tensors[f"{name}.w"] = weight
        nodes.append(helper.make_node("Conv", [x, f"{name}.w"], [f"{name}.c"], name=name, pads=[1] * 4))
        if fused:
            tensors[f"{name}.b"] = bias
            nodes[-1].input.append(f"{name}.b")
        else:
            random = np.random.default_rng(seed)
            scale = random.uniform(0.5, 2, WIDTH).astype(np.float32)
            mean = weights(WIDTH, seed=seed + 2)
            scale[DEAD], mean[DEAD] = 0, 0
            parts = {"s": scale, "b": bias, "m": mean, "v": random.uniform(0.5, 2, WIDTH).astype(np.float32)}
            tensors.update({f"{name}.{k}": v for k, v in parts.items()})
            inputs_of = [f"{name}.c", *(f"{name}.{k}" for k in parts)]
            nodes.append(helper.make_node("BatchNormalization", inputs_of, [f"{name}.n"], name=f"{name}.bn"))
        last = nodes[-1].output[0]
        if relu:
            nodes.append(helper.make_node("Relu", [last], [f"{name}.r"]))
        return str(nodes[-1].output[0])

    x = layer("stem", "x", 3, 1)
    for block in range(2):
        inner = layer(f"b{block}.one", x, WIDTH, 10 * block + 20)
        inner = layer(f"b{block}.two", inner, WIDTH, 10 * block + 25, relu=False)
        nodes.append(helper.make_node("Add", [inner, x], [f"b{block}.sum"]))
        nodes.append(helper.make_node("Relu", [f"b{block}.sum"], [f"b{block}.out"]))
        x = f"b{block}.out"
    nodes.append(helper.make_node("GlobalAveragePool", [x], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
    nodes.append(helper.make_node("Gemm", ["flat", "fc.w", "fc.b"], ["y"], name="fc", transB=1))
    tensors |= {"fc.w": weights(5, WIDTH, seed=90), "fc.b": weights(5, seed=91)}
    return model_of(nodes, [info("x", ["N", 3, 8, 8])], [info("y", ["N", 5])], tensors)


def images() -> dict[str, Array]:
    return {"x": np.random.default_rng(7).standard_normal((4, 3, 8, 8)).astype(np.float32)}


@pytest.mark.parametrize("fused", [False, True], ids=["batch-norm", "fused"])
@pytest.mark.parametrize("repair", ["none", "auto"])
def test_l1_finds_the_dead_channels(tmp_path: Path, fused: bool, repair: str) -> None:
    path = save(tmp_path, planted(fused))
    out = tmp_path / "small.onnx"
    result = shrink(path, out, ratio=0.5, criterion="l1", repair=repair, threads=1)
    assert result.proof is not None and result.proof.sensitive
    assert [g.removed for g in result.plan.groups] == [tuple(np.flatnonzero(DEAD).tolist())] * 3
    before, after = run(path, images())[0], run(out, images())[0]
    assert np.abs(before).max() > 0.1
    np.testing.assert_allclose(after, before, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("fused", [False, True], ids=["batch-norm", "fused"])
@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("name", SIZES)
def test_every_criterion_of_size_finds_them(tmp_path: Path, name: str, scope: str, fused: bool) -> None:
    """A zero filter is the smallest by any norm. Geometric median and filter sketch look at distances: zero filters,
    being four equal ones, are the most redundant. (`random` is a baseline; `similarity` keeps one of the equal ones.)
    """
    path = save(tmp_path, planted(fused))
    out = tmp_path / "small.onnx"
    shrink(path, out, ratio=0.5, criterion=name, scope=scope, verify=False)
    before, after = run(path, images())[0], run(out, images())[0]
    np.testing.assert_allclose(after, before, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("shape", [(6,), (1, 6), (1,), (), (1, 1), (2, 6), (2, 1), None], ids=str)
def test_biases_of_every_shape_take_constant_channels(tmp_path: Path, shape: tuple[int, ...] | None) -> None:
    """A Gemm adds its third input in any form that broadcasts, and may scale both terms. The result can be verified."""
    nodes = [
        helper.make_node("Gemm", ["x", "up", "up.b"], ["a"], name="up"),
        helper.make_node("Sigmoid", ["a"], ["b"]),
        helper.make_node("Gemm", ["b", "down"], ["c"], name="down", alpha=0.5, beta=2.0),
        helper.make_node("MatMul", ["c", "end"], ["y"], name="end"),
    ]
    tensors = {"up": weights(4, WIDTH), "up.b": weights(WIDTH), "down": weights(WIDTH, 6), "end": weights(6, 3)}
    tensors["up"][:, DEAD] = 0
    if shape is not None:
        nodes[2].input.append("down.b")
        tensors["down.b"] = weights(*shape, seed=5) if shape else np.array(0.5, np.float32)
    path = save(tmp_path, model_of(nodes, [info("x", [2, 4])], [info("y", [2, 3])], tensors))
    out = tmp_path / "small.onnx"
    result = shrink(path, out, ratio=0.5, include=["up"], threads=1)
    assert [g.removed for g in result.plan.groups] == [tuple(np.flatnonzero(DEAD).tolist())]
    assert result.repair is not None and result.repair.corrected_layers == 1
    feed = {"x": weights(2, 4, seed=9)}
    np.testing.assert_allclose(run(out, feed)[0], run(path, feed)[0], atol=TOLERANCE, rtol=TOLERANCE)
    assert len(verify(path, out, threads=1).refitted) == 1


@pytest.mark.parametrize("fused", [False, True], ids=["batch-norm", "fused"])
def test_constant_channels_move_into_biases(tmp_path: Path, fused: bool) -> None:
    """Filters without weights but with a bias are constants: bias correction makes their removal exact."""
    proto = planted(fused)
    for tensor in proto.graph.initializer:
        if tensor.name.endswith("one.b"):  # inside a block, where the consumer is a single convolution
            array = np.frombuffer(tensor.raw_data, np.float32).copy()
            array[DEAD] = 0.7
            tensor.raw_data = array.tobytes()
    for node in proto.graph.node:  # no borders, where a constant channel is not constant
        if node.op_type == "Conv" and node.name.endswith("two"):
            node.attribute[0].ints[:] = [0] * 4
        elif node.op_type == "Conv" and node.name.endswith("one"):
            node.attribute[0].ints[:] = [2] * 4
    path, out = save(tmp_path, proto), tmp_path / "small.onnx"
    result = shrink(path, out, ratio=0.5, criterion="l1", include=["b*.one"], threads=1)
    assert result.repair is not None and result.repair.corrected_layers == 2
    before, after = run(path, images())[0], run(out, images())[0]
    np.testing.assert_allclose(after, before, atol=TOLERANCE, rtol=TOLERANCE)
    bare = tmp_path / "bare.onnx"
    shrink(path, bare, ratio=0.5, criterion="l1", include=["b*.one"], repair="none", threads=1)
    assert np.abs(run(bare, images())[0] - before).max() > 10 * TOLERANCE
