"""What a file records of shapes and annotations after an edit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorAnnotation, helper

import onnxprune
from onnxprune.cut import cut
from onnxprune.model.load import Model, load
from onnxprune.trace import trace_model
from tests.builders import Net

SHAPE = list[int | str | None]


def network() -> tuple[ModelProto, str, str]:
    """A model, the value between its two layers, and the weight of the first one."""
    net = Net()
    h = net.relu(net.stem(8))
    net.head(h)
    return net.model(), h, net.tensors[0].name


def record(model: ModelProto, name: str, shape: SHAPE) -> None:
    model.graph.value_info.append(helper.make_tensor_value_info(name, 1, shape))


def without_half(model: ModelProto) -> Model:
    trace = trace_model(load(model))
    (group,) = trace.prunable
    keep = np.ones(trace.unit_count, bool)
    keep[group.units[:3]] = False
    return cut(trace, keep)


def said(model: Model) -> dict[str, SHAPE]:
    return {
        value.name: [
            d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in value.type.tensor_type.shape.dim
        ]
        for value in model.proto.graph.value_info
    }


def test_numbers_follow_and_symbols_of_what_is_left_stay() -> None:
    model, value, weight = network()
    record(model, value, ["N", 8, "height", 6])
    record(model, weight, [8, 3, 1, 1])
    assert said(without_half(model)) == {value: ["N", 5, "height", 6], weight: [5, 3, 1, 1]}


def test_a_symbol_for_what_is_cut_is_left_open() -> None:
    """Elsewhere it may still mean the old number."""
    model, value, _ = network()
    record(model, value, ["N", "channels", 6, 6])
    assert said(without_half(model)) == {value: ["N", None, 6, 6]}


def test_a_number_that_was_not_so_is_left_open() -> None:
    model, value, _ = network()
    record(model, value, ["N", 7, 6, 6])
    assert said(without_half(model)) == {value: ["N", None, 6, 6]}


def test_what_names_nothing_stays_if_it_did_so_before() -> None:
    model, _, weight = network()
    record(model, "nothing", [2])
    model.graph.quantization_annotation.append(TensorAnnotation(tensor_name=weight))
    found = without_half(model)
    assert said(found) == {"nothing": [2]} and len(found.proto.graph.quantization_annotation) == 1


def test_what_is_said_of_a_constant_that_leaves_leaves() -> None:
    """A bias of two layers becomes two."""
    net = Net()
    x = net.input(3, 6, 6)
    w = net.constant(net.normal(8), "w")
    for name in "ab":
        net.head(net.relu(net.op("Conv", x, net.normal(8, 3, 1, 1), w, name=name)), name=f"{name}z")
    model = net.model()
    record(model, "w", [8])
    model.graph.quantization_annotation.append(TensorAnnotation(tensor_name="w"))
    trace = trace_model(load(model))
    keep = np.ones(trace.unit_count, bool)
    keep[[trace.prunable[0].units[0], trace.prunable[1].units[5]]] = False
    found = cut(trace, keep)
    assert "w" not in found.tensors and not said(found) and not found.proto.graph.quantization_annotation
    onnx.checker.check_model(found.complete_proto(), full_check=True)


def test_bodies_record_what_they_see(tmp_path: Path) -> None:
    """Values of outer graphs, too."""
    net = Net()
    a = net.relu(net.stem(8))
    condition = net.op("Greater", net.mean(a, 0, 1, 2, 3, keepdims=0), np.array(0, np.float32))
    bodies = []
    for name in ("yes", "no"):
        body = Net()
        weight = body.constant(body.normal(4, 8, 1, 1), f"{name}_w")
        body.nodes.append(helper.make_node("Conv", [a, weight], [f"{name}_y"], name=name))
        made = body.body(name, [f"{name}_y"])
        made.value_info.append(helper.make_tensor_value_info(a, 1, ["N", 8, 6, 6]))
        made.value_info.append(helper.make_tensor_value_info(weight, 1, [4, 8, 1, 1]))
        bodies.append(made)
    y = net.op("If", condition, then_branch=bodies[0], else_branch=bodies[1])
    net.outputs.append(helper.make_tensor_value_info(y, 1, [None] * 4))
    onnx.save(net.model(), tmp_path / "m.onnx")
    result = onnxprune.shrink(tmp_path / "m.onnx", tmp_path / "out.onnx", ratio=0.5, repair="none", multiple_of=1)
    assert result.plan.removed_count
    onnx.checker.check_model(str(tmp_path / "out.onnx"), full_check=True)
