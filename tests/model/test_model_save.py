"""Writing: everything survives, all or nothing, never over an input."""

from __future__ import annotations

import glob
import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxprune.errors import ModelError, OutputError
from onnxprune.model import Model, Staged, load, metadata, save, with_metadata, write
from tests.model.builders import (
    annotated_model,
    large_model,
    listing,
    read_back,
    save_external,
    small_model,
    tensor_model,
)

MODES = ["auto", "always", "never"]


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def refuses(model: Model, path: object, *words: str, **options: object) -> None:
    with pytest.raises(OutputError) as caught:
        write(model, path, **options)  # type: ignore[arg-type]
    for word in words:
        assert word in str(caught.value), str(caught.value)


@pytest.mark.parametrize("mode", MODES)
def test_everything_survives(tmp_path: Path, mode: save.ExternalDataMode) -> None:
    for number, proto in enumerate([annotated_model(), large_model(), small_model()]):
        source = tmp_path / f"in{number}.onnx"
        onnx.save(proto, source)
        out = write(load(source), tmp_path / f"out{number}.onnx", external_data=mode)
        assert read_back(out[0]) == proto
        assert len(out) == (2 if mode == "always" and number == 1 else 1)
        assert load(out[0]).complete_proto() == proto


def test_unknown_fields_survive(tmp_path: Path) -> None:
    proto = small_model()
    tensor = proto.graph.initializer[0]
    tensor.MergeFromString(b"\xf8\x3f\x05")  # field 1023 = 5, as a later onnx might add
    proto.graph.node[0].MergeFromString(b"\xf8\x3f\x05")
    out = write(load(proto), tmp_path / "o.onnx")
    assert out[0].read_bytes().count(b"\xf8\x3f\x05") == 2


def test_typed_data_and_strings_survive(tmp_path: Path) -> None:
    tensors = [
        helper.make_tensor("f", TensorProto.FLOAT, [300], np.arange(300.0)),
        helper.make_tensor("h", TensorProto.FLOAT16, [2], [1.0, 2.0]),
        helper.make_tensor("i", TensorProto.INT64, [2], [-1, 5]),
        helper.make_tensor("s", TensorProto.STRING, [300], [b"abcdef"] * 300),
        helper.make_tensor("e", TensorProto.FLOAT, [0], []),
        helper.make_tensor("k", TensorProto.INT4, [3], [1, -2, 3]),
    ]
    proto = tensor_model(*tensors)
    assert onnx.load(write(load(proto), tmp_path / "a.onnx")[0]) == proto
    out = write(load(proto), tmp_path / "b.onnx", external_data="always")
    back = load(out[0])
    for tensor in tensors:
        np.testing.assert_array_equal(back.tensors[tensor.name].array(), numpy_helper.to_array(tensor))


def test_the_backend_models_survive(tmp_path: Path) -> None:
    folder = os.path.join(os.path.dirname(onnx.__file__), "backend", "test", "data")
    count = 0
    for path in sorted(glob.glob(f"{folder}/**/*.onnx", recursive=True)):
        if os.path.getsize(path) > 1 << 20:
            continue
        try:
            model = load(path)
        except ModelError as error:
            assert "opset 6" in str(error)
            continue
        assert model.complete_proto() == onnx.load(path)
        count += 1
    assert count > 30


def test_both_stages_run_in_onnxruntime(tmp_path: Path) -> None:
    x = {"x": np.ones((2, 256), np.float32)}
    with Staged(load(large_model()), tmp_path / "o.onnx", external_data="always") as staged:
        assert not staged.target.exists() and staged.path.parent.parent == tmp_path
        before = session(staged.path).run(None, x)[0]
        onnx.checker.check_model(staged.path)
        assert staged.commit() == (tmp_path / "o.onnx", tmp_path / "o.onnx.data")
    np.testing.assert_array_equal(session(tmp_path / "o.onnx").run(None, x)[0], before)
    assert sorted(listing(tmp_path)) == ["o.onnx", "o.onnx.data"]


def test_leaving_without_commit_removes_everything(tmp_path: Path) -> None:
    for mode in MODES:
        with Staged(load(large_model()), tmp_path / "o.onnx", external_data=mode):  # type: ignore[arg-type]
            assert len(listing(tmp_path)) >= 2
        assert listing(tmp_path) == {}
    with pytest.raises(KeyboardInterrupt), Staged(load(large_model()), tmp_path / "o.onnx"):
        raise KeyboardInterrupt
    assert listing(tmp_path) == {}
    staged = Staged(load(large_model()), tmp_path / "o.onnx")
    del staged
    assert listing(tmp_path) == {}


def test_three_forced_reruns_give_the_same_bytes(tmp_path: Path) -> None:
    model = load(large_model())
    for mode in MODES:
        write(model, tmp_path / "o.onnx", external_data=mode, force=True)  # type: ignore[arg-type]
    write(model, tmp_path / "o.onnx", external_data="always", force=True)
    first = listing(tmp_path)
    for _ in range(3):
        write(model, tmp_path / "o.onnx", external_data="always", force=True)
        assert listing(tmp_path) == first


def test_a_model_over_the_limit_is_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(save, "INLINE_LIMIT", 10_000)  # the real one is 2 GB
    model = load(large_model())
    refuses(model, tmp_path / "n.onnx", "above 2 GB", external_data="never")
    out = write(model, tmp_path / "o.onnx")
    assert [path.name for path in out] == ["o.onnx", "o.onnx.data"] and out[0].stat().st_size < 10_000
    assert read_back(out[0]) == large_model()


def test_offsets_are_aligned(tmp_path: Path) -> None:
    sizes = {"a": 1025, "b": 2_000_000, "c": 10, "d": 3000, "e": 2_000_000}
    tensors = [numpy_helper.from_array(np.full(size, 7, np.int8), name) for name, size in sizes.items()]
    out = write(load(tensor_model(*tensors)), tmp_path / "o.onnx", external_data="always")
    proto = onnx.load(out[0], load_external_data=False)
    offsets = {}
    for tensor in proto.graph.initializer:
        if tensor.external_data:
            entries = {entry.key: entry.value for entry in tensor.external_data}
            assert entries["location"] == "o.onnx.data" and int(entries["length"]) == sizes[tensor.name]
            offsets[tensor.name] = int(entries["offset"])
    assert offsets["a"] == 0 and offsets["b"] % 65536 == offsets["e"] % 65536 == offsets["d"] % 64 == 0
    assert "c" not in offsets
    assert out[1].stat().st_size == offsets["e"] + sizes["e"]


def test_an_existing_output_needs_force(tmp_path: Path) -> None:
    model = load(large_model())
    (tmp_path / "o.onnx").write_bytes(b"old")
    before = listing(tmp_path)
    refuses(model, tmp_path / "o.onnx", "exists", "force=True")
    assert listing(tmp_path) == before
    write(model, tmp_path / "o.onnx", force=True)
    (tmp_path / "p.onnx.data").write_bytes(b"foreign")
    before = listing(tmp_path)
    refuses(model, tmp_path / "p.onnx", "p.onnx.data", "exists", external_data="always")
    assert listing(tmp_path) == before
    write(model, tmp_path / "p.onnx")  # inline: does not care, does not touch
    assert (tmp_path / "p.onnx.data").read_bytes() == b"foreign"
    (tmp_path / "dangling.onnx").symlink_to("nowhere")
    refuses(model, tmp_path / "dangling.onnx", "exists")


def test_an_output_that_appears_before_the_commit(tmp_path: Path) -> None:
    with Staged(load(large_model()), tmp_path / "o.onnx") as staged:
        staged.target.write_bytes(b"somebody else")
        with pytest.raises(OutputError, match="exists"):
            staged.commit()
    assert listing(tmp_path) == {"o.onnx": b"somebody else"}


def test_inputs_are_never_overwritten(tmp_path: Path) -> None:
    path = save_external(tmp_path / "in")
    folder = path.parent
    (tmp_path / "other.npz").write_bytes(b"data")
    (folder / "link.onnx").symlink_to("m.onnx")
    (tmp_path / "folder").symlink_to("in")
    model = load(path)
    os.link(path, folder / "hard.onnx")
    (folder / "o.onnx.data").symlink_to("m.data")
    changed = model.replace(onnx.ModelProto.FromString(model.proto.SerializeToString()), model.tensors)
    before = listing(tmp_path)
    for item in (model, changed):
        for name in ("m.onnx", "m.data", "link.onnx", "hard.onnx", "../folder/m.onnx"):
            refuses(item, folder / name, "is an input file", force=True)
        refuses(item, folder / "o.onnx", "o.onnx.data", "is an input file", force=True, external_data="always")
        refuses(item, tmp_path / "other.npz", "is an input file", force=True, inputs=[tmp_path / "other.npz"])
    assert listing(tmp_path) == before


def test_outputs_that_cannot_be(tmp_path: Path) -> None:
    model = load(small_model())
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder.onnx").mkdir()
    for path, word in (
        (tmp_path / "no" / "o.onnx", "does not exist"),
        (tmp_path / "pipe", "not a regular file"),
        (tmp_path / "folder.onnx", "not a regular file"),
        ("/dev/null", "not a regular file"),
        (f"{tmp_path}/", "not a file name"),
        (tmp_path / "..", "not a file name"),
        ("", "not a file name"),
        ("a\0b", "not a file name"),
        (tmp_path / ("x" * 300 + ".onnx"), "cannot write"),
    ):
        refuses(model, path, word, force=True)
    assert sorted(listing(tmp_path)) == ["folder.onnx", "pipe"]


def test_a_forced_output_replaces_a_link_not_its_target(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"precious")
    (tmp_path / "o.onnx").symlink_to("elsewhere")
    write(load(small_model()), tmp_path / "o.onnx", force=True)
    assert (tmp_path / "elsewhere").read_bytes() == b"precious" and not (tmp_path / "o.onnx").is_symlink()


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        for path in write(load(large_model()), tmp_path / "o.onnx", external_data="always"):
            assert path.stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(old)


def test_a_relative_path_and_a_changed_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "o.onnx.data").write_bytes(b"unrelated")
    monkeypatch.chdir(tmp_path / "a")
    with Staged(load(large_model()), "o.onnx", external_data="always") as staged:
        monkeypatch.chdir(tmp_path / "b")
        staged.commit()
    assert sorted(listing(tmp_path / "a")) == ["o.onnx", "o.onnx.data"]
    assert listing(tmp_path / "b") == {"o.onnx.data": b"unrelated"}


def test_unicode_and_long_names(tmp_path: Path) -> None:
    for name in ("模型 ü.onnx", "x" * 240 + ".onnx"):
        out = write(load(large_model()), tmp_path / name, external_data="always")
        assert read_back(out[0]) == large_model()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    refuses(load(small_model()), tmp_path / "o.onnx", "cannot write", "ermission")


def test_metadata_is_ordered_and_replaced_in_place() -> None:
    proto = with_metadata(with_metadata(annotated_model(), "author", "you"), "new", "x")
    assert list(metadata(proto).items()) == [("author", "you"), ("task", "test"), ("new", "x")]
