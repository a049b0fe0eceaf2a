"""Files that are no models, or broken ones: one clear ModelError, quickly, whatever the bytes are."""

from __future__ import annotations

import gzip
import os
import random
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxprune.errors import ModelError, OnnxPruneError, UsageError
from onnxprune.model import load
from onnxprune.model.wire import encode_varint, tag
from tests.model.builders import annotated_model, make_model, small_model
from tests.work import counted

BYTES = small_model().SerializeToString()
RICH = annotated_model().SerializeToString()


def rejects(source: object, *words: str, error: type[OnnxPruneError] = ModelError) -> None:
    """`load` refuses after little work, and the message has these words."""
    with counted() as work, pytest.raises(error) as caught:
        load(source)  # type: ignore[arg-type]
    assert work.calls < 5000 and work.peak_bytes < 1 << 20
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_a_missing_path_is_a_usage_error(tmp_path: Path) -> None:
    rejects(tmp_path / "no.onnx", "no such file", "no.onnx", error=UsageError)
    rejects(tmp_path / "a" / "no.onnx", "no such file", error=UsageError)
    rejects("", "not a path", error=UsageError)
    rejects("a\0b", "not a path", error=UsageError)
    assert UsageError.exit_code == 2 and ModelError.exit_code == 3


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["empty file"]),
        (b"\x08", ["truncated"]),
        (b"hello, this is not a model\n", ["text file", "not an ONNX model"]),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", ["Git LFS", "git lfs pull"]),
        (b"<!DOCTYPE html><html></html>", ["HTML"]),
        (gzip.compress(BYTES), ["gzip"]),
        (numpy_helper.from_array(np.ones((2, 2), np.float32), "t").SerializeToString(), ["not an ONNX model"]),
        (BYTES + b"garbage", ["corrupt", "byte 159"]),
        (BYTES + b"\0" * 16, ["field number 0"]),
        (BYTES + b"\xff" * 16, ["overlong"]),
        (BYTES + bytes([0x08]) + b"\x80" * 9 + b"\x02", ["overlong"]),
        (BYTES + tag(99, 0) + b"\1", ["unknown field 99"]),
        (BYTES + tag(7, 2) + b"\0", ["more than one graph"]),
        (BYTES + tag(3, 3), ["corrupt", "wire type 3"]),
        (tag(7, 2) + encode_varint(1 << 40) + b"x", ["truncated", "declares"]),
        (ModelProto(ir_version=8).SerializeToString(), ["no graph"]),
    ],
    ids=range(16),
)
def test_what_is_not_a_model(tmp_path: Path, content: bytes, words: list[str]) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    rejects(path, "m.onnx", *words)
    rejects(content, *words)


def test_a_zip_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.onnx", "w") as archive:
        archive.writestr("data.pkl", b"x")
    rejects(tmp_path / "m.onnx", "zip archive", "PyTorch")


def test_special_files_never_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    rejects(tmp_path, "directory")
    rejects(tmp_path / "pipe", "a pipe")
    rejects("/dev/zero", "a device")
    (tmp_path / "loop").symlink_to("loop")
    rejects(tmp_path / "loop", "cannot read")
    rejects("x" * 5000, "cannot read")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(BYTES)
    path.chmod(0)
    rejects(path, "cannot read", "ermission")


def test_unicode_and_long_names(tmp_path: Path) -> None:
    for name in ("模型 ü.onnx", "x" * 250 + ".onnx"):
        (tmp_path / name).write_bytes(BYTES)
        assert list(load(tmp_path / name).tensors) == ["w"]


def test_random_bytes() -> None:
    source = random.Random(0)
    for size in (2, 3, 10, 100, 10_000, 1_000_000):
        rejects(source.randbytes(size))


@pytest.mark.parametrize("content", [BYTES, RICH], ids=["small", "rich"])
def test_truncation_gives_a_typed_error_or_a_smaller_model(content: bytes) -> None:
    for size in [*range(0, len(content), 64), *range(0, len(content), 7)]:
        try:
            load(content[:size])
        except OnnxPruneError:
            continue
        # A cut between two top-level fields leaves a valid file: then onnx must agree.
        ModelProto.FromString(content[:size])


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_mutated_bytes_give_typed_errors_only(data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from([BYTES, RICH])))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(content) - 1))
        action = data.draw(st.sampled_from(["flip", "insert", "delete", "set"]))
        if action == "flip":
            content[position] ^= 1 << data.draw(st.integers(0, 7))
        elif action == "set":
            content[position] = data.draw(st.integers(0, 255))
        elif action == "insert":
            content[position:position] = data.draw(st.binary(min_size=1, max_size=9))
        else:
            del content[position : position + data.draw(st.integers(1, 9))]
    try:
        model = load(bytes(content))
        for tensor in model.tensors.values():
            tensor.array()
        assert model.complete_proto().graph.node is not None
    except OnnxPruneError as error:
        assert error.message


@pytest.mark.parametrize("version", [0, 1, 2, 999, -1])
def test_ir_versions(version: int) -> None:
    proto = small_model()
    proto.ir_version = version
    rejects(proto, "ir_version", str(version))


def test_opsets() -> None:
    newest = onnx.defs.onnx_opset_version()
    for opset in range(1, newest + 1):
        proto = small_model()
        proto.opset_import[0].version = opset
        assert load(proto).opset() == load(proto).opset("ai.onnx") == opset
    for opset in (0, newest + 1, 1 << 40, -3):
        proto.opset_import[0].version = opset
        rejects(proto, "opset" if opset > 0 else "version")
    del proto.opset_import[:]
    rejects(proto, "no opset_import")
    proto.opset_import.extend([helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx", 18)])
    rejects(proto, "two versions")
    del proto.opset_import[:]
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    rejects(proto, "does not import the ONNX opset")
    assert load(small_model()).opset("com.microsoft") == 0


def test_text_that_is_not_utf8() -> None:
    proto = annotated_model()
    names = [b"mm", b"model doc", b"graph doc", b"node doc", b"value doc", b"tensor doc", b"author", b"Act", b"note"]
    for name in names:
        content = proto.SerializeToString()
        assert name in content
        rejects(content.replace(name, b"\xff" * len(name)), "UTF-8")
    rejects(small_model().SerializeToString().replace(b"\x0a\x01h", b"\x0a\x01\xff"), "UTF-8")


def chain(count: int, *, reverse: bool = False) -> ModelProto:
    nodes = [helper.make_node("Relu", [f"v{i}"], [f"v{i + 1}"], name=f"n{i}") for i in range(count)]
    inputs = [helper.make_tensor_value_info("v0", TensorProto.FLOAT, [1])]
    outputs = [helper.make_tensor_value_info(f"v{count}", TensorProto.FLOAT, [1])]
    return make_model(helper.make_graph(nodes[::-1] if reverse else nodes, "g", inputs, outputs))


def test_an_unsorted_graph_is_sorted_and_says_so() -> None:
    model = load(chain(50, reverse=True))
    assert [node.name for node in model.proto.graph.node] == [f"n{i}" for i in range(50)]
    assert "topological order" in model.notes[0]
    assert load(chain(50)).notes == ()


def test_a_cycle() -> None:
    proto = chain(5)
    proto.graph.node[1].input[0] = "v4"
    rejects(proto, "cycle", "Relu 'n1'", "Relu 'n3'")
    proto.graph.node[1].input[0] = "v2"
    rejects(proto, "cycle", "Relu 'n1'")


def test_names() -> None:
    proto = chain(3)
    proto.graph.node[2].output[0] = "v1"
    rejects(proto, "defines 'v1' twice", "n2")
    proto = chain(3)
    proto.graph.node[1].input[0] = "nowhere"
    rejects(proto, "never defines 'nowhere'", "n1")
    proto = chain(3)
    proto.graph.output[0].name = "nowhere"
    rejects(proto, "never defines 'nowhere'", "an output")
    proto = small_model()
    proto.graph.initializer.append(proto.graph.initializer[0])
    rejects(proto, "two initializers named 'w'")
    proto = small_model()
    proto.graph.initializer[0].name = ""
    rejects(proto, "initializer without a name")
    proto = small_model()
    proto.graph.input.append(proto.graph.input[0])
    rejects(proto, "two inputs named 'x'")


def branching(reads: str = "v1", writes: str = "inner", *, first: bool = False) -> ModelProto:
    """An If whose branches read a name from outside."""

    def branch(name: str) -> onnx.GraphProto:
        value = helper.make_tensor_value_info(writes, TensorProto.FLOAT, [1])
        return helper.make_graph([helper.make_node("Relu", [reads], [writes])], name, [], [value])

    proto = chain(3)
    proto.graph.input.append(helper.make_tensor_value_info("c", TensorProto.BOOL, []))
    node = helper.make_node("If", ["c"], ["z"], name="if", then_branch=branch("t"), else_branch=branch("e"))
    proto.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1]))
    nodes = [NodeProto.FromString(item.SerializeToString()) for item in proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend([node, *nodes] if first else [*nodes, node])
    return proto


def test_captured_names_count_for_order_and_definition() -> None:
    assert load(branching()).notes == ()
    model = load(branching(first=True))
    assert [node.name for node in model.proto.graph.node] == ["n0", "if", "n1", "n2"] and model.notes
    rejects(branching("nowhere"), "never defines 'nowhere'", "If 'if'")
    rejects(branching("z"), "cycle", "If 'if'")
    rejects(branching(writes="v2"), "redefines 'v2'")


def test_a_node_without_an_operator() -> None:
    proto = chain(3)
    proto.graph.node[1].op_type = ""
    rejects(proto, "node 'n1' has no operator")


def test_nesting_beyond_protobuf() -> None:
    content = b""
    for _ in range(300):  # graph inside attribute inside node inside graph
        for number in (6, 5, 1):
            content = tag(number, 2) + encode_varint(len(content)) + content
    content = b"\x08\x08" + tag(7, 2) + encode_varint(len(content)) + content
    rejects(content, "protobuf cannot decode")


def test_every_other_problem_of_a_model() -> None:
    proto = annotated_model()
    proto.functions.append(proto.functions[0])
    rejects(proto, "function twice")
    proto = annotated_model()
    proto.functions[0].name = ""
    rejects(proto, "function without a name")
    proto = annotated_model()
    proto.functions[0].input.append("a")
    rejects(proto, "function 'Act'", "two inputs")
    proto = annotated_model()
    proto.functions[0].node[0].input[0] = "nowhere"
    rejects(proto, "function 'Act' never defines 'nowhere'")
    proto = annotated_model()
    proto.graph.sparse_initializer[0].values.dims[0] = 2
    rejects(proto, "'sparse'", "holds 4 bytes")


def test_the_work_of_loading_grows_with_the_number_of_nodes() -> None:
    """Seven calls and half a kilobyte a node: a hundred thousand load in a second."""
    for count in (1000, 100_000):
        content = chain(count).SerializeToString()
        with counted() as work:
            model = load(content)
        assert len(model.proto.graph.node) == count
        assert work.calls < 15 * count and work.peak_bytes < 40 * len(content)
