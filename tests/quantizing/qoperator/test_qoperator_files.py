"""Files of operators on integers: written, proven, used; and what is wrong in them is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper

import onnxprune
from onnxprune.errors import ModelError, UsageError, VerificationError
from onnxprune.model.graph import build
from onnxprune.model.infer import infer
from onnxprune.model.integers import integer_share
from onnxprune.model.load import load
from onnxprune.report import others, quantize, quantize_document
from onnxprune.report.render import plain
from tests.builders import Net, ints

Change = Callable[[ModelProto], None]


def network() -> Net:
    net = Net()
    h = net.relu(net.bn(net.conv(net.input(4, 8, 8), 8, name="a")))
    h = net.add(h, net.conv(h, 8, name="b", group=8), name="sum")
    h = net.op("Pad", net.op("Sigmoid", h), ints(0, 0, 1, 0, 0, 0, 0, 1), name="pad")
    h = net.op("MaxPool", h, kernel_shape=[2, 2], strides=[2, 2], name="pool")
    h = net.concat(h, net.relu(net.conv(h, 6, name="c")), name="both")
    net.output(net.softmax(net.gemm(net.op("Flatten", h), 5, name="d"), name="classes"))
    return net


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A network, its operators on integers, and its quantisers."""
    here, net = tmp_path_factory.mktemp("forms"), network()
    onnx.save(net.model(), here / "m.onnx")
    data = {net.inputs[0].name: net.rng.standard_normal((40, 4, 8, 8)).astype(np.float32)}
    results = []
    for form in ("qoperator", "qdq"):
        out = here / f"{form}.onnx"
        results.append(
            onnxprune.quantize(
                here / "m.onnx", out, data=data, scheme="static", repair="none", form=form, device="vnni"
            )
        )
    first, second = results
    assert first.plan.quantization == second.plan.quantization
    assert (first.plan.options["form"], second.plan.options["form"]) == ("qoperator", "qdq")
    found, document = first.quantization, quantize_document.quantize(first)
    assert found.form == document["quantization"]["form"] == "qoperator" and not found.notes
    assert found.executed is not None and found.executed.integers == 4 and not found.executed.floats
    assert found.proof is not None and found.proof.outputs is not None and found.proof.most_steps <= 1
    assert document["quantization"]["proof"]["outputs"]["numbers_count"] == found.proof.outputs.numbers > 0
    assert second.quantization.proof is not None and second.quantization.proof.outputs is None
    told = plain(quantize.report(first))
    assert "operators on integers" in told and "outputs are those of the same file with quantisers" in told
    return here / "m.onnx", here / "qoperator.onnx", here / "qdq.onnx"


def test_all_that_can_is_an_operator_on_integers(files: tuple[Path, Path, Path]) -> None:
    kinds = [node.op_type for node in onnx.load(files[1]).graph.node]
    assert sorted(kinds) == sorted(
        [
            *("QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearConv", "QLinearConv", "QGemm", "QLinearAdd"),
            *("QLinearSigmoid", "Pad", "MaxPool", "QLinearConcat", "Flatten", "QLinearSoftmax"),
        ]
    )


def test_it_is_repeated_from_the_file(files: tuple[Path, Path, Path]) -> None:
    found = onnxprune.verify(*files[:2])
    assert found.grids is not None and found.grids.most_steps <= 1 and not found.refitted
    assert found.grids.outputs is not None and found.grids.outputs.farthest <= 0.1
    assert "outputs are those of the same file with quantisers" in plain(others.verify_report(found))
    assert found.failure() is None


def test_it_is_smaller_and_counted_as_the_other_is(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    assert files[1].stat().st_size < files[2].stat().st_size
    shares = [integer_share(graph, infer(graph)) for graph in (build(load(path)) for path in files[1:])]
    assert shares[0].layers == shares[0].integers == 4 and shares[0].uncounted == 0
    assert shares[0].integer_macs == shares[1].integer_macs > 0
    checked = onnxprune.check(files[1], min_int8=0.99)
    assert [checked.verdict(one) for one in checked.models] == ["passed"]
    onnxprune.pack(files[1], tmp_path / "packed")
    onnxprune.unpack(tmp_path / "packed", tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == files[1].read_bytes()


# ---- what is wrong ---------------------------------------------------------------------------------------------
def node(proto: ModelProto, op_type: str, number: int = 0) -> onnx.NodeProto:
    return [one for one in proto.graph.node if one.op_type == op_type][number]


def changed(proto: ModelProto, at: onnx.NodeProto, slot: int, change: Callable[[Any], Any]) -> None:
    """Another initializer for this input of this node alone."""
    old = next(one for one in proto.graph.initializer if one.name == at.input[slot])
    array = numpy_helper.to_array(old).copy()
    proto.graph.initializer.append(numpy_helper.from_array(np.asarray(change(array), array.dtype), "another"))
    at.input[slot] = "another"


def attribute(at: onnx.NodeProto, name: str) -> onnx.AttributeProto:
    return next(one for one in at.attribute if one.name == name)


def read_on_another_scale(proto: ModelProto) -> None:
    changed(proto, node(proto, "QLinearConv", 1), 1, lambda a: a * 1.1)


def written_on_another_scale(proto: ModelProto) -> None:
    changed(proto, node(proto, "QLinearConv"), 6, lambda a: a * 1.1)


def another_scale_for_all(proto: ModelProto) -> None:
    name = node(proto, "QLinearConv").input[6]
    old = next(one for one in proto.graph.initializer if one.name == name)
    old.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(old) * np.float32(1.1), name))


def weight_on_another_scale(proto: ModelProto) -> None:
    changed(proto, node(proto, "QLinearConv"), 4, lambda a: a * 1.5)


def no_scale(proto: ModelProto) -> None:
    changed(proto, node(proto, "QLinearConv"), 4, lambda a: a * 0)


def scale_that_is_computed(proto: ModelProto) -> None:
    at = node(proto, "QLinearConv")
    proto.graph.node.insert(0, helper.make_node("Identity", [at.input[4]], ["computed"]))
    at.input[4] = "computed"


def swapped_zero_points(proto: ModelProto) -> None:
    at = node(proto, "QLinearAdd")
    at.input[2], at.input[7] = at.input[7], at.input[2]


def another_zero_point(proto: ModelProto) -> None:
    changed(proto, node(proto, "QGemm"), 8, lambda a: a + 3)


def another_bias(proto: ModelProto) -> None:
    changed(proto, node(proto, "QLinearConv"), 8, lambda a: np.stack([a, a]))


def another_pad(proto: ModelProto) -> None:
    changed(proto, node(proto, "Pad"), 2, lambda a: a + 1)


def another_stride(proto: ModelProto) -> None:
    attribute(node(proto, "MaxPool"), "kernel_shape").ints[:] = [1, 1]


def more_groups(proto: ModelProto) -> None:
    attribute(node(proto, "QLinearConv", 1), "group").i = 4


def channels_last(proto: ModelProto) -> None:
    node(proto, "QLinearConv").domain = "com.microsoft"
    node(proto, "QLinearConv").attribute.append(helper.make_attribute("channels_last", 1))


def another_opset(proto: ModelProto) -> None:
    attribute(node(proto, "QLinearSoftmax"), "opset").i = 11


def another_axis(proto: ModelProto) -> None:
    attribute(node(proto, "QLinearConcat"), "axis").i = 2


def another_operator(proto: ModelProto) -> None:
    node(proto, "QLinearAdd").op_type = "QLinearMul"


def other_order(proto: ModelProto) -> None:
    at = node(proto, "QLinearConcat")
    at.input[2:] = [*at.input[5:8], *at.input[2:5]]


def too_few_inputs(proto: ModelProto) -> None:
    del node(proto, "QLinearConv").input[5:]


def too_many_inputs(proto: ModelProto) -> None:
    at = node(proto, "QLinearAdd")
    at.input.append(at.input[0])


def one_more_node(proto: ModelProto) -> None:
    last = node(proto, "DequantizeLinear")
    proto.graph.node.insert(len(proto.graph.node) - 1, helper.make_node("Abs", [last.output[0]], ["unread"]))


CHANGES: list[tuple[Change, str]] = [
    (read_on_another_scale, "does not read on the grid"),
    (written_on_another_scale, "does not read on the grid"),
    (another_scale_for_all, "is on the grid"),
    (weight_on_another_scale, "the scales of weight"),
    (no_scale, "no positive number"),
    (scale_that_is_computed, "no constant"),
    (swapped_zero_points, "does not read on the grid"),
    (another_zero_point, "does not read on the grid"),
    (another_bias, "scales for 2 indices"),
    (another_pad, "pads with something other than 0"),
    (another_stride, "attributes"),
    (more_groups, "attributes"),
    (channels_last, "read by other nodes"),
    (another_opset, "is of opset 11"),
    (another_axis, "attributes"),
    (another_operator, "is Mul in the file, Add in the original"),
    (other_order, "reads"),
    (too_few_inputs, "has not the inputs of QLinearConv"),
    (too_many_inputs, "has not the inputs of QLinearAdd"),
    (one_more_node, "nodes besides its quantisers"),
]


@pytest.mark.parametrize(("change", "words"), CHANGES, ids=lambda value: getattr(value, "__name__", ""))
def test_what_is_wrong_is_refused(files: tuple[Path, Path, Path], tmp_path: Path, change: Change, words: str) -> None:
    proto = onnx.load(files[1])
    change(proto)
    onnx.save(proto, tmp_path / "wrong.onnx")
    with pytest.raises((VerificationError, ModelError), match=words):
        onnxprune.verify(files[0], tmp_path / "wrong.onnx")


def test_another_weight_is_said(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """As in the other form: repair gives weights other values."""
    proto = onnx.load(files[1])
    changed(proto, node(proto, "QLinearConv"), 3, lambda a: np.roll(a, 1, axis=0))
    onnx.save(proto, tmp_path / "turned.onnx")
    found = onnxprune.verify(files[0], tmp_path / "turned.onnx")
    assert len(found.refitted) == 1 and found.grids is not None and found.grids.moved_steps > 3


def test_the_form_is_that_of_the_plan(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """A plan of quantisers in a file of operators on integers is none of it."""
    proto, other = onnx.load(files[1]), onnx.load(files[2])
    del proto.metadata_props[:]
    proto.metadata_props.extend(other.metadata_props)
    onnx.save(proto, tmp_path / "wrong.onnx")
    with pytest.raises(VerificationError, match="read by other nodes than DequantizeLinear"):
        onnxprune.verify(files[0], tmp_path / "wrong.onnx")


# ---- what is asked ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("device", ["x86", "arm"])
def test_it_is_for_other_processors_as_well(tmp_path: Path, device: str) -> None:
    """Signed activations are computed with integers that quantisers would not get on this one: ties differ."""
    net = network()
    onnx.save(net.model(), tmp_path / "m.onnx")
    data = {net.inputs[0].name: net.rng.standard_normal((24, 4, 8, 8)).astype(np.float32)}
    paths = tmp_path / "m.onnx", tmp_path / "q.onnx"
    done = onnxprune.quantize(*paths, data=data, scheme="static", form="qoperator", device=device, exclude=["b", "sum"])
    found = done.quantization
    assert found.proof is not None and found.proof.most_steps <= 1
    assert len(found.quantized_layers) == 3
    assert onnxprune.verify(*paths).failure() is None


@pytest.mark.parametrize("scheme", ["dynamic", "weights"])
def test_other_schemes_have_no_such_form(files: tuple[Path, Path, Path], scheme: Any) -> None:
    with pytest.raises(UsageError, match=r"form=qoperator|form='qoperator'|--form qoperator"):
        onnxprune.quantize(files[0], None, scheme=scheme, form="qoperator")


def test_ranges_of_every_run_have_no_such_form() -> None:
    """A product with outliers, where `auto` takes dynamic ranges."""
    net = Net()
    x = net.declare("x", ["N", 16])
    net.output(net.matmul(net.op("Exp", net.matmul(net.op("Mul", x, np.float32(4)), 16)), 8))
    samples = net.rng.standard_normal((32, 16)).astype(np.float32)
    data = {"x": samples}
    assert onnxprune.quantize(load(net.model()), None, data=data).quantization.scheme == "dynamic"
    with pytest.raises(UsageError, match="found those of every run to be better"):
        onnxprune.quantize(load(net.model()), None, data=data, form="qoperator")
