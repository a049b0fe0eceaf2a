"""External data: what may be read, and what may not."""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxprune.errors import ModelError
from onnxprune.model import load
from tests.model.builders import large_model, save_external, tensor_model

BYTES = large_model().graph.initializer[0].raw_data


def rejects(path: Path, *words: str) -> None:
    with pytest.raises(ModelError) as caught:
        load(path)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_external_data_loads_lazily(tmp_path: Path) -> None:
    path = save_external(tmp_path)
    model = load(path)
    assert bytes(model.tensors["w"].payload()) == BYTES
    assert model.external_files == (tmp_path / "m.data",)
    assert model.size_bytes == sum(file.stat().st_size for file in tmp_path.iterdir())
    expected = hashlib.sha256(path.read_bytes() + (tmp_path / "m.data").read_bytes()).hexdigest()
    assert model.sha256 == expected
    assert model.complete_proto() == large_model()
    header = model.proto.graph.initializer[0]
    assert not header.external_data and header.data_location == TensorProto.DEFAULT


@pytest.mark.parametrize(
    ("location", "word"),
    [
        ("../secret", "inside the model's folder"),
        ("a/../../secret", "inside the model's folder"),
        ("..", "inside the model's folder"),
        (".", "inside the model's folder"),
        ("..\\secret", "inside the model's folder"),
        ("/etc/passwd", "not relative"),
        ("\\\\host\\share", "not relative"),
        ("C:\\secret", "not relative"),
        ("c:secret", "not relative"),
        ("", "not a file name"),
        ("m.data\0", "not a file name"),
        ("m.onnx", "the model file itself"),
        ("sub/../m.onnx", "the model file itself"),
        ("missing", "is missing"),
        ("x" * 5000, "cannot be resolved"),
        ("sub", "a directory"),
        ("pipe", "a pipe"),
        ("outside", "leads outside"),
        ("parent/secret", "leads outside"),
        ("loop", "cannot be resolved"),
        ("hard", "hard link"),
    ],
)
def test_locations_that_escape(tmp_path: Path, location: str, word: str) -> None:
    (tmp_path / "secret").write_bytes(BYTES)
    folder = tmp_path / "model"
    path = save_external(folder, location=location)
    (folder / "sub").mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "outside").symlink_to(tmp_path / "secret")
    (folder / "parent").symlink_to(tmp_path)
    (folder / "loop").symlink_to("loop")
    os.link(tmp_path / "secret", folder / "hard")
    rejects(path, word)
    # The same location in a Constant and in a subgraph.
    proto = onnx.load(path, load_external_data=False)
    tensor = TensorProto.FromString(proto.graph.initializer[0].SerializeToString())
    constant = tensor_model()
    constant.graph.node.append(helper.make_node("Constant", [], ["z"], value=tensor))
    path.write_bytes(constant.SerializeToString())
    rejects(path, word)


@pytest.mark.parametrize(
    ("entries", "word"),
    [
        ({"offset": "-1"}, "offset is '-1'"),
        ({"length": "-1"}, "length is '-1'"),
        ({"offset": "1"}, "at offset 1"),
        ({"offset": str((1 << 63) - 1)}, "at offset 9223372036854775807"),
        ({"offset": str(1 << 63)}, "not a byte count"),
        ({"length": str((1 << 63) - 1)}, "needs 65536"),
        ({"length": "4"}, "holds 4 bytes"),
        ({"length": ""}, "not a byte count"),
        ({"offset": "0x10"}, "not a byte count"),
        ({"offset": " 1"}, "not a byte count"),
        ({"offset": "1" * 5000}, "not a byte count"),
        ({"offset": "٣"}, "not a byte count"),
        ({"__class__": "x"}, "unknown external data key '__class__'"),
    ],
)
def test_entries_that_lie(tmp_path: Path, entries: dict[str, str], word: str) -> None:
    rejects(save_external(tmp_path, **entries), "'w'", word)


def test_other_malformed_entries(tmp_path: Path) -> None:
    path = save_external(tmp_path)
    proto = onnx.load(path, load_external_data=False)
    tensor = proto.graph.initializer[0]

    tensor.external_data.add(key="location", value="m.data")
    path.write_bytes(proto.SerializeToString())
    rejects(path, "'location' is given twice")

    del tensor.external_data[:]
    path.write_bytes(proto.SerializeToString())
    rejects(path, "without a location")

    tensor.external_data.add(key="location", value="m.data")
    path.write_bytes(proto.SerializeToString())
    assert bytes(load(path).tensors["w"].payload()) == BYTES  # offset and length are optional

    tensor.raw_data = BYTES
    path.write_bytes(proto.SerializeToString())
    rejects(path, "both external data and data of its own")

    tensor.ClearField("raw_data")
    tensor.data_type = TensorProto.STRING
    path.write_bytes(proto.SerializeToString())
    rejects(path, "strings")

    with pytest.raises(ModelError, match="not read from a file"):
        load(save_external(tmp_path).read_bytes())


def test_a_short_file(tmp_path: Path) -> None:
    path = save_external(tmp_path)
    (tmp_path / "m.data").write_bytes(BYTES[:-1])
    rejects(path, "which has 65535 bytes")
    (tmp_path / "m.data").write_bytes(b"")
    rejects(path, "which has 0 bytes")


def test_a_cache_of_blobs_and_links_loads(tmp_path: Path) -> None:
    save_external(tmp_path / "tmp")
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "main"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    shutil.move(tmp_path / "tmp" / "m.onnx", blobs / "abc")
    shutil.move(tmp_path / "tmp" / "m.data", blobs / "def")
    (snapshot / "m.onnx").symlink_to("../../blobs/abc")
    (snapshot / "m.data").symlink_to("../../blobs/def")
    model = load(snapshot / "m.onnx")
    assert bytes(model.tensors["w"].payload()) == BYTES
    assert model.external_files == (blobs / "def",)


def test_a_symlinked_folder_and_a_relative_path_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_external(tmp_path / "real", location="./sub/../m.data")
    (tmp_path / "link").symlink_to("real")
    assert bytes(load(tmp_path / "link" / "m.onnx").tensors["w"].payload()) == BYTES
    monkeypatch.chdir(tmp_path / "real")
    model = load("m.onnx")
    monkeypatch.chdir("/")  # the working directory no longer matters
    assert bytes(model.tensors["w"].payload()) == BYTES and len(model.sha256) == 64


def test_overlap_and_sharing(tmp_path: Path) -> None:
    path = save_external(tmp_path)
    proto = onnx.load(path, load_external_data=False)
    other = proto.graph.initializer.add()
    other.CopyFrom(proto.graph.initializer[0])
    other.name = "w2"
    path.write_bytes(proto.SerializeToString())
    model = load(path)  # the very same bytes: tied weights
    np.testing.assert_array_equal(model.tensors["w"].array(), model.tensors["w2"].array())
    other.dims[0] = 128
    del other.external_data[:]
    other.external_data.add(key="location", value="m.data")
    other.external_data.add(key="offset", value="64")
    path.write_bytes(proto.SerializeToString())
    rejects(path, "overlap", "'w'", "'w2'")
    (tmp_path / "second.onnx").write_bytes(save_external(tmp_path).read_bytes())
    assert bytes(load(tmp_path / "second.onnx").tensors["w"].payload()) == BYTES


def test_a_file_that_changes_while_in_use(tmp_path: Path) -> None:
    model = load(save_external(tmp_path))
    (tmp_path / "m.data").write_bytes(BYTES[:100])
    with pytest.raises(ModelError, match="changed while"):
        model.tensors["w"].array()


def test_external_data_of_constants_and_subgraphs_is_embedded(tmp_path: Path) -> None:
    path = save_external(tmp_path)
    tensor = onnx.load(path, load_external_data=False).graph.initializer[0]
    branch = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["o"])], "b", [], [helper.make_empty_tensor_value_info("o")], [tensor]
    )
    proto = tensor_model()
    proto.graph.input.append(helper.make_tensor_value_info("c", TensorProto.BOOL, []))
    proto.graph.node.append(helper.make_node("Constant", [], ["k"], value=tensor))
    proto.graph.node.append(helper.make_node("If", ["c"], ["z"], then_branch=branch, else_branch=branch))
    path.write_bytes(proto.SerializeToString())
    model = load(path)
    assert model.external_files == (tmp_path / "m.data",)
    nodes = model.proto.graph.node
    assert nodes[1].attribute[0].t.raw_data == BYTES and not nodes[1].attribute[0].t.external_data
    for attribute in nodes[2].attribute:
        assert attribute.g.initializer[0].raw_data == BYTES


def test_a_thousand_data_files_need_few_descriptors(tmp_path: Path) -> None:
    tensors = []
    for index in range(300):
        tensor = numpy_helper.from_array(np.full(8, index, np.float32), f"t{index}")
        (tmp_path / f"t{index}.data").write_bytes(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=f"t{index}.data")
        tensors.append(tensor)
    path = tmp_path / "m.onnx"
    path.write_bytes(tensor_model(*tensors).SerializeToString())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    try:
        model = load(path)
        assert [int(tensor.array()[0]) for tensor in model.tensors.values()] == list(range(300))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_three_gigabyte_data_file_costs_nothing_to_load(tmp_path: Path) -> None:
    tensor = TensorProto(name="t", data_type=TensorProto.INT8, dims=[3 << 30], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="t.data")
    path = tmp_path / "m.onnx"
    path.write_bytes(tensor_model(tensor).SerializeToString())
    with open(tmp_path / "t.data", "wb") as file:
        file.truncate(3 << 30)  # a hole: takes no space
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model = load(path)
    assert model.tensors["t"].array()[3 << 29] == 0 and model.size_bytes > 3 << 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB
    with pytest.raises(ModelError, match="2 GB"):
        model.complete_proto()
