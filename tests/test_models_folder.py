"""The files of ``models/`` are what its README says."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime  # type: ignore[import-untyped, unused-ignore]
import pytest

MODELS = Path(__file__).resolve().parents[1] / "models"
README = (MODELS / "README.md").read_text(encoding="utf-8")
CHECKSUMS = re.findall(r"^\| `([\w.]+)` \| (\d+) \| `([0-9a-f]{64})` \|$", README, re.MULTILINE)


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    """The example model."""
    return onnx.load(MODELS / "digits.onnx")


@pytest.fixture(scope="module")
def logits() -> npt.NDArray[np.float32]:
    """The example model's answers to the test images, in ONNX Runtime."""
    session = onnxruntime.InferenceSession(str(MODELS / "digits.onnx"), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["logits"], {"image": load("digits_test.npz")["image"]})[0], dtype=np.float32)


def load(name: str) -> dict[str, npt.NDArray[np.generic]]:
    """Read every array of a data file."""
    with np.load(MODELS / name) as file:
        return {key: file[key] for key in file.files}


def attributes(node: onnx.NodeProto) -> dict[str, object]:
    """Return a node's attributes by name."""
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def nodes_of(model: onnx.ModelProto, operator: str) -> list[onnx.NodeProto]:
    """Return the nodes of one operator."""
    return [node for node in model.graph.node if node.op_type == operator]


def test_readme_lists_every_binary_file() -> None:
    binaries = {path.name for path in MODELS.iterdir() if path.suffix in {".onnx", ".npz"}}
    assert {name for name, _, _ in CHECKSUMS} == binaries
    assert len(CHECKSUMS) == len(binaries)


@pytest.mark.parametrize(("name", "size", "digest"), CHECKSUMS)
def test_checksum_and_size_match_readme(name: str, size: str, digest: str) -> None:
    data = (MODELS / name).read_bytes()
    assert len(data) == int(size)
    assert hashlib.sha256(data).hexdigest() == digest


def test_total_size_below_two_megabytes() -> None:
    assert sum(path.stat().st_size for path in MODELS.iterdir() if path.is_file()) < 2_000_000


def test_data_types_and_ranges() -> None:
    calibration, test = load("digits_calib.npz"), load("digits_test.npz")
    assert set(calibration) == {"image"}
    assert set(test) == {"image", "label"}
    assert calibration["image"].shape == (500, 1, 8, 8)
    assert test["image"].shape == (510, 1, 8, 8)
    for images in (calibration["image"], test["image"]):
        assert images.dtype == np.float32
        assert np.min(images) == 0.0
        assert np.max(images) == 1.0
    assert test["label"].dtype == np.int64
    assert set(test["label"].tolist()) == set(range(10))


def test_calibration_and_test_do_not_overlap() -> None:
    calibration = {image.tobytes() for image in load("digits_calib.npz")["image"]}
    test = {image.tobytes() for image in load("digits_test.npz")["image"]}
    assert not calibration & test


def test_accuracy(logits: npt.NDArray[np.float32]) -> None:
    labels = load("digits_test.npz")["label"]
    correct = int(np.sum(logits.argmax(axis=1) == labels))
    assert correct / len(labels) >= 0.97
    stated = re.search(r"\((\d+) of (\d+)\)", README)
    assert stated is not None
    assert int(stated[2]) == len(labels)
    # Rounding differs between processors: an image at the edge may change sides.
    assert abs(correct - int(stated[1])) <= 1


def test_model_is_valid_and_has_the_stated_interface(model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    interface = [
        (value.name, [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim])
        for value in [*model.graph.input, *model.graph.output]
    ]
    assert interface == [("image", ["batch", 1, 8, 8]), ("logits", ["batch", 10])]


def test_model_has_the_structures_that_pruning_must_handle(model: onnx.ModelProto) -> None:
    convolutions = nodes_of(model, "Conv")
    normalizations = nodes_of(model, "BatchNormalization")
    assert len(normalizations) == len(convolutions) == 12
    assert len(nodes_of(model, "Add")) == 2
    assert [len(node.input) for node in nodes_of(model, "Concat")] == [3]
    assert [node.name for node in convolutions if attributes(node)["group"] != 1] == ["depthwise.conv"]
    for node in normalizations:
        assert len(node.output) == 1
        assert attributes(node).get("training_mode", 0) == 0


def test_batch_normalization_follows_its_convolution(model: onnx.ModelProto) -> None:
    producers = {value: node for node in model.graph.node for value in node.output}
    for node in nodes_of(model, "BatchNormalization"):
        assert producers[node.input[0]].op_type == "Conv"


def test_names_are_unique_and_parameters_unshared(model: onnx.ModelProto) -> None:
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z][a-z0-9_.]*", name) for name in names)
    initializers = {tensor.name for tensor in model.graph.initializer}
    used = [value for node in model.graph.node for value in node.input if value in initializers]
    assert sorted(used) == sorted(initializers)


def test_stated_counts(model: onnx.ModelProto) -> None:
    parameters = {t.name: int(np.prod(t.dims)) for t in model.graph.initializer}
    trainable = sum(size for name, size in parameters.items() if ".running_" not in name)
    assert f"| {trainable:,} |" in README
    assert f"| {sum(parameters.values()):,} |" in README
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    shapes = {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim][1:]
        for v in [*inferred.graph.value_info, *inferred.graph.output]
    }
    weights = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    macs = sum(
        int(np.prod(shapes[node.output[0]])) * int(np.prod(weights[node.input[1]][1:]))
        for node in [*nodes_of(model, "Conv"), *nodes_of(model, "Gemm")]
    )
    assert f"| {macs:,} |" in README
