"""`verify` of files with weights in fewer bits: right ones pass, and every single thing that is wrong is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

import onnxprune
from onnxprune.capture.moments import Moments, Split
from onnxprune.errors import PlanError, VerificationError
from onnxprune.model.graph import build
from onnxprune.model.load import load
from onnxprune.quantizing.weights import WeightRequest
from onnxprune.quantizing.weights.entries import entry_of
from onnxprune.quantizing.weights.places import places
from onnxprune.quantizing.weights.reading import stored_in
from onnxprune.quantizing.weights.small import by_samples
from onnxprune.report.others import verify_report
from onnxprune.report.render import plain
from tests.builders import Net

Array = np.ndarray[Any, Any]
Change = Callable[[ModelProto], None]
SCHEMES: dict[str, dict[str, Any]] = {
    "int4": {"scheme": "weights", "weights": "int4"},
    "int8": {"scheme": "weights", "weights": "int8"},
    "fp16": {"scheme": "weights", "weights": "fp16"},
    "dynamic": {"scheme": "dynamic"},
    "seven": {"scheme": "dynamic", "device": "x86"},
}


def network() -> tuple[Net, dict[str, Array]]:
    """Every form: a convolution, rows of a table, products, one of them of a Gemm with factors, an LSTM; a
    normalisation whose channels differ much.
    """
    net = Net(seed=0)
    ids, image = net.declare("ids", ["N", 6], np.int64), net.input(4, 8, 8, name="image")
    h = net.op("Flatten", net.relu(net.conv(image, 8, 3, name="conv")), axis=1)
    g = net.op("Gemm", h, net.normal(128, 288, scale=0.1), net.normal(128), transB=1, alpha=0.3, name="gemm")
    g = net.op("Gemm", net.relu(g), net.normal(128, 70, scale=0.1), net.normal(70), name="biased")
    words = net.op("Gather", net.normal(40, 70, scale=1.0), ids, axis=0, name="table")
    words = net.add(words, net.unsqueeze(g, 1))
    factors = np.exp(1.5 * net.rng.standard_normal(70)).astype(np.float32)
    factors[3] = 0.0
    words = net.op("LayerNormalization", words, factors, net.normal(70) * (factors != 0), axis=-1, name="norm")
    words = net.add(net.matmul(words, 70, name="one"), net.matmul(words, 70, name="two"))
    turned = net.transpose(words, 1, 0, 2)
    weights = net.normal(2, 80, 70, scale=0.2), net.normal(2, 80, 20, scale=0.2)
    net.output(net.op("LSTM", turned, *weights, direction="bidirectional", hidden_size=20, name="lstm"), g)
    rng = np.random.default_rng(1)
    image_values = rng.standard_normal((120, 4, 8, 8)).astype(np.float32)
    return net, {"ids": rng.integers(0, 40, (120, 6)), "image": image_values}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small") / "m.onnx"
    onnx.save(network()[0].model(), path)
    return path


@pytest.fixture(scope="module")
def files(original: Path) -> dict[tuple[str, bool], Path]:
    """By scheme, and whether samples were given."""
    found = {}
    for name, options in SCHEMES.items():
        for with_samples in (False, True):
            out = original.parent / f"{name}{with_samples}.onnx"
            onnxprune.quantize(original, out, data=network()[1] if with_samples else None, **options)
            found[name, with_samples] = out
    return found


@pytest.mark.parametrize("with_samples", [False, True])
@pytest.mark.parametrize("name", SCHEMES)
def test_what_was_written_is_proven_again(
    original: Path, files: dict[tuple[str, bool], Path], name: str, with_samples: bool
) -> None:
    found = onnxprune.verify(original, files[name, with_samples])
    assert found.small is not None and found.small.proof.sensitive and found.failure() is None
    assert found.small.scheme == SCHEMES[name]["scheme"] and found.small.weights == 8
    assert found.small.size == 8 * 4 * 9 + 128 * 288 + 128 * 70 + 40 * 70 + 2 * 70 * 70 + 160 * 90
    assert 0 < found.small.moved < {"int4": 0.6, "fp16": 1e-3}.get(name, 0.1)
    assert bool(found.refitted) == with_samples
    assert found.proof is None and found.proofs == (found.small.proof,)


def test_what_is_printed(original: Path, files: dict[tuple[str, bool], Path]) -> None:
    report = plain(verify_report(onnxprune.verify(original, files["int4", False])))
    assert "int4False.onnx is m.onnx with the weights in fewer bits of plan" in report
    assert "stored: 8 weights in fewer bits, 73.1 k numbers, at most 7.79 % of a weight's norm from" in report
    assert "verified: equal to a float model with these weights on" in report
    assert "refitted: 0 initializers" in report


def test_normalisations_of_other_factors_are_understood(original: Path, files: dict[tuple[str, bool], Path]) -> None:
    """Samples make `dynamic` divide them by powers of two; the channel of factor zero shows its power in weights."""
    before, after = load(original), load(files["dynamic", True])
    norm = next(node for node in before.proto.graph.node if node.op_type == "LayerNormalization")
    a, b = (one.tensors[norm.input[1]].array() for one in (before, after))
    assert not np.array_equal(a, b)
    assert norm.input[1] in onnxprune.verify(original, files["dynamic", True]).refitted


# ---- what is wrong ------------------------------------------------------------------------------------------------
def tensor(proto: ModelProto, ending: str) -> onnx.TensorProto:
    return next(one for one in proto.graph.initializer if one.name.endswith(ending))


def changed(ending: str, change: Callable[[Array], Array]) -> Change:
    def apply(proto: ModelProto) -> None:
        old = tensor(proto, ending)
        old.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(old).copy()), old.name))

    return apply


def planned_again(proto: ModelProto, change: Callable[[dict[str, Any]], None]) -> None:
    """A plan that says what somebody wants."""
    entry = next(one for one in proto.metadata_props if one.key == "onnxprune.plan")
    plan = json.loads(entry.value)
    change(plan)
    entry.value = json.dumps(plan)


def first(array: Array, value: float) -> Array:
    array.flat[0] = value
    return array


def first_of(kind: str) -> Callable[[ModelProto], onnx.NodeProto]:
    return lambda proto: next(node for node in proto.graph.node if node.op_type == kind)


def attribute(kind: str, name: str, value: int) -> Change:
    def apply(proto: ModelProto) -> None:
        node = first_of(kind)(proto)
        node.attribute.remove(next(a for a in node.attribute if a.name == name))
        node.attribute.append(onnx.helper.make_attribute(name, value))

    return apply


def other_operator(proto: ModelProto) -> None:
    first_of("Relu")(proto).op_type = "Sigmoid"


def another_node(proto: ModelProto) -> None:
    proto.graph.node.append(onnx.helper.make_node("Relu", [proto.graph.output[0].name], ["unread"]))


WRONG: list[tuple[str, str, Change, str]] = [
    ("scale", "int4", changed("_scales", lambda a: a * a.dtype.type(1.25)), "not those of the plan"),
    ("negative", "int4", changed("_scales", lambda a: -a), "no positive number"),
    ("infinite", "int8", changed("_scales", lambda a: first(a, np.inf)), "no positive number"),
    ("zero-point", "int4", changed("_zero_points", lambda a: a ^ np.uint8(1)), "not those of the plan"),
    ("swapped", "int4", changed("_4bits", lambda a: a[:, [1, 0, *range(2, a.shape[1])]]), "not those of the plan"),
    ("block", "int4", attribute("MatMulNBits", "block_size", 64), "is stored as"),
    ("odd", "int4", attribute("MatMulNBits", "block_size", 33), "which nobody writes"),
    ("level", "int4", attribute("MatMulNBits", "accuracy_level", 1), "not the original's"),
    ("shape", "int8", changed("_int8", lambda a: a[:-1]), "is stored as int8 of shape"),
    ("type", "fp16", changed("_half", lambda a: a.astype(np.float32)), "is stored as float32"),
    ("halves", "fp16", changed("_half", lambda a: first(a, np.inf)), "not finite"),
    ("rows", "dynamic", changed("_int8", lambda a: np.roll(a, 1, 0)), "not those of the plan"),
    ("operator", "dynamic", other_operator, "not the original's"),
    ("node", "dynamic", another_node, "nodes"),
    ("attribute", "dynamic", attribute("Conv", "group", 2), "not the original's"),
    ("zeros", "dynamic", changed("_zero_points", lambda a: first(a, 3)), "symmetric"),
]


@pytest.mark.parametrize(("what", "name", "change", "words"), WRONG, ids=[one[0] for one in WRONG])
def test_what_is_wrong_is_refused(
    original: Path,
    files: dict[tuple[str, bool], Path],
    tmp_path: Path,
    what: str,
    name: str,
    change: Change,
    words: str,
) -> None:
    proto = onnx.load(files[name, False])
    change(proto)
    onnx.save(proto, tmp_path / "wrong.onnx")
    with pytest.raises(VerificationError, match=words):
        onnxprune.verify(original, tmp_path / "wrong.onnx")


@pytest.mark.parametrize(("name", "index", "words"), [("norm", 1, "powers of two"), ("norm", 2, "powers|other values")])
def test_other_factors_are_no_equalisation(
    original: Path, files: dict[tuple[str, bool], Path], tmp_path: Path, name: str, index: int, words: str
) -> None:
    proto = onnx.load(files["dynamic", True])
    key = next(node for node in proto.graph.node if node.name == name).input[index]
    changed(key, lambda a: a * np.float32(1.5))(proto)
    onnx.save(proto, tmp_path / "wrong.onnx")
    with pytest.raises(VerificationError, match=words):
        onnxprune.verify(original, tmp_path / "wrong.onnx")


def test_other_weights_must_be_the_original_ones(
    original: Path, files: dict[tuple[str, bool], Path], tmp_path: Path
) -> None:
    """Those that stay float; a bias may change where samples refit it, and not without them."""
    proto = onnx.load(files["int8", False])
    bias = next(node for node in proto.graph.node if node.name == "biased").input[2]
    changed(bias, lambda a: first(a, 0.5))(proto)
    onnx.save(proto, tmp_path / "wrong.onnx")
    with pytest.raises(VerificationError, match="has other values"):
        onnxprune.verify(original, tmp_path / "wrong.onnx")


def test_a_plan_that_was_changed_as_well_does_not_help(original: Path, tmp_path: Path) -> None:
    """A weight that is far from the original's is no rounding of it, whatever the plan says."""
    out = onnxprune.quantize(original, tmp_path / "q.onnx", data=network()[1], scheme="weights").written[0]
    proto = onnx.load(out)
    changed("_int8", lambda a: -a)(proto)
    found = weights_of(proto, original)
    planned_again(proto, lambda plan: plan["quantization"].update(weights=found))
    onnx.save(proto, tmp_path / "wrong.onnx")
    with pytest.raises(VerificationError, match="no rounding gives that"):
        onnxprune.verify(original, tmp_path / "wrong.onnx")


def weights_of(proto: ModelProto, original: Path) -> list[dict[str, Any]]:
    """Entries of a plan for what a file has."""
    there = [one for one in places(build(load(original)), WeightRequest(kind="int8", least=0)) if one.reason is None]
    found = build(load(proto.SerializeToString()))
    stored = [item for one in there if (item := stored_in(found, one)) is not None]
    return [asdict(entry_of(item)) for item in stored]


def test_a_plan_that_says_nothing_of_weights(
    original: Path, files: dict[tuple[str, bool], Path], tmp_path: Path
) -> None:
    proto = onnx.load(files["int8", False])
    planned_again(proto, lambda plan: plan["quantization"].update(weights=[]))
    onnx.save(proto, tmp_path / "old.onnx")
    with pytest.raises(PlanError, match="does not say how its weights are stored"):
        onnxprune.verify(original, tmp_path / "old.onnx")


@pytest.mark.parametrize("with_samples", [False, True])
@pytest.mark.parametrize("name", SCHEMES)
def test_files_in_which_weights_are_inputs(tmp_path: Path, name: str, with_samples: bool) -> None:
    """Before version 4 of the format all initializers are; those that are added are so, too."""
    net, feed = network()
    proto = net.model()
    proto.ir_version = 3
    for one in proto.graph.initializer:
        proto.graph.input.append(onnx.helper.make_tensor_value_info(one.name, one.data_type, list(one.dims)))
    onnx.save(proto, tmp_path / "m.onnx")
    given = {"data": feed} if with_samples else {}
    onnxprune.quantize(tmp_path / "m.onnx", tmp_path / "q.onnx", **given, **SCHEMES[name])
    found = onnxprune.verify(tmp_path / "m.onnx", tmp_path / "q.onnx")
    assert found.small is not None and found.small.weights == 8 and found.failure() is None


def test_no_rounding_by_samples_is_farther_than_zeros() -> None:
    """Least squares on inputs of the other sign would turn all weights round: the nearest are taken instead."""
    net = Net(seed=3)
    net.output(net.matmul(net.input(64, name="x"), 64, name="only"))
    model = load(net.model())
    request = WeightRequest(kind="int4")
    (place,) = places(build(model), request)
    assert place.linear is not None
    weight = model.tensors[place.key].array()
    x = np.random.default_rng(0).standard_normal((300, 64)).astype(np.float32)
    parts = Moments.zero(64, 64), Moments.zero(64, 64)
    for part in parts:
        part.add(x, -x @ weight)
    found = by_samples(place, place.linear, weight, None, Split(*parts), request)
    assert found.stored is not None
    assert np.linalg.norm(found.stored.values() - weight) < 0.1 * np.linalg.norm(weight)
